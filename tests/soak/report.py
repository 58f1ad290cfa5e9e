"""The audit at the end of a soak: what ran how often, what the results say, and what is left."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import tenacity

from dispatcher import audit
from dispatcher.assembly import open_ledger
from dispatcher.attestation import load_public_keys, verify_result
from tests.soak.pusher import ACTIONS
from tests.soak.stage import CODES, PROVISIONAL_S, Stage
from tests.soak.weather import take_over
from tests.support.evidence import RESTING_VARIABLES, children, live_grants, variables
from tests.support.serving import Served

RAN = ("succeeded", "failed")
"""Verdicts of runs whose formula ended by itself."""

NEVER_RAN = ("invalid", "refused", "unplaceable")
KILLED = 128 + signal.SIGKILL
LISTED = 20


@dataclass(kw_only=True)
class Report:
    """Attributes:
    problems: what must not be; a soak without any has passed.
    starts: how many actions were started how often.
    verdicts: of the results that verify with the dispatcher's key.
    unsigned: results that do not: somebody else's.
    without_result: actions that have none, with what they are.
    deeds: what was done to it all.
    live_grants, leftovers: what is left.
    """

    engine: str
    seed: int
    duration_s: float
    actions: int = 0
    starts: dict[int, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    unsigned: list[str] = field(default_factory=list)
    without_result: dict[str, str] = field(default_factory=dict)
    deeds: dict[str, int] = field(default_factory=dict)
    live_grants: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=True)

    def text(self) -> str:
        """For people."""
        lines = [
            f"soak on {self.engine}, {self.duration_s:g} s, seed {self.seed}: {self.actions} actions",
            f"starts      {_counts({f'{n} times': c for n, c in self.starts.items()})}",
            f"verdicts    {_counts(self.verdicts)}; {len(self.unsigned)} results of somebody else",
            f"no result   {_counts(Counter(self.without_result.values()))}",
            f"deeds       {_counts(self.deeds)}",
            f"left        {len(self.live_grants)} live grants, {len(self.leftovers)} leftovers",
        ]
        lines += [f"PROBLEM  {problem}" for problem in self.problems[:LISTED]]
        if len(self.problems) > LISTED:
            lines.append(f"… and {len(self.problems) - LISTED} more problems")
        return "\n".join(lines if self.problems else [*lines, "no problem was found"])


def conclude(stage: Stage, report: Report, *, calm_s: float) -> Report:
    """Serve in calm until nothing is under way, end it, and look at everything."""
    served = Served(stage.scene)
    try:
        _until_quiet(stage, calm_s)
    except tenacity.RetryError as error:
        report.problems.append(f"not quiet after {calm_s:g} s: {error.last_attempt.exception()}")
    try:
        served.end()
    except (AssertionError, subprocess.TimeoutExpired) as error:
        report.problems.append(f"serve did not end well: {str(error)[-400:]}")
    report.actions, report.deeds = len(stage.formulas), dict(sorted(stage.lives.items()))
    _look_at_results(stage, report)
    _look_at_leftovers(stage, report)
    return report


def _until_quiet(stage: Stage, calm_s: float) -> None:
    ledger = open_ledger(stage.scene.open_settings(), stage.scene.environ)

    @tenacity.retry(stop=tenacity.stop_after_delay(calm_s), wait=tenacity.wait_fixed(2))
    def look() -> None:
        take_over(stage)
        under_way = [c.key.action_id for c in ledger.open_runs() if c.phase != "tombstone"]
        assert not under_way, f"under way: {under_way[:LISTED]}"
        missing = _missing(stage)
        assert not missing, f"no result: {sorted(missing)[:LISTED]}"

    look()


def _missing(stage: Stage) -> set[str]:
    """Actions that could run and have no result. Not those in the archive whose result somebody
    took away: their ids stay spent, and nothing more is promised.
    """
    tree = _tree(stage)
    runnable = {name for name, formula in stage.formulas.items() if formula in CODES}
    there = {name for name in runnable if f"{ACTIONS}/{name}.toml" in tree}
    return there - _results(stage).keys()


def _tree(stage: Stage) -> dict[str, str]:
    """Paths below vault/, with their blobs."""
    listed = stage.remote.git("ls-tree", "-r", "-z", "main", "--", "vault")
    lines = [line.partition("\t") for line in listed.split("\0") if line]
    return {path: facts.split()[2] for facts, _, path in lines}


def _results(stage: Stage) -> dict[str, list[str]]:
    """Blobs of results by id, archived or not."""
    found: dict[str, list[str]] = {}
    for path, blob in _tree(stage).items():
        name = Path(path).name
        if name.endswith(".result.json"):
            found.setdefault(name.removesuffix(".result.json"), []).append(blob)
    return found


def _look_at_results(stage: Stage, report: Report) -> None:
    starts = Counter(stage.marks.read_text().split())
    report.starts = dict(Counter(starts[name] for name in stage.formulas))
    report.problems += [f"{name} was started {n} times" for name, n in starts.items() if n > 1]
    public = stage.scene.open_settings().state_dir / "attestation.pub"
    keys = load_public_keys(public.read_bytes(), path=str(public)) if public.exists() else ()
    verdicts: Counter[str] = Counter()
    results = _results(stage)
    for name, blobs in results.items():
        if name not in stage.formulas:
            continue
        if len(blobs) > 1:
            report.problems.append(f"{name} has {len(blobs)} results")
        data = subprocess.run(
            ["git", "cat-file", "blob", blobs[0]],
            cwd=stage.scene.remote, capture_output=True, check=True,
        ).stdout  # fmt: skip
        check = verify_result(data, action_id=name, action=None, public_keys=keys)
        if not check.keyid:
            report.unsigned.append(name)
            if name not in stage.attacked:
                report.problems.append(
                    f"{name}: its result is not the dispatcher's, nor an attacker's"
                )
            continue
        result = json.loads(data)
        verdicts[result["verdict"]] += 1
        if (problem := _contradiction(stage, name, result, starts[name])) is not None:
            report.problems.append(f"{name}: {problem}")
    report.verdicts = dict(sorted(verdicts.items()))
    report.without_result = {
        name: formula for name, formula in stage.formulas.items() if name not in results
    }
    report.problems += [f"{name} waits and has no result" for name in sorted(_missing(stage))]


def _contradiction(stage: Stage, name: str, result: dict[str, Any], starts: int) -> str | None:
    """What a signed result says that cannot be."""
    formula, verdict = stage.formulas[name], result["verdict"]
    if formula == "danger" and verdict in RAN:
        return f"nobody approved it, and the signed result says {verdict}"
    if verdict in RAN and starts != 1:
        return f"the signed result says {verdict}, and it was started {starts} times"
    if verdict in NEVER_RAN and starts and name not in stage.attacked:
        return f"the signed result says {verdict}, and it was started"
    if verdict in RAN and result["exit_code"] not in (CODES[formula], KILLED):
        return f"exit code {result['exit_code']} of formula {formula}"
    return None


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in numbers.items()) or "none"


def _look_at_leftovers(stage: Stage, report: Report) -> None:
    @tenacity.retry(
        stop=tenacity.stop_after_delay(PROVISIONAL_S * 3),
        wait=tenacity.wait_fixed(1),
        retry=tenacity.retry_if_result(bool),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else [],
    )
    def grants() -> list[str]:
        return live_grants(stage.vault.server, stage.formulas)

    report.live_grants = grants()
    state = stage.scene.open_settings().state_dir
    left = [str(p.relative_to(state)) for p in (state / "runs").glob("*")]
    temporary = re.compile(r"\.status-|\.new-|\.old-|tmp_|\.attestation-|\.ledger\.db\.")
    left += [str(p.relative_to(state)) for p in state.rglob("*") if temporary.search(p.name)]
    left += [f"process {pid}" for pid in stage.runners()]
    if stage.cluster is not None:
        left += [f"Nomad job {job}" for job in children(stage.scene)]
        left += [f"Nomad variable {v}" for v in variables(stage.scene) - RESTING_VARIABLES]
    report.leftovers = [name for name in left if not name.startswith("Nomad variable claims/")]
    report.problems += [f"left behind: {name}" for name in report.leftovers]
    report.problems += [f"live grant {accessor}" for accessor in report.live_grants]
    chain = audit.verify(state / "audit.jsonl")
    report.problems += [f"audit log: {problem}" for problem in chain.problems]
    fsck = subprocess.run(
        ["git", "fsck", "--strict", "--no-dangling"],
        cwd=state / "ops.git", capture_output=True, text=True, check=False,
    )  # fmt: skip
    if fsck.returncode:
        report.problems.append(f"the clone is damaged: {fsck.stderr[-400:]}")
    log = (stage.scene.root / "serve.log").read_text(errors="replace")
    if "Traceback" in log:
        at = log.index("Traceback")
        report.problems.append(f"serve's log has a traceback: {log[at : at + 1500]}")
