"""``validate`` judges the operator's files as what they are, not as actions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dispatcher.cli.edge import run
from dispatcher.errors import Exit

GOOD = 'id = "a"\nformula = "hello"\ncontext = "c"\nsecrets = []\n'


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of an operator as the current one, and no settings of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("DISINTO_CONFIG", "XDG_CONFIG_HOME", "VAULT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "disinto.toml").write_text(
        '[policy]\nfile = "rules.toml"\n[formulas]\npath = "mine"\n'
    )
    (tmp_path / "rules.toml").write_text('[tiers]\nhello = "low"\n')
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "hello.sh").write_text("true\n")
    (tmp_path / "mine" / "agent.toml").write_text("do this\n")
    (tmp_path / "a.toml").write_text(GOOD)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("disinto.toml", "disinto.toml: settings, not an action: valid"),
        ("mine/agent.toml", "mine/agent.toml: a formula, not an action; there is nothing to check"),
    ],
)
def test_a_file_of_the_operators_is_no_action(
    name: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["validate", name]) == Exit.OK
    assert capsys.readouterr().err.splitlines()[0] == said


def test_a_policy_is_known_by_its_name_or_the_settings(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["validate", "rules.toml", "a.toml"]) == Exit.OK
    assert capsys.readouterr().err.splitlines() == [
        "rules.toml: policy, not an action: valid",
        "1 action file, all valid",
    ]
    (desk / "policy.toml").write_text('[tiers]\nhello = "lwo"\n')
    assert run(["validate", "policy.toml"]) == Exit.DATAERR
    said = capsys.readouterr()
    assert "policy.toml:2:9: " in said.out
    assert said.err == "policy.toml: policy, not an action: invalid\n"


@pytest.mark.parametrize(
    "text", ["[limit]\n", "state_dir = ", '[policy]\nfile = "gone.toml"\n[gate]\nx = 1\n']
)
def test_settings_that_are_wrong_are_judged_as_settings(
    desk: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "disinto.toml").write_text(text)
    assert run(["validate", "--json", "disinto.toml"]) == Exit.DATAERR
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert (file["id"], file["kind"], file["valid"]) == (None, "settings", False)
    assert file["problems"]
    assert all("id" not in problem["message"].split() for problem in file["problems"])


def test_where_actions_are_every_file_is_one(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    actions = desk / "ops" / "vault" / "actions"
    actions.mkdir(parents=True)
    for name in ("disinto.toml", "policy.toml"):
        (actions / name).write_text(GOOD)
        assert run(["validate", "--json", str(actions / name)]) == Exit.DATAERR
        (file,) = json.loads(capsys.readouterr().out)["files"]
        assert file["kind"] == "action"
        assert (file["id"], file["valid"]) == (name.removesuffix(".toml"), False)


@pytest.mark.parametrize(
    ("name", "text", "kind", "place"),
    [
        ("sidecars.toml", "", "sidecars", ""),
        ("sidecars.toml", "[rule]\n", "sidecars", ":1:2: "),
        ("mine/hello.schema.json", "{}", "schema", ""),
        ("mine/hello.schema.json", '{"type": "array"}', "schema", ': "type" must be "object"'),
        ("other/hello.schema.json", "{", "schema", "this is not JSON"),
        ("other/gone.schema.json", None, "schema", "cannot be read"),
    ],
)
def test_sidecars_and_schemas_are_judged_as_what_they_are(
    desk: Path,
    name: str,
    text: str | None,
    kind: str,
    place: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (desk / "other").mkdir()
    if text is None:
        (desk / name).symlink_to("nothing")
    else:
        (desk / name).write_text(text)
    valid = text is not None and not place
    assert run(["validate", "--json", name]) == (Exit.OK if valid else Exit.DATAERR)
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert (file["id"], file["kind"], file["valid"]) == (None, kind, valid)
    assert run(["validate", name]) == (Exit.OK if valid else Exit.DATAERR)
    assert place in capsys.readouterr().out


def test_a_description_of_a_project_is_no_action(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("ops/vault/actions", "ops/projects"):
        (desk / folder).mkdir(parents=True)
    file = desk / "ops" / "projects" / "app.toml"
    file.write_text('clone = "app.git"\n')
    assert run(["validate", "ops/projects/app.toml"]) == Exit.OK
    said = "ops/projects/app.toml: description of a project, not an action: valid\n"
    assert capsys.readouterr().err == said
    file.write_text('clone = "app.git\n')
    assert run(["validate", "ops/projects/app.toml"]) == Exit.DATAERR
    assert "ops/projects/app.toml:1:" in capsys.readouterr().out
