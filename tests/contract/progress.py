"""What every engine promises of a run's progress. A part of ``tests.contract.scheduler``."""

from __future__ import annotations

from typing import Any

from dispatcher.engines.base import Scheduler
from dispatcher.model.progress import Progress
from dispatcher.model.run import Claim
from tests.contract.runs import eventually
from tests.servers.grants import Minter

HOSTILE = {
    "garbage": 'head -c 100000 /dev/urandom > "$DISINTO_PROGRESS"',
    "pipe": 'mkfifo "$DISINTO_PROGRESS"',
    "link": 'ln -s /dev/zero "$DISINTO_PROGRESS"',
    "directory": 'mkdir "$DISINTO_PROGRESS"',
    "deep": 'python3 -c "print(\'[\' * 4000)" >> "$DISINTO_PROGRESS"',
    "out of range": 'echo \'{"percent": 101}\' >> "$DISINTO_PROGRESS"; echo \'{"percent": NaN}\' '
    '>> "$DISINTO_PROGRESS"',
    "long": 'printf \'{"stage": "%05000d"}\\n\' 1 >> "$DISINTO_PROGRESS"',
    "unfinished": 'printf \'{"stage": "half\' >> "$DISINTO_PROGRESS"',
    "sparse": 'truncate -s 1G "$DISINTO_PROGRESS"',
}
"""What a formula may put where its progress belongs. None of it is progress."""


class ProgressContract:
    """Needs ``start`` of ``SchedulerContract``."""

    start: Any

    def reported(self, scheduler: Scheduler, claim: Claim, stage: str) -> Progress:
        def look() -> Progress | None:
            progress = scheduler.progress([claim]).get(claim.key)
            return progress if progress and progress.stage == stage else None

        return eventually(look)

    def test_progress_is_the_last_line_redacted(self, scheduler: Scheduler, minter: Minter) -> None:
        minter.put("TOKEN", "correct-horse-battery")
        claim = self.start(
            scheduler,
            minter,
            'echo \'{"stage": "one", "percent": 10}\' >> "$DISINTO_PROGRESS"\n'
            'echo \'{"stage": "two", "percent": 48.5, "detail": "with \'$TOKEN\'"}\' '
            '>> "$DISINTO_PROGRESS"\n' + "sleep 60",
            secrets=("TOKEN",),
        )
        progress = self.reported(scheduler, claim, "two")
        assert (progress.percent, progress.detail) == (48.5, "with [redacted:TOKEN]")
        assert progress.at > 0
        scheduler.cancel(claim, reason="enough")

    def test_what_is_no_progress_is_ignored_and_hangs_nothing(
        self, scheduler: Scheduler, minter: Minter
    ) -> None:
        lines = "\n".join(
            f'{line}; sleep 0.3; rm -rf "$DISINTO_PROGRESS"' for line in HOSTILE.values()
        )
        claim = self.start(
            scheduler,
            minter,
            f'{lines}\necho \'{{"stage": "survived"}}\' >> "$DISINTO_PROGRESS"\nsleep 60',
        )
        self.reported(scheduler, claim, "survived")
        scheduler.cancel(claim, reason="enough")

    def test_a_run_that_reports_nothing_has_none(
        self, scheduler: Scheduler, minter: Minter
    ) -> None:
        claim = self.start(scheduler, minter, "true")
        assert scheduler.progress([claim]) == {}
