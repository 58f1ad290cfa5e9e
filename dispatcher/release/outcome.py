"""How a deploy can end, one entry each; the table in docs/releases.md is rendered from them."""

from __future__ import annotations

from enum import StrEnum

from dispatcher.errors import Exit


class Outcome(StrEnum):
    """How a deploy ended."""

    UP_TO_DATE = "up-to-date"
    DEPLOYED = "deployed"
    NOT_RETRIED = "not-retried"
    NOT_AUTOMATIC = "not-automatic"
    ROLLED_BACK_BY_HAND = "rolled-back-by-hand"
    ROLLED_BACK = "rolled-back"
    STOPPED = "stopped"
    BROKEN = "broken"

    @property
    def exit_code(self) -> Exit:
        """Of the command."""
        return _ENTRIES[self][0]

    @property
    def meaning(self) -> str:
        """For people, in one sentence without a full stop."""
        return _ENTRIES[self][1]


_ENTRIES: dict[Outcome, tuple[Exit, str]] = {
    Outcome.UP_TO_DATE: (
        Exit.OK,
        "the safe commit is the branch's head, or a later one than `--commit` names; nothing was changed",
    ),
    Outcome.DEPLOYED: (Exit.OK, "the services are healthy on the new commit, which is safe now"),
    Outcome.NOT_RETRIED: (
        Exit.OK,
        "the branch's head failed before, or was left by a rollback by hand; the timer waits until the "
        "branch moves or a person deploys",
    ),
    Outcome.NOT_AUTOMATIC: (
        Exit.OK,
        "release.toml has `automatic = false`, and there is nothing to repair; the timer did not look at "
        "the branch",
    ),
    Outcome.ROLLED_BACK_BY_HAND: (
        Exit.OK,
        "`disinto release rollback`: the services are healthy on an earlier commit, which is safe now",
    ),
    Outcome.ROLLED_BACK: (
        Exit.FAILED,
        "a step failed or was interrupted; the services are healthy on the safe commit",
    ),
    Outcome.STOPPED: (
        Exit.FAILED,
        "a step failed, and there is no safe commit to return to; the services are stopped",
    ),
    Outcome.BROKEN: (
        Exit.SOFTWARE,
        "the return to the safe commit failed, too; a person is needed, and the next deploy tries again",
    ),
}
