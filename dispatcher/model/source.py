"""What started an action that the dispatcher wrote itself: the table ``[source]`` of its file.

Anybody can write such a table. It counts only with the dispatcher's signature over the whole file; see
``dispatcher.attestation.written``.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import pydantic.dataclasses
from pydantic import AfterValidator, ConfigDict, Field

from dispatcher.model.names import ID_PATTERN, name_problem
from dispatcher.toml.explain import complaint

TABLE = "source"
"""Name of the table, which is the file's last."""

SIGNATURE = "signature"
"""Name of the table's last key."""

SIGNATURE_PATTERN = "^[0-9a-f]{64}:[A-Za-z0-9+/]{86}==$"
"""The id of a key, and an ed25519 signature in base64."""

_BLOB_PATTERN = "^([0-9a-f]{40}|[0-9a-f]{64})?$"


def _name(what: str) -> AfterValidator:
    def checked(value: str) -> str:
        if wrong := name_problem(value, what):
            raise complaint(wrong[0], remedy=wrong[1])
        return value

    return AfterValidator(checked)


_name_of = partial(Field, json_schema_extra={"pattern": ID_PATTERN})


@pydantic.dataclasses.dataclass(
    frozen=True, kw_only=True, slots=True, config=ConfigDict(extra="forbid", title="Source")
)
class ActionSource:
    """Table ``[source]``: what the dispatcher wrote this action for."""

    kind: Annotated[
        str,
        _name("a kind of source"),
        _name_of(description="What started it.", examples=["schedule"]),
    ]
    name: Annotated[
        str,
        _name("the name of a source"),
        _name_of(description="Which of them.", examples=["nightly-backup"]),
    ]
    occasion: Annotated[
        str,
        Field(
            max_length=200,
            description="On what occasion: a schedule's slot, or the event.",
            examples=["2026-12-01T02:30:00Z"],
        ),
    ]
    definition: Annotated[
        str,
        Field(
            max_length=300,
            description="The file of the ops repo that defines it, whose approval is this action's; "
            "empty if there is none.",
            examples=["vault/schedules/nightly-backup.toml"],
        ),
    ] = ""
    blob: Annotated[
        str,
        Field(
            pattern=_BLOB_PATTERN,
            description="Git blob hash of that file when the action was written.",
        ),
    ] = ""
    signature: Annotated[
        str,
        Field(
            pattern=SIGNATURE_PATTERN,
            description="The dispatcher's signature over all of the file before this line.",
        ),
    ]
