"""An ops repo on a real forge, with the people who open, push, review and merge."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import tenacity

from dispatcher.forge import ForgeApi
from dispatcher.gate import Gate, TieredGate
from dispatcher.gate.approvers import Approvers
from dispatcher.gate.forgejo import ForgejoGate
from dispatcher.ops_repo import OpsRepo
from dispatcher.settings import ForgeSettings
from tests.servers.forgejo import Account, Forgejo, Refused
from tests.support.checkout import Checkout
from tests.support.judging import Found, Judge
from tests.support.recorded import Recording, RecordingHistory, RecordingTransport

_numbers = itertools.count(1)


@cache
def _people(url: str) -> dict[str, Account]:
    return {}


def _cast(server: Forgejo) -> dict[str, Account]:
    """The people of this server; making an account takes longer than making a repository."""
    people = _people(server.url)
    for name in ("owner", "boss", "alice", "carol", "passer_by"):
        if name not in people:
            people[name] = server.account(name)
    return people


def action_path(action_id: str) -> str:
    return f"vault/actions/{action_id}.toml"


def action_text(
    action_id: str, *, formula: str = "deploy", secrets: str = "", extra: str = ""
) -> str:
    return (
        f'id = "{action_id}"\nformula = "{formula}"\ncontext = "go"\nsecrets = [{secrets}]\n{extra}'
    )


@dataclass(kw_only=True)
class Stage:
    """One repository. ``owner`` owns it and lends the dispatcher its token; ``boss`` administers
    it; ``alice`` and ``carol`` may write; ``passer_by`` may read.
    """

    server: Forgejo
    folder: Path
    owner: Account
    boss: Account
    alice: Account
    carol: Account
    passer_by: Account
    repository: str = ""
    api: ForgeApi = field(init=False)
    recording: Recording = field(init=False)
    judge: Judge = field(init=False)
    _clones: dict[str, Checkout] = field(default_factory=dict)
    _opened: dict[int, str] = field(default_factory=dict)
    _pushed: dict[int, str] = field(default_factory=dict)

    @classmethod
    def build(cls, server: Forgejo, folder: Path) -> Stage:
        people = _cast(server)
        stage = cls(server=server, folder=folder, **people)
        wanted = {
            "name": f"ops{next(_numbers)}",
            "auto_init": True,
            "default_branch": "main",
            "private": True,
        }
        stage.repository = stage.owner.call("POST", "/user/repos", wanted)["full_name"]
        rights = {"boss": "admin", "alice": "write", "carol": "write", "passer_by": "read"}
        for name, permission in rights.items():
            stage.allow(people[name], permission)
        stage.recording = Recording()
        stage.api = ForgeApi(
            ForgeSettings(url=server.url, repository=stage.repository),
            token=stage.owner.token,
            transport=RecordingTransport(stage.recording.forge),
        )
        stage.set_gate()
        return stage

    # --- people's doings ------------------------------------------------------------------------

    def repo(
        self, account: Account, method: str, path: str, body: object = None, **q: object
    ) -> Any:
        """A call about the repository, as this account."""
        return account.call(method, f"/repos/{self.repository}{path}", body, **q)

    def allow(self, account: Account, permission: str) -> None:
        self.repo(self.owner, "PUT", f"/collaborators/{account.login}", {"permission": permission})

    def protect_main(self) -> None:
        """As the documentation advises: the owner alone pushes, everybody else by pull request."""
        wanted = {
            "rule_name": "main",
            "enable_push": True,
            "enable_push_whitelist": True,
            "push_whitelist_usernames": [self.owner.login],
        }
        self.repo(self.owner, "POST", "/branch_protections", wanted)

    def clone(self, account: Account) -> Checkout:
        """This account's clone, at the remote's main branch."""
        known = self._clones.get(account.login)
        if known is None:
            known = self._clones[account.login] = Checkout.clone(
                account.remote(self.repository),
                self.folder / account.login,
                author=account.login,
                email=account.email,
            )
            known.use_real_time()
        known.git("fetch", "-q", "origin")
        known.git("checkout", "-q", "-B", "main", "origin/main")
        return known

    def push_branch(self, account: Account, files: Mapping[str, str], *, branch: str) -> str:
        """One commit on a new branch off main; answers it."""
        clone = self.clone(account)
        clone.git("checkout", "-q", "-B", branch)
        commit = clone.commit(files)
        clone.git("push", "-q", "--force", "origin", branch)
        return commit

    def push_more(self, account: Account, files: Mapping[str, str], *, branch: str) -> str:
        """One more commit on a branch that is on the remote."""
        clone = self.clone(account)
        clone.git("checkout", "-q", "-B", branch, f"origin/{branch}")
        commit = clone.commit(files)
        clone.git("push", "-q", "origin", branch)
        self._pushed |= {n: commit for n, ref in self._opened.items() if ref == branch}
        return commit

    def open(self, account: Account, *, branch: str) -> int:
        wanted = {"head": branch, "base": "main", "title": branch}
        number = int(self.repo(account, "POST", "/pulls", wanted)["number"])
        self._opened[number] = branch
        return number

    def propose(self, account: Account, files: Mapping[str, str], *, branch: str = "topic") -> int:
        """A branch with one commit, and its pull request's number."""
        self.push_branch(account, files, branch=branch)
        return self.open(account, branch=branch)

    def expect_push(self, number: int, commit: str) -> None:
        """``settle`` waits for this push as well."""
        self._pushed[number] = commit

    def next_second(self) -> None:
        """The forge's records have seconds: wait for the next one, by the clock."""
        now = int(time.time())
        while int(time.time()) == now:
            time.sleep(0.02)

    def settle(self, number: int) -> None:
        """Wait until the forge has taken note of the last push; it does so in its own time."""
        head = self.repo(self.owner, "GET", f"/pulls/{number}")["head"]["sha"]
        pushed = self._pushed.get(number, "")
        for attempt in tenacity.Retrying(
            stop=tenacity.stop_after_delay(20), wait=tenacity.wait_fixed(0.05), reraise=True
        ):
            with attempt:
                assert self.api.merged_head(number) == head
                events = self.repo(self.owner, "GET", f"/issues/{number}/timeline", limit=50)
                assert any(pushed in event["body"] for event in events or [{"body": ""}])

    def review(
        self, account: Account, number: int, event: str = "APPROVED", *, commit: str = ""
    ) -> int:
        self.settle(number)
        body = {"event": event, "body": event.lower(), "commit_id": commit}
        return int(self.repo(account, "POST", f"/pulls/{number}/reviews", body)["id"])

    def merge(self, account: Account, number: int, style: str = "merge", **extra: str) -> str:
        """Merge, and answer the recorded merge commit."""
        self.request_merge(account, number, style, **extra)
        return str(self.repo(account, "GET", f"/pulls/{number}")["merge_commit_sha"])

    def request_merge(
        self, account: Account, number: int, style: str = "merge", **extra: str
    ) -> None:
        """Merge, as soon as the forge has made up its mind; returns when it has answered."""
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, Refused) and e.status == 405),
            stop=tenacity.stop_after_delay(20),
            wait=tenacity.wait_fixed(0.1),
            reraise=True,
        ):
            with attempt:
                self.repo(account, "POST", f"/pulls/{number}/merge", {"Do": style, **extra})

    def land(self, account: Account, number: int, style: str = "merge") -> str:
        """Approved by the boss, merged by its author."""
        self.review(self.boss, number)
        return self.merge(account, number, style)

    def push_main(self, account: Account, files: Mapping[str, str], *git: str) -> str:
        """A commit straight to the main branch."""
        clone = self.clone(account)
        commit = clone.commit(files, *git)
        clone.git("push", "-q", "origin", "main")
        return commit

    # --- the dispatcher's view -------------------------------------------------------------------

    def set_gate(self, approvers: Approvers | None = None) -> None:
        """A fresh dispatcher, which remembers nothing."""
        self.recording.approvers = asdict(approvers or Approvers())

        def gate(repo: OpsRepo) -> Gate:
            configured = ForgejoGate(
                forge=self.api,
                history=RecordingHistory(repo, self.recording.history),
                branch="main",
                approvers=approvers or Approvers(),
                pause_s=0.02,
            )
            return TieredGate(configured, history=repo)

        self.judge = Judge.of(
            remote=f"{self.server.url}/{self.repository}.git",
            folder=self.folder / f"dispatcher{next(_numbers)}",
            gate=gate,
            username=self.owner.login,
            token=self.owner.token,
        )

    def outcome(self, action_id: str = "x") -> Found:
        """What would become of an action at the main branch's head; kept in the recording."""
        self.recording.forge.clear()
        self.recording.history.clear()
        found = self.judge.outcome(action_id)
        if self.judge.last_question is not None and found.decision is not None:
            self.recording.note(self.judge.last_question, found.decision)
        return found

    def merged_head(self, number: int) -> str:
        """The commit under ``refs/pull/<number>/head``, asked of git."""
        clone = self.clone(self.owner)
        return clone.git("ls-remote", "origin", f"refs/pull/{number}/head").split()[0]
