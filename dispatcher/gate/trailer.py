"""The trailer of approvals in signed messages: ``Disinto-Approve: <repository>@<branch> <what>``.

``<what>`` is an action's id, or the path of a formula of the ops repo, and in a commit that does not
bring the file's content also that content's blob hash. A signature alone proves who made a commit,
not its purpose: it remains valid when the commit is copied to other repositories and branches.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from dispatcher.model.paths import ACTIONS_PATH
from dispatcher.ops_repo.signatures import TRAILER
from dispatcher.settings import Settings
from dispatcher.settings.repository import repository_name


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The target of approvals.

    Attributes:
        repository: see ``[gate] repository``.
        branch: the branch whose files are actions.
    """

    repository: str
    branch: str

    @classmethod
    def of(cls, settings: Settings) -> Place:
        return cls(repository=repository_name(settings), branch=settings.ops_repo.branch)

    def value(self, path: str, *, blob: str = "") -> str:
        """The value of the trailer that approves a file: ``acme/ops@main deploy-website``.

        Args:
            blob: git blob hash (hex) of the content approved, for a commit that does not bring it.
        """
        of_blob = f" {blob}" if blob else ""
        return f"{self.repository}@{self.branch} {subject(path)}{of_blob}"

    def trailer(self, path: str, *, blob: str = "") -> str:
        """The trailer line that approves a file."""
        return f"{TRAILER}: {self.value(path, blob=blob)}"

    def further_command(self, path: str, *, blob: str) -> str:
        """The command by which a person approves what is on the branch without changing it, in any
        work tree: an empty commit on top of the branch, which names the content.
        """
        branch = shlex.quote(self.branch)
        approve = shlex.quote(f"Approve {subject(path)}")
        line = shlex.quote(self.trailer(path, blob=blob))
        return (
            f"git fetch origin {branch} && git push origin "
            f'"$(git commit-tree -S -p FETCH_HEAD -m {approve} -m {line} '
            f"'FETCH_HEAD^{{tree}}')\":refs/heads/{branch}"
        )

    def command(self, path: str) -> str:
        """The command by which a person approves a file of the branch, in a work tree of theirs.

        It changes the file by a comment, or by an empty line, because an approval is in the commit of the last change.
        """
        file = shlex.quote(path)
        commented = path.endswith((".toml", ".sh", ".yaml"))
        change = "\\n# approved\\n" if commented else "\\n"
        message = (
            f"-m {shlex.quote(f'Approve {subject(path)}')} -m {shlex.quote(self.trailer(path))}"
        )
        return (
            f"printf '{change}' >> {file} && git commit -S {message} -- {file} "
            f"&& git push origin HEAD:{shlex.quote(self.branch)}"
        )


def subject(path: str) -> str:
    """A file's name in approvals: an action's id, a formula's path."""
    folder, _, name = path.rpartition("/")
    return name.removesuffix(".toml") if folder == ACTIONS_PATH else path
