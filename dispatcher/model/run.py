"""A run, from claim to verdict: the records that services, adapters and the runner share.

Everything here is frozen, keyword-only and plain data. The module imports little beside the
standard library, because the runner loads it in every job.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dispatcher.model.dynamic import DynamicSecret
from dispatcher.model.inventory import Declaration
from dispatcher.model.mounts import Mount
from dispatcher.model.verdicts import Verdict

MAX_ARGUMENT_BYTES = 131_071
"""Of one argument, or one environment variable with its name, that a program can be started with:
Linux's MAX_ARG_STRLEN without the closing NUL; execve(2)."""


MAX_VARIABLE_BYTES = 131_072
"""Bytes of one environment variable, with its name, ``=`` and the final NUL (``MAX_ARG_STRLEN`` of
Linux, execve(2))."""


ENGINE_NAME = r"[a-z][a-z0-9_-]{0,31}"
"""Pattern of the name of an engine; any package may bring one."""


class Tier(StrEnum):
    """What a formula may harm; decides which approval it needs. Ordered low < medium < high."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def rank(self) -> int:
        return ("low", "medium", "high").index(self.value)


class FormulaKind(StrEnum):
    """By the file's ending: ``.sh`` runs under bash, ``.toml`` is passed to the agent command."""

    SHELL = "sh"
    AGENT = "toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunKey:
    """What makes a run one run: the action's id and the git blob hash of its TOML (hex)."""

    action_id: str
    blob: str

    def __hash__(self) -> int:
        """Of the id alone, which Python computes once: each round looks up every run by its key."""
        return hash(self.action_id)

    @property
    def token(self) -> str:
        """One word for idempotency tokens and folder names: ``<id>.<blob>``; ids hold no dot."""
        return f"{self.action_id}.{self.blob}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FormulaInput:
    """A file that belongs to a formula: its schema, or one that it reads.

    Attributes:
        name: of the file, in the formula's directory.
        blob, sha256: git blob hash and hex digest of its bytes.
    """

    name: str
    blob: str
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FormulaRef:
    """The exact formula a run executes.

    Attributes:
        name: the stem of the formula's file.
        kind: how it is run.
        blob: git blob hash (hex) of its bytes, also for formulas that do not come from git.
        sha256: hex digest of its bytes, checked again by the runner.
        commit: commit of the ops repo at which it was read, or "" for the operator's own directory.
        inputs: its schema and the files that it reads, by name; () for a formula without a schema.
    """

    name: str
    kind: FormulaKind
    blob: str
    sha256: str
    commit: str = ""
    inputs: tuple[FormulaInput, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all that a run reads of the formula: its bytes, or, with inputs, a list
        of digests and names as ``sha256sum`` writes it, the formula's own line first.
        """
        if not self.inputs:
            return self.sha256
        own = f"{self.sha256}  {self.name}.{self.kind}\n"
        lines = (f"{each.sha256}  {each.name}\n" for each in self.inputs)
        return hashlib.sha256((own + "".join(lines)).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Formula:
    """A formula's bytes and where they come from.

    Attributes:
        ref: names exactly these bytes.
        path: from the root of the ops repo; "" for the operator's own directory.
        text: the bytes. Kept out of ``repr``.
        schema: the bytes of its schema; None if it has none. Kept out of ``repr``.
        files: the bytes of the files that it reads, by name. Kept out of ``repr``.
        declares: what its schema declares about the inventory.
    """

    ref: FormulaRef
    path: str
    text: bytes = field(repr=False)
    schema: bytes | None = field(default=None, repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    declares: Declaration | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """What the dispatcher keeps of a grant: how to end it. Never the token.

    Attributes:
        wrapping_accessor: accessor of the wrapping token; revoking it asks and settles whether
            the runner has unwrapped.
        accessor: accessor of the token inside, revoked when the run ends.
        policies: the policies it carries, one per secret and one to look itself up.
    """

    wrapping_accessor: str
    accessor: str
    policies: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class WrappedGrant:
    """A freshly minted grant, with the one credential that travels to the runner.

    Attributes:
        token: the wrapping token (single use). Kept out of ``repr``.
        creation_path: where it was minted; the runner checks it before unwrapping.
    """

    grant: Grant
    token: str = field(repr=False)
    creation_path: str


class Phase(StrEnum):
    """The phase of a claimed run."""

    CLAIMED = "claimed"  # the claim is written; the run may or may not have been submitted
    SUBMITTED = "submitted"  # the engine has the run; known to its leader only, not written
    ENDED = "ended"  # the verdict is known; the result is on its way to git
    TOMBSTONE = "tombstone"  # its result vanished from git; kept so that the id never runs again


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A ledger's record of one run: all that a restarted dispatcher needs to finish it.

    There is at most one claim for an action id, whatever its blob: an id runs once.

    Attributes:
        key, phase: see their classes.
        commit: head of the ops repo's branch at which the run was decided.
        formula, tier, approved_by: what was decided; None for a claim that never runs anything
            (an action cancelled while it waited, a tombstone).
        priority: copied from the action.
        lock: name of the lock that the run holds while it is in flight; "" for none.
        declares: what the approved schema of its formula declares about the inventory.
        claim_sequence: of a run that destroys an entry: see ``ResultInventory``; 0 for any other.
        emergency: why it started although a freeze was in force, and which; "" for any other.
        again_of: id of the action that it repeats; "" for none.
        timeout_s: seconds the formula may run.
        grant: None for a claim without a run.
        revoked: True once both accessors of the grant are known to be dead.
        stopped: True once the run was cancelled at the engine because a result was in git.
        engine_id: the engine's own name of the run; "" until submitted.
        claimed_at, submitted_at: seconds since the epoch; 0.0 where it has not happened.
        result: the result's JSON text once the verdict is known; "" before.
        outcome_key: key with which the runner authenticates ``outcome.json``; "" in a claim made
            before there was one. Kept out of ``repr``.
        version: the ledger's compare-and-set number; 0 for a claim not yet written.
    """

    key: RunKey
    phase: Phase
    commit: str
    formula: FormulaRef | None = None
    tier: Tier | None = None
    approved_by: tuple[str, ...] = ()
    priority: int = 0
    lock: str = ""
    declares: Declaration | None = None
    claim_sequence: int = 0
    emergency: str = ""
    again_of: str = ""
    timeout_s: int = 3600
    grant: Grant | None = None
    revoked: bool = False
    stopped: bool = False
    engine_id: str = ""
    claimed_at: float = 0.0
    submitted_at: float = 0.0
    result: str = ""
    outcome_key: str = field(default="", repr=False)
    version: int = 0

    @property
    def in_flight(self) -> bool:
        """Whether its engine may have the run: it is claimed, and has no verdict yet."""
        return self.phase in (Phase.CLAIMED, Phase.SUBMITTED)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpec:
    """The runner's specification of a run, without the wrapping token. Contains no secret value.

    Attributes:
        key: of the run.
        commit, approved_by, tier: for the formula's environment and for people who read the job.
        formula: reference, checked by the runner against the bytes it gets.
        formula_text: the formula's bytes; None if the runner reads it from the mounted ops
            repo by blob hash.
        files: the bytes of the files that the formula reads, by name; None for one that the runner
            reads from the mounted ops repo. Their hashes are in ``formula.inputs``.
        context: free text of the action.
        secrets: names, each also the name of the environment variable.
        mounts, model, tools: from the action.
        params: table of a provisioning formula, else empty.
        agent_argv: for ``FormulaKind.AGENT``: the command, placeholders already filled.
        timeout_s: seconds until the formula's process group is ended.
        kill_grace_s: seconds between TERM and KILL.
        vault_addr, vault_namespace, kv_mount, kv_prefix: where the runner reads its secrets:
            ``<kv_mount>/data/<kv_prefix>/<NAME>``, field ``value``.
        dynamic: how those of ``secrets`` are fetched that an engine of Vault makes.
        bot: name of the bot whose token is among ``secrets`` as ``FORGE_TOKEN``; "" for none.
        bots_prefix: path below ``kv_mount`` of bots' tokens.
        forge_url: where the bot's token is valid; "" without a bot.
        job_class: in which the run executes; for the engine.
        meta: of its job, for people who read it there. Nothing secret.
        outcome_key: see ``Claim``. The formula never gets it. Kept out of ``repr``.
        listener_url: where the runner says that it has ended; "" for nowhere.
        notice_has_outcome: whether it sends the outcome there, too. Only to an address that is in the settings:
            at a guessed one, another program may listen while ``serve`` is down.
    """

    key: RunKey
    commit: str
    tier: Tier
    approved_by: tuple[str, ...] = ()
    formula: FormulaRef
    formula_text: bytes | None = None
    files: dict[str, bytes | None] = field(default_factory=dict)
    context: str = ""
    secrets: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    model: str = ""
    tools: tuple[str, ...] = ()
    params: dict[str, object] = field(default_factory=dict)
    agent_argv: tuple[str, ...] = ()
    timeout_s: int = 3600
    kill_grace_s: float = 10.0
    vault_addr: str = ""
    vault_namespace: str = ""
    kv_mount: str = "kv"
    kv_prefix: str = "disinto/runner"
    dynamic: tuple[DynamicSecret, ...] = ()
    bot: str = ""
    bots_prefix: str = "disinto/bots"
    forge_url: str = ""
    job_class: str = "runner"
    meta: dict[str, str] = field(default_factory=dict)
    outcome_key: str = field(default="", repr=False)
    listener_url: str = ""
    notice_has_outcome: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The runner's report of a run in ``outcome.json``.

    Attributes:
        verdict: one of succeeded, failed, timed_out, cancelled, error.
        exit_code: the formula's own code, 128+n for a signal, or a sysexits code where the
            formula did not start; 0 only with ``succeeded``.
        signal: number of the signal that ended the formula, or None.
        formula_started: False if the runner stopped before the formula.
        error: why it did not start or was ended, else "".
        started_at, finished_at: of the formula, seconds since the epoch; 0.0 if never.
        logs: last 1,000 characters of both streams in order of arrival, redacted.
        outputs: what a provisioning formula hands back; never a secret.
        written: what the runner wrote to its logs, by stream: bytes, and their SHA-256 (hex). Empty
            if it did not report that.
        short_output: the whole of that, by stream, as base64; empty if it is long.
    """

    verdict: Verdict
    exit_code: int
    signal: int | None = None
    formula_started: bool = False
    error: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0
    logs: str = ""
    outputs: dict[str, object] = field(default_factory=dict)
    written: dict[str, tuple[int, str]] = field(default_factory=dict)
    short_output: dict[str, str] = field(default_factory=dict)


class RunState(StrEnum):
    """The state of a run as its engine reports it."""

    PENDING = "pending"  # accepted, but not placed yet
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Where a run executed, for ``engine`` in the result file; "" for what is unknown."""

    kind: str
    job: str = ""
    alloc: str = ""
    node: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One run as its engine reports it.

    Attributes:
        state: pending, running or ended.
        engine_id: the engine's name of the run.
        engine: where it executes, for the result.
        outcome: set if ``state`` is ENDED: the runner's own report if there is one, else derived from
            the engine's records.
        reason: why it is pending, or what is wrong with it while it runs, in words, else "".
        since: when this state began, seconds since the epoch, or 0.0.
        reported: False if the run has ended and its runner left no report, so that ``outcome`` is
            derived from the engine's records.
    """

    state: RunState
    engine_id: str
    engine: Placement
    outcome: Outcome | None = None
    reason: str = ""
    since: float = 0.0
    reported: bool = True
