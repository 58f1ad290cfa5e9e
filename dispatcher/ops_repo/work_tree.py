"""Updates a person's work tree of the ops repo after one of its files was sent from it.

``disinto dispatch`` commits with a clone of its own. An untracked file in a work tree, at the path
that the commit adds, would block the next ``git pull`` ("untracked working tree files would be
overwritten"). Staged, it would not: git keeps an entry of the index that is what the new commit
holds. So the file is staged, and the work tree fast-forwarded if that changes nothing else of the
person's.
"""

from __future__ import annotations

from pathlib import Path

from dispatcher.errors import DisintoError
from dispatcher.ops_repo.person import run_git


def follow_with(file: Path, *, path: str, commit: str) -> str:
    """Update the work tree of a file that was sent.

    Args:
        file: as given by the person.
        path: its path in the ops repo, from the root.
        commit: the commit (hex) that contains it, on the branch or on that of a pull request.

    Returns:
        What was done or is left to do there, for people; "" if the file is elsewhere.
    """
    try:
        top = Path(run_git(["rev-parse", "--show-toplevel"], file.parent).rstrip("\n"))
        if file.resolve() != top.resolve() / path or _tracked(top, path):
            return ""
        run_git(["fetch", "--quiet"], top)
        if not _succeeds(["cat-file", "-e", f"{commit}^{{commit}}"], top):
            return ""  # a work tree of something else
        run_git(["add", "--force", "--", path], top)
    except DisintoError:
        return ""
    if _succeeds(["merge-base", "--is-ancestor", commit, "@{upstream}"], top) and _succeeds(
        ["merge", "--quiet", "--ff-only", "@{upstream}"], top
    ):
        return f"the work tree {top} is up to date with it"
    return f"staged in {top}, so that the next 'git pull' can take the commit"


def _tracked(top: Path, path: str) -> bool:
    return bool(run_git(["ls-files", "--", path], top))


def _succeeds(arguments: list[str], top: Path) -> bool:
    try:
        run_git(arguments, top)
    except DisintoError:
        return False
    return True
