"""Reloading: has the rules' files read when they change, and everything judged by what they say."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.loop.pollers import Pollers
from dispatcher.loop.rules import QUIET_S, Reloaded, Rules
from dispatcher.loop.view import View
from dispatcher.status.tracker import Tracker

NAME = "reload"


class Reloading:
    """Has the rules' files read when they change. Used by the loop's thread only.

    Args:
        rules: what may change.
        view: judged by them.
        pollers: who reads the files.
        tracker: told of each change, and once of each that is wrong.
    """

    def __init__(self, rules: Rules, view: View, pollers: Pollers, tracker: Tracker) -> None:
        self._rules, self._view, self._pollers, self._tracker = rules, view, pollers, tracker
        self._asked = False
        self._told: tuple[str, ...] = ()
        self.under_way = False

    def open(self) -> None:
        """Before the first round: nothing is decided by what a process that waited for the lead once
        read. Reads local files alone.
        """
        self._entered(self._rules.reload())

    def ask(self) -> None:
        """A person says that they changed."""
        self._asked = True

    def work(self) -> None:
        """Have them read, if they changed."""
        changed = self._rules.changed()
        if (changed or self._asked) and self._pollers.free(None, NAME):
            self._asked, self.under_way = False, True
            self._pollers.run(
                None, self._rules.reload, self._entered, name=NAME, failed=self._failed
            )

    def next_in(self) -> float | None:
        """Seconds until a file that changed may be read; None if none did."""
        return QUIET_S if self._rules.pending() else None

    def _entered(self, changes: Sequence[Reloaded]) -> None:
        self._adopt()
        for change in changes:
            self._tracker.event(
                "policy_reloaded", setting=change.setting, file=change.path, sha256=change.now
            )
        warnings, waiting = self._rules.warnings(), self._rules.waits_for_restart()
        for warning in warnings:
            if warning in self._told:
                continue
            if warning in waiting:
                self._tracker.event("restart_needed", reason=warning)
            else:
                self._tracker.event("reload_failed", error=warning)
        self._told = warnings

    def _failed(self, _error: Exception) -> None:
        """What was read is in force all the same, though it is not on record."""
        self._adopt()

    def _adopt(self) -> None:
        self.under_way = False
        revision = self._rules.fence.revision
        if revision != self._view.revision:
            self._view.adopt(self._rules.policy, revision=revision)
