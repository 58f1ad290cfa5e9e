"""A mount is one entry, and so is a verdict: whatever else names them all is derived or compared."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dispatcher.cli import sections
from dispatcher.cli.reference import ACTION_SCHEMA
from dispatcher.model.mounts import Mount
from dispatcher.model.notice import Condition
from dispatcher.model.verdicts import Verdict
from tests.support.listings import listings, lists_in_code, lists_in_text

ROOT = Path(__file__).parents[2]
RULES = ROOT / "jobs" / "prometheus" / "disinto.rules.yml"
ENTRIES = ("dispatcher/model/mounts.py", "dispatcher/model/verdicts.py")
RENDERED = ("docs/reference-cli.md", "dispatcher/cli/help.txt", ACTION_SCHEMA)
"""Files that ``make docs`` writes from the first line to the last."""

RECORDED = "tests/recordings/"
"""What servers answered once."""


def checkout() -> list[str]:
    """The files of the checkout, also those that git does not know yet."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for path in done.stdout.split("\0") if path and (ROOT / path).is_file()]


def test_no_file_lists_mounts_or_verdicts_of_its_own() -> None:
    hand_written = [
        path
        for path in checkout()
        if path not in (*ENTRIES, *RENDERED) and not path.startswith(RECORDED)
    ]
    assert len(hand_written) > 500
    assert not list(listings(ROOT, hand_written)), (
        "derive it, or render it: dispatcher/cli/sections"
    )


@pytest.mark.parametrize(
    "text",
    [
        f"| verdict | {', '.join(f'`{verdict}`' for verdict in Verdict)} |",
        "\n".join(f"    Verdict.{verdict.name}: {verdict.exit_code}," for verdict in Verdict),
        f"for volume in {' '.join(list(Mount)[1:])}; do",
        "\n".join(f'  host_volume "{m}" {{\n    path = "/{m}"\n  }}\n' for m in Mount),
        f"mkdir -p {' '.join(mount.place for mount in Mount)}",
    ],
)
def test_a_list_in_a_text_is_noticed(text: str) -> None:
    assert list(lists_in_text(f"before\n{text}\nafter"))
    part = f"# these ones: rendered by make docs\n{text}\n# end of these ones\n"
    assert not list(lists_in_text(f"before\n{part}after"))


@pytest.mark.parametrize(
    "source",
    [
        'COLOURS = {"succeeded": "green", "failed": "red", "lost": "red", "up": "green"}',
        "RAN = frozenset({Verdict.SUCCEEDED, Verdict.FAILED, Verdict.TIMED_OUT})",
        "read_only = mount in (Mount.SSH, Mount.GPG, Mount.SOPS)",
        "match v:\n    case Verdict.LOST | Verdict.ERROR | Verdict.FAILED:\n        pass",
        "bad = v is Verdict.LOST or v is Verdict.ERROR or v == Verdict.FAILED",
    ],
)
def test_a_choice_of_several_in_code_is_noticed(source: str) -> None:
    assert list(lists_in_code(source))
    assert not list(lists_in_code("a = {Verdict.LOST, Verdict.ERROR}"))


@pytest.mark.parametrize("verdict", Verdict)
def test_an_alert_fires_where_the_entry_says_so(verdict: Verdict) -> None:
    rules = [r for group in yaml.safe_load(RULES.read_text())["groups"] for r in group["rules"]]
    severities = [
        rule["labels"]["severity"]
        for rule in rules
        for names in re.findall(r'verdict=~?"([^"]*)"', rule["expr"])
        if verdict in names.split("|")
    ]
    assert severities == ([verdict.alert] if verdict.alert else [])


@pytest.mark.parametrize("verdict", Verdict)
def test_people_can_be_notified_of_every_verdict(verdict: Verdict) -> None:
    assert "{action}" in Condition(verdict.value).headline
    assert f"`{verdict}`" in (ROOT / "docs" / "controls" / "notifications.md").read_text()


def test_success_goes_with_exit_code_0_and_places_are_apart() -> None:
    assert [verdict for verdict in Verdict if verdict.success] == [Verdict.SUCCEEDED]
    assert len({mount.place for mount in Mount}) == len(Mount)


def test_a_part_without_its_marks_is_an_error() -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert sections.renewed("compose.yaml", text) == text
    with pytest.raises(ValueError, match=r"compose\.yaml needs one part 'mounts'"):
        sections.renewed("compose.yaml", text.replace("# end of mounts", ""))
    with pytest.raises(ValueError, match="needs one part"):
        sections.renewed("compose.yaml", text + text)


SHOWN = """
import json
from dispatcher.attestation import verify
from dispatcher.cli import console, status
from dispatcher.cli.help import exit_codes
from dispatcher.demo import screen
from dispatcher.engines.nomad import render
from dispatcher.model.mounts import Mount
from dispatcher.model.notice import Condition
from dispatcher.model.result import Result
from dispatcher.model.verdicts import Verdict
from dispatcher.operate.schema import schema
from dispatcher.settings import settings_model
from dispatcher.status.metrics import Metrics

settings = settings_model()()
(choice,) = [p.type.choices for p in status.command.params if p.name == "verdicts"]
print(json.dumps({
    "help": exit_codes(),
    "colours": console.STYLES,
    "conditions": {each.value: each.headline for each in Condition},
    "demo": screen.COLOURS,
    "option": list(choice),
    "metrics": Metrics().text().decode(),
    "schema of results": schema("result"),
    "schema of actions": schema("action"),
    "schema of policies": schema("policy"),
    "schema of settings": schema("settings"),
    "ran": sorted(verify._RAN),
    "client": render.client_config(settings.nomad),
    "job": render.runner_job(settings, tuple(Mount)).hcl,
    "acl": [policy.rules for policy in render.acl_policies(settings.nomad)],
}))
"""


class Copy:
    """A copy of the checkout with one more entry, after ``make docs``."""

    def __init__(self, place: Path, *, file: str, before: str, entry: str) -> None:
        paths = checkout()
        for path in paths:
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, place / path)
        self.place = place
        source = (place / file).read_text()
        assert source.count(before) == 1
        (place / file).write_text(source.replace(before, entry + before))
        self.run("-m", "dispatcher.cli.reference")
        self.changed = {
            path for path in paths if (place / path).read_bytes() != (ROOT / path).read_bytes()
        }

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.place,
            env={"PYTHONPATH": str(self.place), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shown(self) -> dict[str, object]:
        shown: dict[str, object] = json.loads(self.run("-c", SHOWN))
        return shown


def test_one_more_verdict_shows_up_everywhere(tmp_path: Path) -> None:
    copy = Copy(
        tmp_path,
        file="dispatcher/model/verdicts.py",
        before='    ERROR = (\n        "error",',
        entry='    TOY = ("toyed", _Entry(exit_code=99, meaning="it was a toy", colour="blue", headline="{action} toyed", ran=True))\n',
    )
    assert copy.changed == {
        "dispatcher/model/verdicts.py", "docs/actions.md", "docs/reference-cli.md",
        "docs/controls/notifications.md",
    }  # fmt: skip
    assert "| `toyed` | it was a toy | 99 |" in (tmp_path / "docs" / "actions.md").read_text()
    shown = copy.shown()
    assert shown["conditions"] == {**dict_of(shown["conditions"]), "toyed": "{action} toyed"}
    assert " 99  toyed        it was a toy\n" in str(shown["help"])
    assert shown["colours"] == {**dict_of(shown["colours"]), "toyed": "blue"}
    assert shown["demo"] == {**dict_of(shown["demo"]), "toyed": "blue"}
    assert 'disinto_runs_ended_total{verdict="toyed"} 0.0' in str(shown["metrics"])
    for what in ("option", "schema of results", "ran"):
        assert '"toyed"' in json.dumps(shown[what]), what


def test_one_more_mount_shows_up_everywhere(tmp_path: Path) -> None:
    copy = Copy(
        tmp_path,
        file="dispatcher/model/mounts.py",
        before="    AGENT_DATA = (",
        entry='    TOY = ("toys", _Entry(place=".toy-box", meaning="toys", read_only=True, private=True))\n',
    )
    assert copy.changed == {
        "dispatcher/model/mounts.py", "docs/actions.md", "Dockerfile", "compose.yaml",
        "jobs/compose/nomad.hcl", ACTION_SCHEMA,
    }  # fmt: skip
    assert (
        "| `toys` | `.toy-box` | read-only | toys |" in (tmp_path / "docs/actions.md").read_text()
    )
    made, private = (tmp_path / "Dockerfile").read_text().split("    mkdir -p ")[1].splitlines()[:2]
    assert ".toy-box" in made.split()
    assert ".toy-box;" in private.split()
    assert re.search(r"for volume in .*\btoys\b.*; do", (tmp_path / "compose.yaml").read_text())
    volume = 'host_volume "toys" {\n    path      = "%s/toys"\n    read_only = true\n'
    assert volume % sections.VOLUMES in (tmp_path / "jobs" / "compose" / "nomad.hcl").read_text()
    shown = copy.shown()
    assert volume % "/srv/disinto" in str(shown["client"])
    assert 'destination = "/home/agent/.toy-box"\n        read_only   = true' in str(shown["job"])
    for what in ("schema of actions", "schema of policies", "schema of settings", "acl"):
        assert "toys" in json.dumps(shown[what]), what


def dict_of(value: object) -> dict[str, str]:
    assert isinstance(value, dict)
    return value
