"""The messages between an engine and the runner: the payload in, the outcome out.

Both are JSON; the payload is compressed too, because Nomad accepts at most 16 KiB. The wrapping
token is the only credential in a payload, and worth nothing after its first use.

A formula runs as the runner's own user and may write whatever the runner may, ``outcome.json``
included. So the runner authenticates the file with a key of the run, which is in the payload and in
the claim and which the formula never gets; what does not verify is not the runner's word.

The module imports only the standard library, because the runner loads it in every job.
"""

from __future__ import annotations

import hmac
import json
import re
import zlib
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

from dispatcher.errors import Exit, PermanentError
from dispatcher.model.dynamic import decode_dynamic, encode_dynamic
from dispatcher.model.mounts import Mount
from dispatcher.model.run import (
    FormulaInput,
    FormulaKind,
    FormulaRef,
    Outcome,
    RunKey,
    RunSpec,
    Tier,
    WrappedGrant,
)
from dispatcher.model.verdicts import Verdict

VERSION = 2
"""2: the runner authenticates its outcome. A runner that does not would be taken for a forger, so
it must refuse the payload."""

WRAPPING_GONE = "the wrapping token is not valid any more"
"""How the error of an outcome begins whose runner could not unwrap its grant. Only who knows the
grant's accessor can tell why."""

_READ = frozenset({1, VERSION})
MAX_DECODED_BYTES = 16 * 1024 * 1024
"""Refuse to unpack more than this, so that a forged payload cannot fill the memory."""

MAX_OUTCOME_BYTES = 8 * 1024 * 1024
"""No runner writes a larger ``outcome.json``; a formula might."""

_MAC = re.compile(rb'\{"mac":"([0-9a-f]{64})",')

OUTPUT_LEVELS = 32
"""How deep the outputs may be nested, the object itself being the first level. Deeper ones pass some
encoders and decoders on their way into the signed result and not others: pydantic reads 200 levels
and writes 255, Python's ``json`` about 1,000.
"""

_NESTED = (
    "key",
    "formula",
    "formula_text",
    "files",
    "dynamic",
    "bot",
    "bots_prefix",
    "forge_url",
    "job_class",
    "meta",
)
"""Fields of a spec that are encoded in a form of their own, or that only the engine needs."""


class BadPayload(PermanentError):
    """The payload is not one of ours. The message quotes nothing of it."""

    exit_code = Exit.DATAERR


class IncompletePayload(BadPayload):
    """The payload ends too early, as when the dispatcher died while it wrote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Payload:
    """The input of a runner.

    Attributes:
        spec: the run.
        token: the wrapping token. Kept out of ``repr``.
        creation_path: where the token must have been minted.
    """

    spec: RunSpec
    token: str = field(repr=False)
    creation_path: str


def encode_spec(spec: RunSpec) -> dict[str, Any]:
    """A spec as plain JSON values. The formula's bytes become text; foreign bytes survive."""
    plain: dict[str, Any] = {
        f.name: getattr(spec, f.name) for f in fields(spec) if f.name not in _NESTED
    }
    plain["key"] = {"action_id": spec.key.action_id, "blob": spec.key.blob}
    plain["formula"] = {
        f.name: getattr(spec.formula, f.name) for f in fields(spec.formula) if f.name != "inputs"
    }
    if spec.formula_text is not None:
        plain["formula_text"] = _as_text(spec.formula_text)
    if spec.files:
        # An older runner rejects a formula with inputs: it would run it without its files.
        plain["formula"]["inputs"] = [
            [each.name, each.blob, each.sha256]
            for each in spec.formula.inputs
            if each.name in spec.files
        ]
        plain["files"] = {
            name: None if data is None else _as_text(data) for name, data in spec.files.items()
        }
    if spec.dynamic:
        # A runner that does not know the key looks for these among the stored secrets, is denied
        # them, and stops before the formula.
        plain["dynamic"] = [encode_dynamic(secret) for secret in spec.dynamic]
    if spec.bot:
        # Likewise: such a runner looks for FORGE_TOKEN among the stored secrets of actions.
        plain |= {"bot": spec.bot, "bots_prefix": spec.bots_prefix, "forge_url": spec.forge_url}
    return plain


def decode_spec(plain: dict[str, Any]) -> RunSpec:
    """The inverse of ``encode_spec``.

    Raises:
        KeyError, TypeError, ValueError: it is not the JSON of a spec.
    """
    text = plain.get("formula_text")
    formula = plain["formula"]
    names = {f.name for f in fields(RunSpec)}
    values = {name: value for name, value in plain.items() if name in names}
    values.update(
        key=RunKey(**plain["key"]),
        tier=Tier(plain["tier"]),
        formula=_decode_ref(formula),
        formula_text=None if text is None else _as_bytes(text),
        files={
            str(name): None if data is None else _as_bytes(data)
            for name, data in plain.get("files", {}).items()
        },
        mounts=tuple(Mount(name) for name in plain.get("mounts", ())),
        dynamic=tuple(decode_dynamic(secret) for secret in plain.get("dynamic", ())),
    )
    for name in ("approved_by", "secrets", "tools", "agent_argv"):
        values[name] = tuple(str(item) for item in plain.get(name, ()))
    return RunSpec(**values)


def _decode_ref(plain: dict[str, Any]) -> FormulaRef:
    inputs = tuple(
        FormulaInput(name=name, blob=blob, sha256=sha256)
        for name, blob, sha256 in plain.get("inputs", ())
    )
    return FormulaRef(**{**plain, "kind": FormulaKind(plain["kind"]), "inputs": inputs})


def _as_text(data: bytes) -> str:
    """Bytes as JSON can hold them; what is not UTF-8 survives."""
    return data.decode("utf-8", "surrogateescape")


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def encode_payload(spec: RunSpec, wrapped: WrappedGrant) -> bytes:
    """The bytes a scheduler hands to the runner; they hold the wrapping token."""
    document = {
        "version": VERSION,
        "token": wrapped.token,
        "creation_path": wrapped.creation_path,
        "spec": encode_spec(spec),
    }
    return zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 9)


def decode_payload(data: bytes) -> Payload:
    """Read a payload.

    Raises:
        IncompletePayload: it is empty or cut off.
        BadPayload: it is something else, or of another version.
    """
    unpack = zlib.decompressobj()
    try:
        text = unpack.decompress(data, MAX_DECODED_BYTES)
    except zlib.error:
        raise BadPayload("the payload is not zlib data") from None
    if unpack.unconsumed_tail:
        raise BadPayload(f"the payload unpacks to more than {MAX_DECODED_BYTES} bytes")
    if not unpack.eof:
        raise IncompletePayload("the payload is incomplete")
    try:
        document = json.loads(text)
        version = document["version"]
        if version in _READ:
            return Payload(
                spec=decode_spec(document["spec"]),
                token=str(document["token"]),
                creation_path=str(document["creation_path"]),
            )
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise BadPayload("the payload is not the JSON of a run") from None
    raise BadPayload(
        f"the payload has version {version!r}, this runner reads {VERSION}",
        remedy="Use the same release for the dispatcher and the runner's image.",
    )


class NotAuthentic(ValueError):
    """An ``outcome.json`` that the run's own runner did not write."""


def encode_outcome(outcome: Outcome, *, key: str = "") -> bytes:
    """The text of ``outcome.json``.

    Args:
        key: ``outcome_key`` of the run; "" if the runner never learned of one.
    """
    plain = {f.name: getattr(outcome, f.name) for f in fields(outcome)}
    text = json.dumps(plain, ensure_ascii=False, indent=1).encode("utf-8", "replace") + b"\n"
    return authenticate(text, key)


def decode_outcome(data: bytes, *, key: str = "") -> Outcome:
    """Read ``outcome.json``. Outputs that no result can hold are left out; ``error`` says why.

    Args:
        key: ``outcome_key`` of the run; "" to take anybody's word.

    Raises:
        NotAuthentic: it does not verify with ``key``.
        ValueError: it is not an outcome.
    """
    check_authentic(data, key)
    try:
        plain = json.loads(data)
        names = {f.name for f in fields(Outcome)}
        values = {name: value for name, value in plain.items() if name in names}
        outcome = Outcome(**{**values, "verdict": Verdict(plain["verdict"])})
        trouble = unfit_outputs(outcome.outputs)
        if not trouble:
            return outcome
        error = "; ".join(part for part in (outcome.error, trouble) if part)
        return replace(outcome, outputs={}, error=error)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not an outcome: {type(error).__name__}") from None


def authenticate(text: bytes, key: str) -> bytes:
    """A JSON object with a MAC as its first field; as it is without a key."""
    return b'{"mac":"%s",%s' % (_mac(text, key), text[1:]) if key else text


def check_authentic(data: bytes, key: str) -> None:
    """Check what ``authenticate`` made; nothing without a key.

    Raises:
        NotAuthentic: it does not verify.
    """
    begin = _MAC.match(data) if key else None
    if not key:
        return
    if begin is None or not hmac.compare_digest(_mac(b"{" + data[begin.end() :], key), begin[1]):
        raise NotAuthentic("not written by the runner of this run")


def _mac(text: bytes, key: str) -> bytes:
    """Over every byte of the text as it is without the MAC."""
    return hmac.digest(key.encode(), text, "sha256").hex().encode()


END_NOTICE_PATH = "/runs/ended"
"""Where ``serve`` takes notices of runners that a run has ended."""

END_NOTICE_BYTES = 65_536
"""No runner sends a longer one: it leaves out an outcome that does not fit."""


class EndNotice(NamedTuple):
    """A runner's notice that its run has ended; nothing proves it yet.

    Attributes:
        job, alloc: where it ran.
        outcome: the bytes of ``outcome.json``; b"" if they are not in it.
        clean: whether the runner says that none of the formula's processes is left.
    """

    job: str
    alloc: str
    outcome: bytes
    clean: bool


def encode_end_notice(job: str, alloc: str, *, outcome: bytes, key: str, clean: bool) -> bytes:
    """A runner's notice that its run has ended; without the outcome if that is too long.

    Args:
        outcome: the bytes of ``outcome.json``; b"" to leave it out.
        key: ``outcome_key`` of the run.
        clean: see ``EndNotice``.
    """
    named: dict[str, object] = {"job": job, "alloc": alloc, "clean": clean}
    if outcome:
        plain = json.dumps(named | {"outcome": _as_text(outcome)})
        notice = authenticate(plain.encode(), key)
        if len(notice) <= END_NOTICE_BYTES:
            return notice
    return authenticate(json.dumps(named).encode(), key)


def decode_end_notice(data: bytes) -> EndNotice:
    """What a notice says.

    Raises:
        ValueError: it is no notice.
    """
    try:
        plain = json.loads(data)
        return EndNotice(
            job=str(plain["job"]),
            alloc=str(plain["alloc"]),
            outcome=_as_bytes(str(plain.get("outcome", ""))),
            clean=plain.get("clean") is True,
        )
    except (TypeError, KeyError, RecursionError):
        raise ValueError("not a notice") from None


TOO_DEEP = f"the outputs are nested more than {OUTPUT_LEVELS} levels deep and were left out"


_NOT_FINITE = (
    "the outputs contain NaN or an infinite number, which JSON cannot represent, and were left out"
)
_LONE_SURROGATE = (
    "the outputs contain a lone surrogate such as \\ud800, which UTF-8 cannot represent, and were "
    "left out"
)


def unfit_outputs(outputs: object) -> str:
    """Why a result cannot hold these outputs, or ""."""
    if _too_deep(outputs):
        return TOO_DEEP
    try:
        json.dumps(outputs, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        return _LONE_SURROGATE
    except ValueError:
        return _NOT_FINITE
    return ""


def _too_deep(outputs: object) -> bool:
    """Whether a JSON value has more than ``OUTPUT_LEVELS`` levels."""
    level: list[object] = [outputs]
    for _ in range(OUTPUT_LEVELS):
        level = [
            item
            for value in level
            if isinstance(value, dict | list)
            for item in (value.values() if isinstance(value, dict) else value)
        ]
    return any(isinstance(value, dict | list) for value in level)
