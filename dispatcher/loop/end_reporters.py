"""All that report on the forge how actions ended, as one: on the ops repo's pull requests, and on the
issues of projects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dispatcher.errors import Denied, DisintoError, TemporaryError
from dispatcher.gate.ended import Ended
from dispatcher.loop.components import EndReporter


class EndReporters:
    """Asks each reporter. A result is reported once all have reported it; reporting is idempotent, so
    that one that failed has the others called again.
    """

    def __init__(self, reporters: Sequence[EndReporter]) -> None:
        self._reporters = tuple(reporters)

    def forget(self) -> None:
        """See ``EndReporter``."""
        for reporter in self._reporters:
            reporter.forget()

    def report_ended(self, ended: Sequence[Ended]) -> Mapping[str, DisintoError]:
        """See ``EndReporter``. An error that is worth a retry comes before one that is final."""
        failures: dict[str, DisintoError] = {}
        for reporter in self._reporters:
            for action_id, error in reporter.report_ended(ended).items():
                if action_id not in failures or isinstance(error, TemporaryError | Denied):
                    failures[action_id] = error
        return failures


def joined(*reporters: EndReporter | None) -> EndReporter | None:
    """Those there are, as one; None if there is none."""
    present = [reporter for reporter in reporters if reporter is not None]
    return EndReporters(present) if len(present) > 1 else next(iter(present), None)
