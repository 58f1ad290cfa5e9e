"""The result file ``<id>.result.json``: its model, and its canonical encoding.

``dispatcher.loop.result_writer`` is the only writer; all other code reads.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from dispatcher.model.inventory import Change
from dispatcher.model.names import ID_PATTERN
from dispatcher.model.run import ENGINE_NAME, Claim, Phase, Tier
from dispatcher.model.verdicts import Verdict

RESULT_LIMIT = 1024 * 1024
"""Maximum bytes of a result file; a larger one is not ours."""

LOGS_LIMIT = 1_000
"""Characters of redacted log kept in a result."""


LONGEST_S = 100 * 366 * 86_400.0
"""Maximum duration of a run: a century, since a clock that is set during a run may add decades."""

_CODE_MAX = 2**31 - 1
_BYTES_MAX = 2**53 - 1
"""The largest integer that every JSON reader represents exactly."""

SEQUENCE_MAX = _BYTES_MAX
"""The greatest sequence of a change of the inventory."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ResultInput(_Record):
    """A file that belongs to the formula: its schema, or one that it reads."""

    name: str
    sha256: str


class ResultFormula(_Record):
    """The formula that ran, or that the action named."""

    name: str
    sha256: str = ""
    inputs: Annotated[
        tuple[ResultInput, ...],
        Field(
            exclude_if=lambda inputs: not inputs,
            description="Its schema and the files that it read, left out if it has none.",
        ),
    ] = ()


class ResultInventory(_Record):
    """What the run did to one entry of the inventory, in the same commit as this result."""

    change: Change
    kind: Annotated[str, Field(pattern=ID_PATTERN)]
    id: Annotated[str, Field(pattern=ID_PATTERN)]
    destroyed_by: Annotated[str, Field(description="The formula that destroys it, or empty.")] = ""
    expires_at: Annotated[
        str | None, Field(description="When the dispatcher has it destroyed, RFC 3339.")
    ] = None
    entry: Annotated[
        dict[str, object], Field(description="What the formula handed back about it.")
    ] = {}
    sequence: Annotated[
        int,
        Field(
            ge=0,
            le=SEQUENCE_MAX,
            exclude_if=lambda sequence: not sequence,
            description="Greater than that of every earlier change, also if the clock was set back.",
        ),
    ] = 0
    claim_sequence: Annotated[
        int,
        Field(
            ge=0,
            le=SEQUENCE_MAX,
            exclude_if=lambda sequence: not sequence,
            description="Of a destruction: greater than that of every change before its run was "
            "claimed. It does not end what was created later.",
        ),
    ] = 0


class ResultEngine(_Record):
    """Where the run executed; "" if it never reached an engine."""

    kind: Annotated[
        str, Field(pattern=rf"^({ENGINE_NAME})?$", description="Name of the engine.")
    ] = ""
    job: str = ""
    alloc: str = ""
    node: str = ""


class KeptStream(_Record):
    """One stream of a run's output, kept compressed (gzip) as an object of the ops repository."""

    bytes: Annotated[int, Field(ge=0, le=_BYTES_MAX, description="Bytes that the run wrote.")]
    omitted: Annotated[
        int, Field(ge=0, le=_BYTES_MAX, description="Of these, left out in the middle.")
    ] = 0
    packed: Annotated[int, Field(ge=0, le=_BYTES_MAX, description="Bytes of the object.")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", description="Of the object's bytes.")]
    object: Annotated[
        str,
        Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$", description="Its git blob hash."),
    ]


class ResultOutput(_Record):
    """The whole output of a run: where it is kept, or why it is not."""

    month: Annotated[
        str,
        Field(
            pattern=r"^(\d{4}-(0[1-9]|1[0-2]))?$",
            description="It is kept on refs/disinto/logs/<month>; empty if it is not.",
        ),
    ] = ""
    stdout: KeptStream | None = None
    stderr: KeptStream | None = None
    missing: Annotated[str, Field(description="Why it is not kept.")] = ""

    def streams(self) -> tuple[tuple[str, KeptStream], ...]:
        """What is kept, by the stream's name."""
        named = (("stdout", self.stdout), ("stderr", self.stderr))
        return tuple((name, kept) for name, kept in named if kept is not None)


class Signature(_Record):
    """A signature of an envelope: which key, and the signature itself in base64."""

    keyid: str
    sig: str


class Envelope(_Record):
    """A DSSE envelope (spec 1.0.2), its names as the specification has them."""

    payloadType: str  # noqa: N815 - the specification's name
    payload: Annotated[str, Field(description="The signed statement, in base64.")]
    signatures: tuple[Signature, ...]


class Result(_Record):
    """What became of an action. Times are RFC 3339 in UTC; durations are seconds."""

    id: str
    exit_code: Annotated[
        int,
        Field(
            ge=-_CODE_MAX - 1,
            le=_CODE_MAX,
            description="Never 0 unless the verdict is succeeded.",
        ),
    ]
    timestamp: Annotated[str, Field(description="When the verdict was reached.")]
    logs: Annotated[str, Field(description="Last 1,000 characters of output, redacted.")] = ""
    verdict: Verdict
    error: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    duration_s: Annotated[float | None, Field(ge=0, le=LONGEST_S, allow_inf_nan=False)] = None
    approved_by: tuple[str, ...] = ()
    tier: Tier | None = None
    commit: Annotated[str, Field(description="Head of the branch when the run was decided.")] = ""
    blob: Annotated[str, Field(description="Git blob hash of the action file.")] = ""
    formula: ResultFormula | None = None
    engine: ResultEngine = ResultEngine()
    outputs: dict[str, object] = Field(default_factory=dict)
    emergency: Annotated[
        str,
        Field(
            description="Why it started although a freeze was in force, and which; left out of "
            "other results."
        ),
    ] = ""
    again_of: Annotated[
        str,
        Field(description="Id of the action that it repeats; left out if there is none."),
    ] = ""
    inventory: Annotated[
        ResultInventory | None,
        Field(
            exclude_if=lambda done: done is None,
            description="What it did to the inventory, left out if nothing.",
        ),
    ] = None
    output: Annotated[
        ResultOutput | None,
        Field(
            exclude_if=lambda output: output is None,
            description="The whole output; left out if nothing was written, or none is kept.",
        ),
    ] = None
    attestation: Annotated[
        Envelope | None,
        Field(description="Signature over all of the above; see dispatcher.attestation."),
    ] = None

    @model_validator(mode="after")
    def _zero_only_for_success(self) -> Result:
        if (self.exit_code == 0) != self.verdict.success:
            raise ValueError(f"exit code {self.exit_code} does not go with verdict {self.verdict}")
        return self

    def to_json(self) -> str:
        """The file's text: indented, keys in the order above, one newline at the end.

        Without an attestation the key is left out; ``dispatcher.attestation`` signs that text and
        counts on the key being the last.
        """
        without = {"attestation"} if self.attestation is None else set[str]()
        # Results of earlier versions, which lack these keys, keep their bytes.
        without |= {key for key in ("emergency", "again_of") if not getattr(self, key)}
        return self.model_dump_json(indent=2, exclude=without) + "\n"


@lru_cache(maxsize=64)
def parse_result(text: str) -> Result:
    """The result of a text that this dispatcher wrote, such as a claim's. It is parsed once, however many
    sign, count, report and show it.

    Raises:
        ValueError: it is not a result of this version.
    """
    return Result.model_validate_json(text)


def ended_result(claim: Claim) -> Result | None:
    """The result that an ended claim holds; None before its end, for one of another version, and
    for one that was closed because its result was in git already.
    """
    if claim.phase is not Phase.ENDED:
        return None
    try:
        return parse_result(claim.result)
    except ValueError:
        return None
