"""What runs leave: claims, results with made-up output, entries of the inventory, kept output."""

from __future__ import annotations

import gzip
import hashlib
import random
from dataclasses import replace
from pathlib import Path

from dispatcher.attestation import git_blob
from dispatcher.loop.outgoing import Entry, Sign
from dispatcher.loop.results import of_run
from dispatcher.model.inventory import Change
from dispatcher.model.result import KeptStream, Result, ResultInventory, ResultOutput
from dispatcher.model.run import (
    Claim,
    FormulaKind,
    FormulaRef,
    Grant,
    Outcome,
    Phase,
    Placement,
    RunKey,
    Tier,
)
from dispatcher.model.times import rfc3339
from dispatcher.model.verdicts import Verdict
from dispatcher.ops_repo import OutputFile

FORMULA = FormulaRef(name="hello", kind=FormulaKind.SHELL, blob="f" * 40, sha256="0" * 64)
LINES = 60
"""Of kept output: about 3 kB, 1.5 kB compressed."""

KIND = "machine"


def claim_of(key: RunKey, commit: str, *, now: float, dice: random.Random) -> Claim:
    """A claim as a launch writes it."""
    accessors = [f"{dice.getrandbits(128):032x}" for _ in range(2)]
    return Claim(
        key=key,
        phase=Phase.CLAIMED,
        commit=commit,
        formula=FORMULA,
        tier=Tier.LOW,
        approved_by=("ann",),
        grant=Grant(
            wrapping_accessor=accessors[0],
            accessor=accessors[1],
            policies=("disinto.default.runner.TOKEN_A", "disinto.default.runner.lookup-self"),
        ),
        claimed_at=now,
        outcome_key=f"{dice.getrandbits(256):064x}",
    )


def ended(
    claim: Claim,
    sign: Sign,
    *,
    now: float,
    dice: random.Random,
    inventory: ResultInventory | None = None,
    output: ResultOutput | None = None,
) -> Claim:
    """The claim with the signed result, as it is recorded when the run has ended."""
    logs = "".join(
        f"step {n}: {dice.randrange(10_000)} records, {dice.getrandbits(64):016x}\n"
        for n in range(8)
    )
    outcome = Outcome(
        verdict=Verdict.SUCCEEDED,
        exit_code=0,
        formula_started=True,
        started_at=now,
        finished_at=now + 20,
        logs=logs,
    )
    place = Placement(kind="local", job=claim.key.token)
    result = of_run(claim, outcome, place, now=now + 21, output=output)
    if inventory is not None:
        result = result.model_copy(update={"inventory": inventory})
    return replace(claim, phase=Phase.ENDED, revoked=True, result=_signed(claim, result, sign))


def _signed(claim: Claim, result: Result, sign: Sign) -> str:
    policies = claim.grant.policies if claim.grant else ()
    return sign(
        Entry(
            action_id=claim.key.action_id,
            text=result.to_json(),
            policies=policies,
            blob=claim.key.blob,
        )
    )


def created(entry_id: str, number: int, *, now: float, life_s: float) -> ResultInventory:
    """A machine that a run made."""
    return ResultInventory(
        change=Change.CREATES,
        kind=KIND,
        id=entry_id,
        destroyed_by="unmake",
        expires_at=rfc3339(now + life_s),
        entry={"address": f"198.51.{number // 256 % 256}.{number % 256}"},
        sequence=int(now * 1_000),
    )


def destroyed(entry_id: str, *, now: float) -> ResultInventory:
    """The end of one."""
    sequence = int(now * 1_000) + 1
    return ResultInventory(
        change=Change.DESTROYS, kind=KIND, id=entry_id, sequence=sequence, claim_sequence=sequence
    )


class KeptOutput:
    """``Outputs`` of runs that were collected already: files of a directory.

    Args:
        directory: is created.
    """

    trouble = ""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()

    def add(self, action_id: str, *, month: str, dice: random.Random) -> ResultOutput:
        """Some output of a run."""
        text = "".join(f"step {n}: {dice.getrandbits(96):024x} done\n" for n in range(LINES))
        data = gzip.compress(text.encode(), 6, mtime=0)
        (self._directory / action_id).write_bytes(data)
        kept = KeptStream(
            bytes=len(text),
            packed=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            object=git_blob(data),
        )
        return ResultOutput(month=month, stdout=kept)

    def missing(self, action_id: str, output: ResultOutput) -> str:
        """See ``Outputs``."""
        there = output.stdout is None or (self._directory / action_id).exists()
        return "" if there else "the file is gone"

    def files(self, action_id: str, output: ResultOutput) -> tuple[OutputFile, ...]:
        """See ``Outputs``."""
        if output.stdout is None:
            return ()
        path = self._directory / action_id
        return (OutputFile(month=output.month, name=f"{action_id}.stdout.gz", path=path),)

    def forget(self, action_id: str) -> None:
        """See ``Outputs``."""
        (self._directory / action_id).unlink(missing_ok=True)

    def refused(self, why: str) -> None:
        """See ``Outputs``; here it must not happen."""
        raise AssertionError(why)

    def pushed(self) -> None:
        """See ``Outputs``."""

    def collect(self, claim: Claim, outcome: Outcome) -> ResultOutput | None:
        """See ``Outputs``; it was collected."""
        raise NotImplementedError

    def collect_again(self, claim: Claim, output: ResultOutput) -> ResultOutput | None:
        """See ``Outputs``; it was collected."""
        raise NotImplementedError
