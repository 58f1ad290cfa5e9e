"""What keeps the whole output of runs, as the loop uses it; ``outputs`` does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dispatcher.model.result import ResultOutput
    from dispatcher.model.run import Claim, Outcome
    from dispatcher.ops_repo import OutputFile


class Outputs(Protocol):
    """Reads the output of runs, and hands it over for the push. Thread-safe."""

    def collect(self, claim: Claim, outcome: Outcome) -> ResultOutput | None:
        """Read the output of an ended run; None if there is none, or none is kept. Raises nothing.

        Args:
            claim: of the run.
            outcome: as its runner reported it.
        """
        ...

    def collect_again(self, claim: Claim, output: ResultOutput) -> ResultOutput | None:
        """Read what was read before and could not be pushed. Raises nothing.

        Args:
            claim: of the run.
            output: what its result names.
        """
        ...

    def missing(self, action_id: str, output: ResultOutput) -> str:
        """Why this output cannot be pushed now, in words; "" if it can."""
        ...

    def files(self, action_id: str, output: ResultOutput) -> tuple[OutputFile, ...]:
        """What is to be pushed for a result."""
        ...

    def refused(self, why: str) -> None:
        """The remote did not take output: none is read for a while."""
        ...

    def pushed(self) -> None:
        """The remote took output."""
        ...

    def forget(self, action_id: str) -> None:
        """The action's result is in git: nothing has to be pushed again."""
        ...

    @property
    def trouble(self) -> str:
        """Why output is not kept at the moment, in words; "" if it is."""
        ...


class NoOutputs:
    """Keeps no output."""

    trouble = ""

    def collect(self, claim: Claim, outcome: Outcome) -> ResultOutput | None:  # noqa: ARG002
        """None."""
        return None

    def collect_again(self, claim: Claim, output: ResultOutput) -> ResultOutput | None:  # noqa: ARG002
        """None."""
        return None

    def missing(self, action_id: str, output: ResultOutput) -> str:  # noqa: ARG002
        """A result of earlier settings may name some."""
        return "[output] keep is off"

    def files(self, action_id: str, output: ResultOutput) -> tuple[OutputFile, ...]:  # noqa: ARG002
        """None."""
        return ()

    def refused(self, why: str) -> None:
        """Nothing changes."""

    def pushed(self) -> None:
        """Nothing changes."""

    def forget(self, action_id: str) -> None:
        """Nothing changes."""
