"""The owner of a policy: a mark in its first line, which the server keeps word for word.

A policy is overwritten or deleted only if its mark names this installation and its ops repo. So two
installations of one name do each other no harm, nor do we harm anybody else's policy that happens
to have the name. Pure.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from dispatcher.settings import Settings

_MARK = re.compile(
    r'# Managed by disinto: installation "(?P<installation>[a-z0-9-]{1,32})", '
    r"ops repo (?P<ops_repo>[0-9a-f]{12})\.\n"
)


@dataclass(frozen=True, slots=True)
class Owner:
    """An installation.

    Attributes:
        installation: ``[vault] installation``.
        ops_repo: digest of the remote's address and the branch. It distinguishes two installations
            whose settings are copies of each other, and does not disclose the address.
    """

    installation: str
    ops_repo: str

    @property
    def mark(self) -> str:
        """The first line of every policy of this installation."""
        return (
            f'# Managed by disinto: installation "{self.installation}", ops repo {self.ops_repo}.\n'
        )

    def __str__(self) -> str:
        return f"the installation {self.installation!r} of the ops repo {self.ops_repo}"


def owner(settings: Settings) -> Owner:
    """This installation."""
    repo = settings.ops_repo
    digest = hashlib.sha256(f"{repo.remote}\n{repo.branch}".encode()).hexdigest()
    return Owner(settings.vault.installation, digest[:12])


def owner_of(policy: str) -> Owner | None:
    """The installation in the mark of a policy's text; None if there is no mark."""
    mark = _MARK.match(policy)
    return Owner(mark["installation"], mark["ops_repo"]) if mark else None
