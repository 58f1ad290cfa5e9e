"""The demo's screen: a table that follows every action, or plain lines without a terminal."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from dispatcher.model.run import Claim, Phase, RunState
from dispatcher.model.verdicts import Verdict
from dispatcher.status.tracker import Status

COLOURS: dict[str, str] = {
    **{verdict.value: verdict.colour for verdict in Verdict},
    "waiting": "cyan",
    "running": "blue",
}
RUNNING = "running"
"""A state here, and the reason that a plan gives for waiting for a run that runs."""


class Screen:
    """A status screen with a table: one row per action of the demo.

    Args:
        console: where it is drawn.
        rows: id of each action, and what it demonstrates.
    """

    def __init__(self, console: Console, rows: Mapping[str, str]) -> None:
        self._console = console
        self._rows = dict(rows)
        self._state = dict.fromkeys(rows, ("waiting", "for the first poll of the repository"))
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw it while the block runs."""
        if not self._console.is_terminal:
            yield
            return
        with Live(
            get_renderable=self._table, console=self._console, refresh_per_second=8
        ) as self._live:
            yield

    def status(self, status: Status) -> None:
        """A round is over: take over what stands still."""
        waits = {wait.action_id: wait for wait in status.plan.waits}
        for action_id, wait in waits.items():
            if wait.run is RunState.RUNNING and not wait.reason:
                self._tell(action_id, RUNNING, _formula(status.claims.get(action_id)))
            else:
                self._tell(action_id, "waiting", wait.reason)
        for action_id, claim in status.claims.items():
            if claim.phase is Phase.SUBMITTED and action_id not in waits:
                self._tell(action_id, RUNNING, _formula(claim))

    def event(self, what: str, /, **facts: object) -> None:
        """Nothing to draw."""

    def ended(self, action_id: str, verdict: str, detail: str) -> None:
        """The result of an action is on the remote."""
        self._tell(action_id, verdict, detail)

    def _tell(self, action_id: str, state: str, detail: str) -> None:
        with self._lock:
            shown = self._state.get(action_id)
            if shown is None or shown == (state, detail):
                return
            self._state[action_id] = (state, detail)
        if self._live is None:
            self._console.print(
                f"  {action_id}: {state}: {detail.splitlines()[0] if detail else ''}"
            )

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, expand=True)
        table.add_column("action", no_wrap=True, style="bold")
        table.add_column("state", no_wrap=True)
        table.add_column("detail", ratio=1)
        with self._lock:
            states = dict(self._state)
        for action_id in self._rows:
            state, detail = states[action_id]
            shown: Text | Spinner = Text(state, style=COLOURS.get(state, ""))
            if state == "running":
                shown = Spinner("dots", text=Text(state, style="blue"))
            table.add_row(action_id, shown, detail)
        table.caption = f"{time.monotonic() - self._began:.0f} s"
        return table


def _formula(claim: Claim | None) -> str:
    return f"formula {claim.formula.name}" if claim and claim.formula else ""
