"""Who wrote what is in a file now, and which commits name a content, by the commits themselves.

Names and addresses of commits are whatever their maker wrote; only a signature proves anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice

from dispatcher.ops_repo import lineage, reader
from dispatcher.ops_repo.clone import Clone
from dispatcher.ops_repo.lineage import Lineage
from dispatcher.ops_repo.records import CommitInfo
from dispatcher.ops_repo.signatures import carries_signature

MOST_COMMITS = 200
"""Commits of one change that are read, the latest."""

MOST_NAMING = 1_000
"""Commits that ``naming`` returns, the first: a push must not bury what was there before."""

_ADDRESS = re.compile(r"<([^<>\s]+)>")


@dataclass(frozen=True, kw_only=True, slots=True)
class Contribution:
    """A commit that brought a part of a file's content.

    Attributes:
        commit: hex.
        addresses: e-mail addresses (lower case) of author, committer and co-authors, as claimed.
    """

    commit: str
    addresses: frozenset[str]


def contributions(
    clone: Clone, git: lineage.Git, origin: Lineage, path: str
) -> tuple[Contribution, ...]:
    """The commits that changed a file and came to the branch together, the last change first.

    Args:
        origin: the file's lineage.
    """
    main = origin.mainline
    before = [f"^{main.parents[0]}"] if main.parents else []
    together = lineage.changed(git, f"-{MOST_COMMITS}", main.sha, *before, path=path)
    commits = dict.fromkeys((origin.last.sha, *(change.sha for change in together)))
    return tuple(
        Contribution(
            commit=info.sha,
            addresses=frozenset(
                address.strip().lower()
                for address in (
                    info.author_email,
                    info.committer_email,
                    *(a for line in info.co_authors for a in _ADDRESS.findall(line)),
                )
                if address.strip()
            ),
        )
        for info in (reader.commit_info(clone, commit) for commit in commits)
    )


def sole_author(clone: Clone, git: lineage.Git, commit: str, path: str) -> CommitInfo | None:
    """The last commit that changed a path, if the author of every one that ever did, in all lines of history,
    has the same e-mail address, in whichever case; None if not, or if none did.
    """
    last = None
    for change in lineage.changed(git, commit, path=path):
        info = reader.commit_info(clone, change.sha)
        last = last or info
        if _address_of(info) != _address_of(last):
            return None
    return last


def naming(clone: Clone, text: str, *, since: str, commit: str) -> tuple[str, ...]:
    """Commits of ``commit``'s history and not of ``since``'s that carry a signature, whoever made it,
    and whose message contains a text; in the order of the branch's first-parent history.
    """
    done = clone.git.run(
        clone.path,
        "log",
        "--topo-order",  # a line of history at a time, and dates count for nothing
        "--format=%H",
        "--fixed-strings",
        f"--grep={text}",
        commit,
        f"^{since}",
        "--",
    )
    listed = reversed(done.out.decode("ascii", "replace").split())
    return tuple(islice((sha for sha in listed if _signed(clone, sha)), MOST_NAMING))


def _address_of(info: CommitInfo) -> str:
    return info.author_email.strip().lower()


def _signed(clone: Clone, commit: str) -> bool:
    return carries_signature(clone.objects.contents([commit])[commit])
