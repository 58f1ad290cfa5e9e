"""Open pull requests as rows of ``status``: one bounded call, kept for a moment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dispatcher.errors import Dependency, Unavailable
from dispatcher.forge.records import BranchEnd, Request, User
from dispatcher.operate.proposed import NAME, branch_of, proposed, unmerged
from dispatcher.status.overview import State

SHA = "a" * 40


def request(number: int, ref: str, base: str = "main") -> Request:
    return Request(
        number=number,
        state="open",
        merged=False,
        user=User(id=1, login="alice"),
        base=BranchEnd(ref=base, sha=SHA),
        head=BranchEnd(ref=ref, sha=SHA),
        html_url=f"https://forge.example/pulls/{number}",
    )


class Forge:
    def __init__(self, *requests: Request) -> None:
        self.requests, self.calls = requests, 0

    def open_requests(self) -> Sequence[Request]:
        self.calls += 1
        return self.requests


class Down:
    def open_requests(self) -> Sequence[Request]:
        raise Unavailable(Dependency.FORGE, "the forge does not answer")


def test_what_dispatch_and_cancel_opened_is_listed_and_nothing_else(tmp_path: Path) -> None:
    forge = Forge(
        request(1, branch_of("deploy")),
        request(2, branch_of("deploy", cancels=True)),
        request(3, "feature"),
        request(4, "disinto/../../x"),
        request(5, "disinto/other", base="next"),
    )
    found, unknown = proposed(lambda: forge, branch="main", state_dir=tmp_path)
    assert unknown == ""
    assert [(p.action_id, p.cancels, p.number) for p in found] == [
        ("deploy", False, 1),
        ("deploy", True, 2),
    ]
    row = found[0].row()
    assert (row.id, row.state) == ("deploy", State.PROPOSED)
    assert "#1 by alice: https://forge.example/pulls/1" in row.reason
    assert "cancel" in found[1].row().reason


def test_the_forge_is_asked_once_in_a_while(tmp_path: Path) -> None:
    forge = Forge(request(1, branch_of("deploy")))
    answers = [proposed(lambda: forge, branch="main", state_dir=tmp_path) for _ in range(3)]
    assert len(set(answers)) == 1
    assert forge.calls == 1
    os.utime(tmp_path / NAME, (0, 0))
    proposed(lambda: forge, branch="main", state_dir=tmp_path)
    assert forge.calls == 2


def test_a_forge_that_is_down_is_a_note_and_what_is_kept_may_be_anything(tmp_path: Path) -> None:
    found, unknown = proposed(Down, branch="main", state_dir=tmp_path)
    assert found == ()
    assert "the forge does not answer" in unknown
    (tmp_path / NAME).write_text('[{"not": "ours"}]')
    assert proposed(Down, branch="main", state_dir=tmp_path)[0] == ()


def test_what_is_on_the_branch_by_now_is_not_proposed_any_more(tmp_path: Path) -> None:
    """The forge's answer is kept for a while, in which a request may be merged."""
    forge = Forge(
        request(1, branch_of("merged")),
        request(2, branch_of("merged", cancels=True)),
        request(3, branch_of("open")),
        request(4, branch_of("stopped", cancels=True)),
    )
    found, _ = proposed(lambda: forge, branch="main", state_dir=tmp_path)
    left = unmerged(found, actions={"merged", "stopped"}, cancels={"stopped"})
    assert [p.number for p in left] == [2, 3]
