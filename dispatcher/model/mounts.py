"""The mounts, one entry each: everything else that names them is derived from it, or compared.

To add one: a member here, then ``make docs``, which renews schemas, tables, the image and the
directories of ``compose.yaml``. The module imports only what is quickly loaded, because the runner
needs it in every job.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

HOME = "/home/agent"
"""Home directory of the formula inside a container job."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    """What there is to know about a mount.

    Attributes:
        place: where it appears, relative to the formula's home directory.
        meaning: for people: what it holds, without a full stop.
        read_only: True for what holds keys, or is the record itself.
        private: True if the image gives its directory mode 0700, as programs want it for keys.
        sidecar: True if the built-in job class ``sidecar`` has it.
    """

    place: str
    meaning: str
    read_only: bool = False
    private: bool = False
    sidecar: bool = False


class Mount(StrEnum):
    """The named volumes a job may have."""

    place: str
    meaning: str
    read_only: bool
    private: bool
    sidecar: bool

    def __new__(cls, name: str, *entries: _Entry) -> Self:
        # One entry for each member; mypy takes Mount("ssh"), which has none, for a call of this.
        (entry,) = entries
        member = str.__new__(cls, name)
        member._value_ = name
        member.place = entry.place
        member.meaning = entry.meaning
        member.read_only = entry.read_only
        member.private = entry.private
        member.sidecar = entry.sidecar
        return member

    SSH = (
        "ssh",
        _Entry(place=".ssh", meaning="SSH keys, known hosts", read_only=True, private=True),
    )
    GPG = ("gpg", _Entry(place=".gnupg", meaning="GnuPG's keys", read_only=True, private=True))
    SOPS = (
        "sops",
        _Entry(place=".config/sops/age", meaning="age keys for SOPS", read_only=True, private=True),
    )
    PROJECT_REPOS = (
        "project-repos",
        _Entry(place="repos", meaning="clones that formulas work on", sidecar=True),
    )
    OPS_REPO = (
        "ops-repo",
        _Entry(
            place="ops-repo", meaning="a bare clone of the ops repo", read_only=True, sidecar=True
        ),
    )
    AGENT_DATA = (
        "agent-data",
        _Entry(place="data", meaning="what runs keep for later ones", sidecar=True),
    )

    @property
    def target(self) -> str:
        """Absolute path inside a container job (under the local engine: below ``$HOME``)."""
        return f"{HOME}/{self.place}"
