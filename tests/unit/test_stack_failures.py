"""Every row of docs/stacks.md on how a deploy fails: the message that a person reads, and what is left."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dispatcher.devservers.ports import free_port
from dispatcher.errors import DisintoError
from dispatcher.provision.waiting import SystemClock
from dispatcher.stack.__main__ import main
from dispatcher.stack.params import SETTINGS_FILE
from dispatcher.stack.platform import TOKEN
from dispatcher.stack.probes import NetworkProber
from tests.servers.dokploy_rules import Fault
from tests.support.stacks import BAD, BLOB, GONE, SILENT, Stacks

PAGE = Path(__file__).parents[2] / "docs" / "stacks.md"


class Row(NamedTuple):
    """What a person reads, what is left, and on which server it was seen: ``real``, ``fake`` or ``none``."""

    messages: list[str]
    left: str
    seen: str


def rows() -> dict[str, Row]:
    """By what is wrong."""
    _, _, section = PAGE.read_text("utf-8").partition("\n## When it fails\n")
    found = {}
    for line in section.partition("\n## ")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and cells[0].isdigit():
            _, wrong, reads, left, seen = cells
            found[wrong] = Row(re.findall(r"`([^`]+)`", reads), left, seen)
    return found


def left_of(stacks: Stacks) -> str:
    """In the words of the page."""
    server = stacks.server
    if stacks.is_empty:
        assert stacks.inventory == {}
        return "its volume" if server.volumes else "nothing"
    if not server.projects:
        assert set(stacks.inventory) == {"alice"}
        return "its service"
    if stacks.inventory.get("alice", {}).get("state") == "DEPLOYING":
        return "what was made: the inventory has it"
    assert stacks.projects == ["alice"]
    return "the other stack" if stacks.inventory else "the other project"


def failing(stacks: Stacks, **given: Any) -> list[str]:
    """Deploy ``alice``; what a person reads: the lines of the run, and its error."""
    begun = len(stacks.texts)
    with pytest.raises(DisintoError):
        stacks.create("alice", **given)
    stacks.wait(3600)
    return stacks.texts[begun:]


def taken_by_a_stack(stacks: Stacks) -> list[str]:
    stacks.create("other", name="alice")
    return failing(stacks)


def taken_by_a_project(stacks: Stacks) -> list[str]:
    stacks.server.projects["prj-x"] = {
        "projectId": "prj-x", "name": "alice", "description": "by hand", "createdAt": "2026-01-01T00:00:00.000Z",
    }  # fmt: skip
    return failing(stacks)


def key_spent_on_the_way(stacks: Stacks) -> list[str]:
    stacks.server.quota = 8
    return failing(stacks)


def no_rights(stacks: Stacks) -> list[str]:
    stacks.server.forbidden.add("project.create")
    return failing(stacks)


def away(stacks: Stacks) -> list[str]:
    stacks.server.faults["*"] = [Fault.REFUSED] * 1000
    return failing(stacks)


def creations_fail(stacks: Stacks) -> list[str]:
    stacks.server.faults["project.create"] = [Fault.ERROR_BEFORE] * 9
    return failing(stacks)


def queue_stands_still(stacks: Stacks) -> list[str]:
    stacks.server.stuck = True
    return failing(stacks)


def host_leads_nowhere(stacks: Stacks) -> list[str]:
    stacks.prober = NetworkProber(address="127.0.0.1", https_port=free_port())
    return failing(stacks)


def service_stays(stacks: Stacks) -> list[str]:
    stacks.server.keeps_services = True
    return failing(stacks, image=BAD)


ON_THE_SERVER: dict[str, Callable[[Stacks], list[str]]] = {
    "name is taken by a stack": taken_by_a_stack,
    "name is taken by somebody else's project": taken_by_a_project,
    "API key invalid": lambda stacks: failing(stacks, key="dokploy-none"),
    "API key's quota spent on the way": key_spent_on_the_way,
    "key without rights": no_rights,
    "server away": away,
    "server refuses a value": lambda stacks: failing(stacks, host="al_ice.stacks.example"),
    "a creation fails three times": creations_fail,
    "image cannot be pulled": lambda stacks: failing(stacks, image=GONE),
    "the server's queue stands still": queue_stands_still,
    "container ends at once": lambda stacks: failing(stacks, image=BAD),
    "container answers nothing": lambda stacks: failing(stacks, image=SILENT),
    "the host name leads nowhere": host_leads_nowhere,
    "the service cannot be removed": service_stays,
}

SUFFIX = {"STACK_DOMAIN_SUFFIX": "stacks.example"}
BY_PARAMS: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {
    "name is reserved": [({"name": "admin"}, SUFFIX)],
    "name has another form": [({"name": "Al"}, SUFFIX)],
    "image has no tag": [({"name": "alice", "image": "a/b"}, SUFFIX)],
    "no domain suffix": [({"name": "alice", "image": "a/b:1"}, {})],
    "a secret was not named in the action": [
        ({"name": "alice", "image": "a/b:1", "environment_secrets": ["MODEL_KEY"]}, SUFFIX)
    ],
    "the API key is to be handed over": [
        ({"name": "alice", "image": "a/b:1", "environment_secrets": [TOKEN]}, SUFFIX)
    ],
    "a value that the server would change": [
        ({"name": "alice", "image": "a/b:1", "environment": {"A": "${{project.B}}"}}, SUFFIX),
        ({"name": "alice", "image": "a/b:1", "environment": {"A": "'`\""}}, SUFFIX),
    ],
}  # fmt: skip


def test_every_row_has_its_case() -> None:
    assert set(rows()) == {*ON_THE_SERVER, *BY_PARAMS}
    assert len(rows()) >= 20
    assert {wrong for wrong, row in rows().items() if row.seen == "none"} == set(BY_PARAMS)
    assert {row.seen for row in rows().values()} == {"none", "fake", "real"}


def is_told(messages: list[str], texts: list[str]) -> bool:
    return bool(messages) and all(any(m in text for text in texts) for m in messages)


@pytest.mark.parametrize("wrong", ON_THE_SERVER)
def test_what_fails_at_the_server(wrong: str) -> None:
    messages, left, _ = rows()[wrong]
    stacks = Stacks()
    texts = ON_THE_SERVER[wrong](stacks)
    assert is_told(messages, texts), texts
    assert left_of(stacks) == left


@pytest.mark.parametrize("wrong", BY_PARAMS)
def test_what_fails_before_anything_is_sent(
    wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    messages, left, _ = rows()[wrong]
    monkeypatch.setattr(SystemClock, "listen", lambda self: None)  # this process keeps its handlers
    texts = []
    for params, settings in BY_PARAMS[wrong]:
        # Nobody listens there: a request would end in another message.
        url = f"http://127.0.0.1:{free_port()}"
        (tmp_path / SETTINGS_FILE).write_text(json.dumps({"DOKPLOY_URL": url, **settings}))
        environ = {
            "DISINTO_RUN_KEY": f"stack-alice.{BLOB}",
            "DISINTO_PARAMS": json.dumps(params),
            "DISINTO_FILES": str(tmp_path),
            "DISINTO_OUTPUTS": str(tmp_path / "outputs"),
            "DISINTO_PROGRESS": str(tmp_path / "progress"),
            TOKEN: "dokploy-none",
        }
        assert main(["deploy"], environ) != 0
        texts.append(capsys.readouterr().err)
    assert is_told(messages, texts), texts
    assert (left, list(tmp_path.iterdir())) == ("nothing", [tmp_path / SETTINGS_FILE])
