"""What settings were made of: whether two processes have the same, without reading what they mean.

``serve`` leaves the origin of its settings in the status file. A command that finds its own to be
the same knows that they are valid and what they say, which saves it most of its time: the model of
the settings takes longer to load than all else that ``status`` does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dispatcher.settings_digest import digest, is_same, variables


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What the settings of a process were made of, for another process to compare with its own.

    Two processes with the same origin have the same settings, valid or not, and need not read them
    twice. No value of a variable that sets no key is in it, because that may be a secret.

    Attributes:
        digest: SHA-256 (hex) of this program's version, the file, and the variables below.
        variables: names of those that set a key.
        others: names of those that begin as ours do, and set none.
        customary: names of variables of other programs that set a key, present or not.
    """

    digest: str
    variables: tuple[str, ...]
    others: tuple[str, ...]
    customary: tuple[str, ...]

    @classmethod
    def of(
        cls,
        file: Path | None,
        environ: Mapping[str, str],
        *,
        keys: Collection[str],
        customary: Collection[str],
    ) -> Origin:
        """The origin of the settings that this file and this environment make.

        Args:
            file: as ``find_settings`` found it.
            environ: the environment.
            keys: names of all own variables that set a key.
            customary: names of all variables of other programs that set a key.

        Raises:
            OSError: the file cannot be read.
        """
        present = variables(environ, customary)
        used = tuple(name for name in present if name in keys or name in customary)
        return cls(
            digest=digest(str(file) if file else None, environ, used),
            variables=used,
            others=tuple(name for name in present if name not in used),
            customary=tuple(customary),
        )

    def is_of(self, file: Path | None, environ: Mapping[str, str]) -> bool:
        """Whether this file and this environment make the same settings, without reading them.

        Raises:
            OSError: the file cannot be read.
        """
        return is_same(self.to_json(), str(file) if file else None, environ)

    def to_json(self) -> dict[str, object]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Origin:
        """The reverse of ``to_json``.

        Raises:
            KeyError, TypeError: the data is something else.
        """
        return cls(
            digest=str(data["digest"]),
            variables=_names(data["variables"]),
            others=_names(data["others"]),
            customary=_names(data["customary"]),
        )


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("names must be a list")
    return tuple(str(name) for name in value)
