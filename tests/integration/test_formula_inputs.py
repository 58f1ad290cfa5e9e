"""A formula's schema and the files that it reads are approved with it, and a run reads no others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.decide.world import GateState
from dispatcher.loop.formulas import FormulaStore, Unusable
from dispatcher.loop.view import View
from dispatcher.model.run import Formula, FormulaInput
from dispatcher.model.verdicts import Verdict
from tests.integration.test_gate_view import ask, look, signed, view
from tests.servers.grants import Minter, formula_ref
from tests.support.forge_stage import action_path, action_text
from tests.support.runner_process import start
from tests.support.signed_stage import SignedStage

__all__ = ["signed", "start", "view"]

X, THEIRS = action_path("x"), "formulas/theirs.sh"
SCHEMA, APPS = "formulas/theirs.schema.json", "formulas/apps.json"
DECLARES_APPS = json.dumps({"x-disinto": {"files": ["apps.json"]}})

ALL = {
    X: action_text("x", formula="theirs"),
    THEIRS: "echo good\n",
    SCHEMA: DECLARES_APPS,
    APPS: '["git"]\n',
}


def reason(view: View) -> str:
    decision = view.last_answer("x")
    assert decision is not None
    return decision.reason


@pytest.mark.needs("git", "ssh-keygen")
class TestApproval:
    @pytest.mark.parametrize(
        ("file", "text"),
        [(THEIRS, "echo good\n#"), (SCHEMA, DECLARES_APPS + "\n"), (APPS, '["gix"]\n')],
    )
    def test_one_byte_changed_after_the_approval_and_nothing_runs(
        self, view: View, signed: SignedStage, file: str, text: str
    ) -> None:
        signed.push(ALL)
        assert look(view, signed) is GateState.UNASKED
        assert ask(view, signed) is GateState.APPROVED
        signed.sign(None)
        signed.push({file: text})
        assert look(view, signed) is GateState.UNASKED
        assert ask(view, signed) is GateState.WAITING
        assert file in reason(view)
        signed.sign("trusted")
        signed.push({file: text + "\n"})
        assert look(view, signed) is GateState.UNASKED
        assert ask(view, signed) is GateState.APPROVED

    def test_a_schema_removed_after_the_approval_and_nothing_runs(
        self, view: View, signed: SignedStage
    ) -> None:
        signed.push(ALL)
        look(view, signed)
        assert ask(view, signed) is GateState.APPROVED
        signed.sign(None)
        signed.clone.git("rm", "-q", SCHEMA)
        signed.push({"notes": "tidy\n"})
        assert look(view, signed) is GateState.UNASKED
        assert ask(view, signed) is GateState.WAITING
        assert SCHEMA in reason(view)
        assert "removed" in reason(view)
        signed.sign("trusted")
        signed.push({THEIRS: "echo good, without\n"})
        look(view, signed)
        assert ask(view, signed) is GateState.APPROVED

    def test_a_schema_that_a_rewritten_branch_dropped_takes_the_approval_along(
        self, view: View, signed: SignedStage
    ) -> None:
        without = signed.push({X: ALL[X], THEIRS: ALL[THEIRS]})
        signed.push({SCHEMA: "{}"})
        signed.noticed()
        look(view, signed)
        assert ask(view, signed) is GateState.APPROVED
        signed.force_push(without)
        signed.noticed()
        view.rewritten()
        look(view, signed)
        assert ask(view, signed) is GateState.WAITING
        assert f"formula {THEIRS} needs approval" in reason(view)

    def test_a_formula_that_never_had_a_schema_is_judged_as_before(
        self, view: View, signed: SignedStage
    ) -> None:
        signed.push({X: ALL[X], THEIRS: ALL[THEIRS]})
        look(view, signed)
        assert ask(view, signed) is GateState.APPROVED

    def test_a_schema_that_came_after_the_formula_needs_its_own_approval(
        self, view: View, signed: SignedStage
    ) -> None:
        signed.push({X: ALL[X], THEIRS: ALL[THEIRS]})
        look(view, signed)
        signed.sign(None)
        signed.push({SCHEMA: "{}"})
        assert look(view, signed) is GateState.UNASKED
        assert ask(view, signed) is GateState.WAITING

    def test_params_that_do_not_fit_are_invalid_until_the_schema_changes(
        self, view: View, signed: SignedStage
    ) -> None:
        strict = json.dumps({"required": ["name"]})
        signed.push({X: ALL[X], THEIRS: ALL[THEIRS], SCHEMA: strict})
        look(view, signed)
        assert "params.name is missing" in view.candidates()["x"].problem
        assert "vault/actions/x.toml:" in view.candidates()["x"].problem
        signed.push({SCHEMA: "{}"})
        assert look(view, signed) is GateState.UNASKED
        assert not view.candidates()["x"].problem

    @pytest.mark.parametrize("text", ["{", '{"$ref": "#"}', "[" * 9_000, '{"x-disinto": 1}'])
    def test_a_broken_schema_makes_the_action_invalid_with_its_name(
        self, view: View, signed: SignedStage, text: str
    ) -> None:
        signed.push({X: ALL[X], THEIRS: ALL[THEIRS], SCHEMA: text})
        look(view, signed)
        assert "theirs.schema.json" in view.candidates()["x"].problem

    def test_a_missing_file_and_a_link_are_named(self, view: View, signed: SignedStage) -> None:
        signed.push({X: ALL[X], THEIRS: ALL[THEIRS], SCHEMA: DECLARES_APPS})
        look(view, signed)
        assert "apps.json, which theirs.schema.json names" in view.candidates()["x"].problem
        (signed.clone.path / APPS).symlink_to("/etc/passwd")
        signed.clone.git("add", "-A")
        signed.push({"notes": "1\n"})
        look(view, signed)
        assert "is not a regular file" in view.candidates()["x"].problem


def store(tmp_path: Path) -> FormulaStore:
    directory = tmp_path / "formulas"
    directory.mkdir()
    (directory / "theirs.sh").write_text("echo\n")
    (directory / "theirs.schema.json").write_text(DECLARES_APPS)
    (directory / "apps.json").write_text("[]")
    return FormulaStore(folder=directory, repo=None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["theirs.sh", "theirs.schema.json", "apps.json"])
def test_the_operators_changed_file_is_named(tmp_path: Path, name: str) -> None:
    formulas = store(tmp_path)
    path = tmp_path / "formulas" / name
    formula = formulas.by_ref(
        replace(formula_ref(b"echo\n"), name="theirs", inputs=inputs(tmp_path))
    )
    assert isinstance(formula, Formula), formula
    assert formula.files == {"apps.json": b"[]"}
    path.write_text(path.read_text() + "\n")
    changed = formulas.by_ref(formula.ref)
    assert isinstance(changed, Unusable)
    assert name in changed.reason


def inputs(tmp_path: Path) -> tuple[FormulaInput, ...]:
    return tuple(
        FormulaInput(name=name, blob=ref.blob, sha256=ref.sha256)
        for name in ("theirs.schema.json", "apps.json")
        for ref in [formula_ref((tmp_path / "formulas" / name).read_bytes())]
    )


@pytest.mark.needs("bao")
class TestRunner:
    def spec(self, minter: Minter, text: str, data: bytes, approved: bytes) -> Any:
        ref = formula_ref(approved)
        part = FormulaInput(name="apps.json", blob=ref.blob, sha256=ref.sha256)
        spec = minter.spec(text)
        return replace(
            spec, formula=replace(spec.formula, inputs=(part,)), files={"apps.json": data}
        )

    def test_the_formula_reads_its_files(self, minter: Minter, start: Any) -> None:
        data = b'["git"]\xff'
        run = start(minter.payload(self.spec(minter, 'cat "$DISINTO_FILES/apps.json"', data, data)))
        assert run.finish().verdict is Verdict.SUCCEEDED
        assert (run.spool / "stdout.log").read_bytes() == data

    def test_another_file_and_the_formula_does_not_start(self, minter: Minter, start: Any) -> None:
        run = start(minter.payload(self.spec(minter, "true", b"evil", b"good")))
        outcome = run.finish()
        assert (outcome.verdict, outcome.formula_started) == (Verdict.ERROR, False)
        assert "apps.json" in outcome.error
