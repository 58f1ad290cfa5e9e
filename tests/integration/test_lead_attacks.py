"""Who may push may write the ref of the lead. They can stop launches by it until an operator
decides; they cannot have anything run twice, and they cannot hold up a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dispatcher.loop.serve import Service
from dispatcher.ops_repo import LeadRecord
from tests.servers.bao import Bao
from tests.support.lead_stage import LEAD, followed, lead, led, refuses, starts, waits
from tests.support.stage import Stage, action, eventually, path, set_stage

IN_THE_WAY = f"{LEAD}/x"


@pytest.fixture
def stage(bao_server: Bao, tmp_path: Path) -> Iterator[Stage]:
    stage = set_stage(tmp_path, bao_server, ops_repo={"poll_interval_s": 0.2})
    yield stage
    stage.stop()


def at_remote(stage: Stage, *args: str) -> str:
    return stage.scene.git(*args, cwd=stage.scene.remote)


def written(stage: Stage, kind: str, content: str) -> str:
    """An object that a pusher brought to the remote."""
    file = stage.scene.root / "brought"
    file.write_text(content)
    return at_remote(stage, "hash-object", "-t", kind, "-w", "--literally", str(file))


def forged(stage: Stage) -> str:
    """A record of an installation that does not exist, with what a terminal would act on."""
    record = LeadRecord(instance="f" * 32, epoch="e", host="evil\x1b[2J", since="now")
    tree = written(stage, "tree", "")
    who = "x <x@example.org> 1700000000 +0000"
    text = f"tree {tree}\nauthor {who}\ncommitter {who}\n\n{record.to_json()}\n"
    return written(stage, "commit", text)


VALUES: dict[str, Callable[[Stage], str]] = {
    "record": forged,
    "blob": lambda stage: written(stage, "blob", "x" * 100_000),
    "empty tree": lambda stage: written(stage, "tree", ""),
    "branch": lambda stage: at_remote(stage, "rev-parse", "main"),
}


@pytest.mark.parametrize("kind", VALUES)
def test_a_foreign_value_stops_launches_and_no_result(stage: Stage, kind: str) -> None:
    stage.scene.merge({path("long"): action("long")}, "Add long")
    stage.start()
    led(stage)
    stage.runs(1)
    (stage.scene.remote / LEAD).write_text(VALUES[kind](stage) + "\n")
    refuses(stage, "leads this ops repo" if kind == "record" else "not write")
    stage.scene.merge({path("late"): action("late")}, "Add late")
    waits(stage, "late")
    stage.scheduler.end(stage.scheduler.running()[0])
    assert stage.result("long")["verdict"] == "succeeded"
    assert starts(stage) == {"long": 1}
    report = stage.components.leadership.report()
    assert "\x1b" not in str(report.obstacle())
    stage.components.leadership.take_over(report.value, who="ada")
    stage.runs(1)
    assert starts(stage) == {"long": 1, "late": 1}


def test_a_value_of_ours_from_before_is_not_believed(stage: Stage) -> None:
    service = stage.start()
    followed(service, stage)
    old = lead(stage)
    stage.stop()
    service = stage.start()
    followed(service, stage)
    assert lead(stage) != old
    at_remote(stage, "update-ref", LEAD, old)
    refuses(stage)


def test_a_deleted_ref_is_put_back(stage: Stage) -> None:
    service = stage.start()
    for _ in range(3):
        followed(service, stage)
        at_remote(stage, "update-ref", "-d", LEAD)
    followed(service, stage)
    led(stage)
    stage.scene.merge({path("one"): action("one")}, "Add one")
    stage.runs(1)


def in_the_way(stage: Stage) -> None:
    at_remote(stage, "update-ref", IN_THE_WAY, "main")


def hook(stage: Stage) -> None:
    file = stage.scene.remote / "hooks" / "update"
    file.parent.mkdir(exist_ok=True)
    file.write_text('#!/bin/sh\ncase "$1" in refs/disinto/*) echo not here; exit 1; esac\n')
    file.chmod(0o755)


def hidden(stage: Stage) -> None:
    at_remote(stage, "config", "transfer.hideRefs", "refs/disinto")


def hidden_from_readers(stage: Stage) -> None:
    at_remote(stage, "config", "uploadpack.hideRefs", "refs/disinto")


@eventually
def warned(service: Service) -> None:
    (warning,) = of_the_lead(service)
    assert "second dispatcher" in warning


def of_the_lead(service: Service) -> list[str]:
    """Warnings without those of the other ref, which the remote may refuse as well."""
    return [w for w in service._components.warnings() if "refs/disinto/seen" not in w]


@pytest.mark.parametrize("refuse", [in_the_way, hook, hidden, hidden_from_readers])
def test_a_remote_that_cannot_hold_the_ref_stops_nothing(
    stage: Stage, refuse: Callable[[Stage], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(stage)
    stage.scheduler.ends_at_once = True
    service = stage.start()
    stage.scene.merge({path("one"): action("one")}, "Add one")
    assert stage.result("one")["verdict"] == "succeeded"
    warned(service)
    # It is asked again by and by.
    if refuse is in_the_way:
        at_remote(stage, "update-ref", "-d", IN_THE_WAY)
    (stage.scene.remote / "hooks" / "update").unlink(missing_ok=True)
    for section in ("transfer", "uploadpack"):
        at_remote(stage, "config", f"{section}.hideRefs", "refs/nothing")
    monkeypatch.setattr(service._components.leadership, "_retry_at", 0.0)
    service.look_now()

    @eventually
    def protected() -> None:
        assert of_the_lead(service) == []
        assert lead(stage)

    protected()


def test_what_is_put_in_the_way_later_stops_nothing(stage: Stage) -> None:
    stage.scheduler.ends_at_once = True
    service = stage.start()
    led(stage)
    at_remote(stage, "update-ref", "-d", LEAD)
    in_the_way(stage)
    for name in ("one", "two"):
        stage.scene.merge({path(name): action(name)}, f"Add {name}")
        assert stage.result(name)["verdict"] == "succeeded"
    warned(service)


def test_a_branch_of_the_same_name_is_not_the_lead(stage: Stage) -> None:
    at_remote(stage, "update-ref", f"refs/heads/{LEAD}", "main")
    stage.start()
    led(stage)


def test_our_name_on_a_record_that_we_did_not_write_makes_it_no_record_of_ours(
    stage: Stage,
) -> None:
    """What the remote says of instances is for people to read; ours is known by the ledger."""
    stage.start()
    led(stage)
    record = stage.components.repo.lead.fetch_record(lead(stage))
    assert record is not None
    text = replace(record, epoch="x")
    tree = written(stage, "tree", "")
    who = "disinto <disinto@localhost> 1700000000 +0000"
    body = f"tree {tree}\nauthor {who}\ncommitter {who}\n\n{text.to_json()}\n"
    at_remote(stage, "update-ref", LEAD, written(stage, "commit", body))
    refuses(stage, record.instance)
