"""Base classes of the settings' sections, and of the sections of engines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from dispatcher.toml.source import KeyPath

if TYPE_CHECKING:
    from dispatcher.settings.models import Settings
    from dispatcher.settings.workload_identity import WorkloadIdentity

PositiveSeconds = Annotated[float, Field(gt=0)]

_CREDENTIAL = "credential"


def credential(description: str) -> Any:
    """A field with the path of a file that holds a credential; formulas cannot see that file."""
    return Field(default=None, description=description, json_schema_extra={_CREDENTIAL: True})


class Section(BaseModel):
    """A table of ``disinto.toml``: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def credential_files(self) -> Iterator[Path]:
        """The files of this section that hold a credential, present or not."""
        for key, described in type(self).model_fields.items():
            extra = described.json_schema_extra
            value = getattr(self, key)
            if isinstance(extra, dict) and extra.get(_CREDENTIAL) and isinstance(value, Path):
                yield value


@dataclass(frozen=True, kw_only=True, slots=True)
class Contradiction:
    """A problem of the settings as a whole, reported at the key that is best changed."""

    message: str
    path: KeyPath
    remedy: str


def wrong(message: str, *path: str | int, remedy: str) -> Contradiction:
    """A contradiction at a path."""
    return Contradiction(message=message, path=path, remedy=remedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """The address of a server in the section of an engine.

    Attributes:
        key: within the section.
        value: the address.
        carries: what is sent there, as a noun phrase.
        may_be_socket: whether ``unix://`` is allowed, too.
    """

    key: str
    value: str
    carries: str
    may_be_socket: bool = False


class EngineSection(Section):
    """The keys of one engine; the section has the engine's name.

    Attributes:
        CUSTOMARY: variables of other programs that override a key, and the key.
    """

    CUSTOMARY: ClassVar[Mapping[str, str]] = {}

    def contradictions(self, name: str, settings: Settings) -> Iterator[Contradiction]:
        """What is wrong with these keys together, or with other sections. Opens and asks nothing.

        Args:
            name: of this section, the first part of each path.
            settings: all of them.
        """
        yield from ()

    def addresses(self) -> tuple[Address, ...]:
        """The servers that the engine connects to."""
        return ()

    def workload_identity(self) -> WorkloadIdentity | None:
        """By which identity the dispatcher logs in to Vault if it runs on this engine itself."""
        return None
