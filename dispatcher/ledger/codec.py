"""Encodes a claim as JSON text: the format in which every ledger stores it.

Upgrade rule. The text carries a format number. A new field of ``Claim`` that has a default, and
that an older dispatcher may drop without harm, leaves the number as it is: unknown fields are
ignored on reading (and gone after that dispatcher's next write). Anything an older dispatcher must
not ignore raises ``FORMAT``; an unknown number is rejected with a remedy. The version of a claim
belongs to the store and is not part of the text.
"""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from dispatcher.errors import PermanentError
from dispatcher.model.run import Claim

FORMAT = 1
"""Number of the format written by this version."""


class UnreadableClaim(PermanentError):
    """This version cannot read a claim in the ledger."""


@cache
def _adapter() -> TypeAdapter[Claim]:
    return TypeAdapter(Claim)


def encode(claim: Claim) -> str:
    """JSON text of a claim, in ASCII, without its version."""
    fields = dataclasses.asdict(claim)
    del fields["version"]
    return json.dumps({"format": FORMAT, **fields}, separators=(",", ":"))


def decode(text: str | bytes, *, version: int, place: str) -> Claim:
    """The claim that ``encode`` wrote.

    Args:
        text: the stored text.
        version: the store's compare-and-set number of it.
        place: its location, for the error's text.

    Raises:
        UnreadableClaim: it is not JSON, lacks a field, or a newer version wrote it.
    """
    try:
        fields: dict[str, Any] = json.loads(text)
        format_ = fields.pop("format")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UnreadableClaim(
            f"the ledger contains something at {place} that is not a claim",
            remedy="Inspect it; restore it from a backup or, if nothing of it runs, remove it.",
        ) from None
    if format_ != FORMAT:
        raise UnreadableClaim(
            f"the claim at {place} has format {format_!r}, and this version reads {FORMAT}",
            remedy="Another version of disinto wrote it: run that one until its runs have ended.",
        )
    try:
        return _adapter().validate_python({**fields, "version": version})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UnreadableClaim(
            f"the claim at {place} cannot be read: {field}: {first['msg']}",
            remedy="Restore it from a backup or, if nothing of it runs, remove it.",
        ) from None
