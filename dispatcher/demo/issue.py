"""The demo's issue: a bug is reported on a small forge, a label starts a run, and the issue shows its end.

The agent is ``actions/agent/scripted-agent.sh``, which answers without looking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markdown import Markdown
from rich.markup import escape

from dispatcher.devservers.issue_forge import IssueForge
from dispatcher.devservers.issue_forge_server import serving
from dispatcher.host import resources

REPOSITORY = "acme/shop"
PROJECT, RULE, ISSUE = "shop", "reproduce", 1
ACTION = f"{RULE}-{PROJECT}-{ISSUE}-1"
TITLE = "The cart forgets its last item"
BODY = "Put two things into the cart and press back: one is gone."
LABEL = "bug-report"
BOT, REPORTER = "shop-reader", "disinto"
TEMPLATE = "actions/sidecars"

PROJECTS = f"""
[projects.{PROJECT}]
repository = "{REPOSITORY}"
bot = "{BOT}"
rules = ["{RULE}"]
"""


@dataclass(frozen=True, kw_only=True)
class DemoIssue:
    """A repository on a small forge, and what a scene needs to watch it.

    Attributes:
        url: of the forge.
        tokens: of its accounts, by login.
    """

    forge: IssueForge
    url: str
    tokens: Mapping[str, str]

    def settings(self, folder: Path) -> dict[str, Any]:
        """Tables of ``disinto.toml``; writes ``sidecars.toml`` into a directory."""
        rules = folder / "sidecars.toml"
        rules.write_text(resources.text(f"{TEMPLATE}/sidecars.toml") + PROJECTS)
        agent = resources.path("actions/agent")
        return {
            "forge": {"url": self.url},
            "sidecars": {"file": str(rules), "poll_interval_s": 0.5},
            "agent": {
                "command": [
                    str(agent / "issue-agent"),
                    "--forge",
                    self.url,
                    "--",
                    str(agent / "scripted-agent.sh"),
                ]
            },
            "formulas": {"classes": {RULE: "sidecar"}},
            "jobs": {"sidecar": {"mounts": []}},
        }

    @property
    def environ(self) -> dict[str, str]:
        """The dispatcher's tokens for the forge: one that reads, one that reports."""
        return {
            "DISINTO_SIDECAR_TOKEN": self.tokens["acme"],
            "DISINTO_SIDECAR_REPORT_TOKEN": self.tokens[REPORTER],
        }

    @property
    def bots(self) -> dict[str, str]:
        """The token with which runs read the issue."""
        return {BOT: self.tokens[BOT]}

    @property
    def formulas(self) -> dict[str, str]:
        """The rule's formula and its schema, by file name."""
        names = (f"{RULE}.toml", f"{RULE}.schema.json")
        return {name: resources.text(f"{TEMPLATE}/formulas/{name}") for name in names}

    @property
    def story(self) -> dict[str, str]:
        """The action that it starts, and what that demonstrates."""
        return {ACTION: f"rule {RULE} on issue {ISSUE} of {REPOSITORY}, on a small forge"}

    def report(self, console: Console) -> None:
        """Ben, who has no rights, opens the issue; Ada labels it."""
        console.print(f"  issue [bold]{ISSUE}[/] of {REPOSITORY}, reported by Ben  {LABEL}")
        self._call("ben", "POST", "/issues", {"title": TITLE, "body": BODY})
        labels = {label["name"]: label["id"] for label in self._call("ada", "GET", "/labels")}
        self._call("ada", "POST", f"/issues/{ISSUE}/labels", {"labels": [labels[LABEL]]})

    @property
    def comments(self) -> list[dict[str, Any]]:
        """Those on the issue."""
        shown: list[dict[str, Any]] = self._call("ben", "GET", f"/issues/{ISSUE}/comments")
        return shown

    @property
    def labels(self) -> list[str]:
        """Names of those that the issue has now."""
        return [label["name"] for label in self._call("ben", "GET", f"/issues/{ISSUE}/labels")]

    def show(self, console: Console) -> None:
        """What people see on the forge in the end."""
        console.print(
            "The forge is a small one of this demo, with issues, labels and comments only;\n"
            "the agent is a script that answers without looking. Both stand in for real ones."
        )
        console.print(f"\n[bold]{REPOSITORY} #{ISSUE}[/] {escape(TITLE)}")
        console.print(f"  its label {LABEL} started vault/actions/{ACTION}.toml")
        console.print(f"  labels: {', '.join(self.labels)}")
        for comment in self.comments:
            console.print(f"  comment by {comment['user']['login']}:")
            console.print(Markdown(comment["body"]))

    def _call(self, login: str, method: str, path: str, body: object = None) -> Any:
        target = f"/repos/{REPOSITORY}{path}"
        status, answer, _ = self.forge.answer(method, target, body, token=self.tokens[login])
        if status >= 400:
            raise RuntimeError(f"{method} {target}: {answer}")
        return answer


@contextmanager
def demo_issue() -> Iterator[DemoIssue]:
    """Serve the forge, with a repository and its labels, until the block ends."""
    forge = IssueForge()
    forge.repository(REPOSITORY, ada="write")
    forge.grant(REPOSITORY, REPORTER, "write")
    accounts = ("acme", "ada", "ben", REPORTER, BOT)
    with serving(forge) as url:
        issue = DemoIssue(
            forge=forge, url=url, tokens={login: forge.account(login) for login in accounts}
        )
        for name in (LABEL, "in-triage", "rejected", "blocked"):
            issue._call("ada", "POST", "/labels", {"name": name})
        yield issue
