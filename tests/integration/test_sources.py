"""Actions that the dispatcher writes itself: once, and never after somebody deleted them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dispatcher.errors import TemporaryError
from dispatcher.ledger.base import Note
from dispatcher.loop.sources import note_name
from dispatcher.model.run import Phase
from tests.contract.source import Case, SourceContract
from tests.fakes.source import DEFINITION, Wishes, wish
from tests.servers.bao import Bao
from tests.support.stage import Stage, path, set_stage

pytestmark = pytest.mark.needs("bao", "git", "ssh-keygen")

SAME = 'id = "one-1"\n'


@pytest.fixture
def wishes() -> Wishes:
    return Wishes()


@pytest.fixture
def stage(tmp_path: Path, vault: Bao, wishes: Wishes) -> Iterator[Stage]:
    stage = set_stage(tmp_path, vault)
    stage.change = lambda components: replace(components, sources=(wishes,))
    yield stage
    stage.stop()


def ran(stage: Stage) -> list[str]:
    return [spec.key.action_id for spec in stage.scheduler.submitted]


def text_of(stage: Stage, name: str) -> str:
    return stage.scene.git("show", f"main:{name}", cwd=stage.scene.remote)


def commits(stage: Stage) -> list[str]:
    return stage.scene.git("log", "--format=%s", "main", cwd=stage.scene.remote).splitlines()


def mark(stage: Stage) -> Note | None:
    return stage.components.ledger.note(note_name("wish"))


def test_a_wish_becomes_one_action_and_one_run(stage: Stage, wishes: Wishes) -> None:
    wishes.wishes += [wish("one-1"), wish("one-2")]
    stage.once()
    assert sorted(ran(stage)) == ["one-1", "one-2"]
    assert stage.scene.results().keys() == {"one-1", "one-2"}
    assert "2 actions" in commits(stage)  # one commit for both
    assert (note := mark(stage)) is not None
    assert note.text == '{"one":"2"}'
    wishes.marked = False  # however often it wants them
    stage.once()
    stage.once()
    assert len(ran(stage)) == 2
    assert commits(stage).count("2 actions") == 1


def test_a_file_that_is_there_already_is_left_alone(stage: Stage, wishes: Wishes) -> None:
    stage.scene.merge({path("one-1"): SAME}, "Somebody was faster")
    wishes.wishes.append(wish("one-1"))
    stage.once()
    assert text_of(stage, path("one-1")) == SAME.strip()
    assert ran(stage) == []


def test_who_dies_between_push_and_mark_writes_nothing_twice(
    stage: Stage, wishes: Wishes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = type(stage.components.ledger)
    original = ledger.write_note

    def dies(self: Any, name: str, text: str, *, version: int) -> Note:
        if name == note_name("wish"):
            raise RuntimeError("killed")
        return original(self, name, text, version=version)

    monkeypatch.setattr(ledger, "write_note", dies)
    wishes.wishes.append(wish("one-1"))
    with pytest.raises(TemporaryError):
        stage.once()
    assert mark(stage) is None
    assert commits(stage).count("Action one-1 for wish one") == 1
    monkeypatch.undo()
    stage.once()
    assert ran(stage) == ["one-1"]
    assert mark(stage) is not None
    assert commits(stage).count("Action one-1 for wish one") == 1


def test_what_was_deleted_before_it_ran_is_gone_for_good(stage: Stage, wishes: Wishes) -> None:
    wishes.marked = False  # nothing but the tombstone remembers it
    wishes.wishes.append(wish("one-1", formula="danger"))  # waits for approval
    stage.once()
    written = text_of(stage, path("one-1"))
    stage.scene.remove(path("one-1"))
    stage.once()
    stage.once()
    assert [c for c in commits(stage) if c.startswith("Action")] == ["Action one-1 for wish one"]
    (claim,) = stage.components.ledger.open_runs()
    assert claim.phase is Phase.TOMBSTONE
    # nor does a copy from the history run, whoever approves it
    stage.scene.merge({path("one-1"): written + "\n"}, "Bring it back", sign=True)
    stage.once()
    assert stage.scene.results()["one-1"]["verdict"] == "invalid"
    assert ran(stage) == []


@pytest.mark.parametrize("rewrite", [False, True])
def test_what_was_changed_before_it_ran_is_gone_for_good(
    stage: Stage, wishes: Wishes, *, rewrite: bool
) -> None:
    stage.scene.merge({DEFINITION: "x = 1\n"}, "Define it", sign=True)
    stage.scene.merge({path("first"): waiting("first")}, "It waits for approval")
    blob = stage.scene.git("rev-parse", f"main:{DEFINITION}", cwd=stage.scene.remote)
    wishes.wishes.append(wish("one-1", formula="danger", blob=blob, after=["first"]))
    stage.once()
    stage.scene.git("pull", "--quiet", "--rebase", "origin", "main")
    before = stage.scene.git("rev-parse", "main~1", cwd=stage.scene.remote)
    genuine = text_of(stage, path("one-1")) + "\n"
    edited = genuine.replace("danger", "hello")
    if rewrite:  # so that the file as it was written is in no history
        stage.scene.git("reset", "--quiet", "--hard", before)
        stage.scene.git("push", "--quiet", "--force", "origin", "HEAD:main")
    stage.scene.merge({path("one-1"): edited}, "Edit it")
    stage.once()
    stage.scene.remove(path("one-1"))
    stage.once()
    stage.scene.merge({path("one-1"): genuine}, "Bring it back")
    stage.scene.merge({path("first"): waiting("first") + "# now\n"}, "Approve", sign=True)
    stage.once()
    stage.once()
    assert ran(stage) == ["first"]
    assert stage.scene.results()["one-1"]["verdict"] == "invalid"


def waiting(action_id: str) -> str:
    return f'id = "{action_id}"\nformula = "danger"\ncontext = ""\nsecrets = []\n'


def test_it_runs_by_the_approval_of_its_definition(stage: Stage, wishes: Wishes) -> None:
    stage.scene.merge({DEFINITION: "x = 1\n"}, "Define it", sign=True)
    blob = stage.scene.git("rev-parse", f"main:{DEFINITION}", cwd=stage.scene.remote)
    wishes.wishes.append(wish("one-1", formula="danger", blob=blob))
    stage.once()
    result = stage.scene.results()["one-1"]
    assert (result["verdict"], result["tier"]) == ("succeeded", "high")
    # an unapproved change of the definition: the next one waits
    stage.scene.merge({DEFINITION: "x = 2\n"}, "Change it")
    blob = stage.scene.git("rev-parse", f"main:{DEFINITION}", cwd=stage.scene.remote)
    wishes.wishes.append(wish("one-2", formula="danger", blob=blob))
    stage.once()
    assert ran(stage) == ["one-1"]
    # and what was written under the version before that is refused once the file changes again
    stage.scene.merge({DEFINITION: "x = 3\n"}, "Change it again", sign=True)
    stage.once()
    assert stage.scene.results()["one-2"]["verdict"] == "refused"
    assert ran(stage) == ["one-1"]


def test_a_forged_source_approves_nothing(stage: Stage, wishes: Wishes) -> None:
    stage.scene.merge({DEFINITION: "x = 1\n"}, "Define it", sign=True)
    blob = stage.scene.git("rev-parse", f"main:{DEFINITION}", cwd=stage.scene.remote)
    wishes.wishes.append(wish("one-1", formula="danger", blob=blob))
    stage.once()
    genuine = text_of(stage, path("one-1")) + "\n"
    edited = genuine.replace('context = "c"', 'context = "evil"')
    stage.scene.merge(
        {
            path("one-9"): genuine.replace('id = "one-1"', 'id = "one-9"'),
            path("one-8"): edited.replace('id = "one-1"', 'id = "one-8"'),
        },
        "Copies",
    )
    stage.once()
    assert ran(stage) == ["one-1"]
    assert stage.scene.results().keys() == {"one-1"}


def test_a_source_that_fails_holds_up_nothing(stage: Stage, wishes: Wishes) -> None:
    broken = Wishes(kind="broken", wishes=[wish("Not an id")])
    wishes.wishes.append(wish("one-1"))
    stage.change = lambda components: replace(components, sources=(broken, wishes))
    stage.once()
    assert ran(stage) == ["one-1"]


class TestWishes(SourceContract):
    @pytest.fixture
    def case(self, stage: Stage, wishes: Wishes) -> Case:
        wishes.wishes.append(wish("one-0"))
        stage.once()
        look = wishes.looks[-1]
        wanted = [*wishes.wishes, wish("one-1"), wish("one-2")]
        return Case(make=lambda: Wishes(wishes=wanted), look=replace(look, marks={"one": "1"}))
