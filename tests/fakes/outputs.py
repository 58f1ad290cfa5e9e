"""The whole output of runs in memory: what waits on a machine for its push."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dispatcher.attestation import git_blob
from dispatcher.model.result import KeptStream, ResultOutput
from dispatcher.model.run import Claim, Outcome, RunKey
from dispatcher.ops_repo import OutputFile
from tests.fakes.outside import MemoryEngine

MONTH = "2026-11"


@dataclass
class MemoryOutputs:
    """``Outputs`` of one machine. The path of a file is the hash of the object that it becomes.

    Attributes:
        engine: has the output while it has the run.
        waiting: hashes that wait for a push, by id.
        resting: whether the remote refused some: none is read then.
    """

    engine: MemoryEngine
    waiting: dict[str, str] = field(default_factory=dict)
    resting: bool = False
    trouble: str = ""

    def collect(self, claim: Claim, outcome: Outcome) -> ResultOutput | None:
        return self._collect(claim.key)

    def collect_again(self, claim: Claim, output: ResultOutput) -> ResultOutput | None:
        return self._collect(claim.key) if output.stdout else output

    def _collect(self, key: RunKey) -> ResultOutput:
        if self.resting:
            return ResultOutput(missing="the remote refused it")
        if key not in self.engine.runs:
            return ResultOutput(missing="the engine does not have it any more")
        data = key.action_id.encode()
        kept = KeptStream(bytes=len(data), packed=len(data), sha256="0" * 64, object=git_blob(data))
        self.waiting[key.action_id] = kept.object
        return ResultOutput(month=MONTH, stdout=kept)

    def missing(self, action_id: str, output: ResultOutput) -> str:
        if self.resting:
            return "the remote refused it"
        there = output.stdout is None or self.waiting.get(action_id) == output.stdout.object
        return "" if there else "the file is gone"

    def files(self, action_id: str, output: ResultOutput) -> tuple[OutputFile, ...]:
        kept = output.stdout
        if kept is None:
            return ()
        return (OutputFile(month=output.month, name=action_id, path=Path(kept.object)),)

    def refused(self, why: str) -> None:
        self.resting, self.trouble = True, why

    def pushed(self) -> None:
        self.resting = False

    def forget(self, action_id: str) -> None:
        self.waiting.pop(action_id, None)
