"""Reloads the rules' files when they change, and has everything judged again under the new rules."""

from __future__ import annotations

from collections.abc import Sequence

from dispatcher.loop.pollers import Pollers
from dispatcher.loop.rules import QUIET_S, Reloaded, Rules
from dispatcher.loop.view import View
from dispatcher.status.tracker import Tracker

NAME = "reload"


class Reloading:
    """Reloads the rules' files when they change. Used by the loop's thread only.

    Args:
        rules: the rules to reload.
        view: is judged under them.
        pollers: read the files.
        tracker: notified of each change, and once of each invalid file.
    """

    def __init__(self, rules: Rules, view: View, pollers: Pollers, tracker: Tracker) -> None:
        self._rules, self._view, self._pollers, self._tracker = rules, view, pollers, tracker
        self._requested = False
        self._reported: tuple[str, ...] = ()
        self.under_way = False

    def open(self) -> None:
        """Reload before the first round: a process that waited for the lead must not decide by
        rules that it read long ago. Reads local files only.
        """
        self._entered(self._rules.reload())

    def ask(self) -> None:
        """Have the files read in the next round, as a person requested."""
        self._requested = True

    def work(self) -> None:
        """Begin to read the files, if they changed."""
        changed = self._rules.changed()
        if (changed or self._requested) and self._pollers.free(None, NAME):
            self._requested, self.under_way = False, True
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
            if warning in self._reported:
                continue
            if warning in waiting:
                self._tracker.event("restart_needed", reason=warning)
            else:
                self._tracker.event("reload_failed", error=warning)
        self._reported = warnings

    def _failed(self, _error: Exception) -> None:
        """Adopt what was read: it is in force, although it could not be put on record."""
        self._adopt()

    def _adopt(self) -> None:
        self.under_way = False
        revision = self._rules.fence.revision
        if revision != self._view.revision:
            self._view.adopt(self._rules.policy, revision=revision)
