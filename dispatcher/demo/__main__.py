"""``python -m dispatcher.demo``: the main task, live, and nothing left behind."""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.json import JSON
from rich.markup import escape
from rich.rule import Rule

from dispatcher.assembly import build_components, build_service, open_sidecars
from dispatcher.cli.serve import with_sidecars
from dispatcher.demo import on_nomad
from dispatcher.demo.issue import RULE, DemoIssue, demo_issue
from dispatcher.demo.on_nomad import Looked
from dispatcher.demo.page import demo_page, serving
from dispatcher.demo.screen import Screen
from dispatcher.devservers import openbao
from dispatcher.devservers.scene import Scene
from dispatcher.engines.nomad.settings import NomadSettings
from dispatcher.errors import DisintoError, Exit
from dispatcher.host import resources
from dispatcher.model.paths import ACTIONS_PATH, result_name

LONGEST_RUN_S = 4
LONGEST = "crawl-links"
STORY = {
    "deploy-website": "succeeds, with two secrets",
    "check-disks": "fails, with exit code 3",
    LONGEST: f"is ended after {LONGEST_RUN_S} s, the longest time this operator allows",
    "rotate-keys": "is of tier high, and waits for an approval",
    "rotate-keys-signed": "the same, approved: its commit is signed, and names it",
    "send-report": "names a secret that does not exist",
    "broken": "has a key that does not exist",
}
SIGNED = "rotate-keys-signed"
VALUES = {"DEPLOY_TOKEN": "tok-4f1d-not-for-your-eyes", "DEPLOY_HOST": "www.example.org"}


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(prog="disinto demo", description=__doc__)
    parser.add_argument("--scheduler", choices=["local", "nomad"], default="local")
    parser.add_argument(
        "--image", default="", help="with nomad: run in containers of this image of the runner"
    )
    parser.add_argument(
        "--stay", action="store_true", help="keep all of it up at the end, until Ctrl-C"
    )
    arguments = parser.parse_args()
    console = Console(highlight=False)
    try:
        with tempfile.TemporaryDirectory(prefix="disinto-demo-") as folder:
            return _play(console, Path(folder), arguments)
    except DisintoError as error:
        console.print(f"[red]disinto: {escape(str(error))}[/]")
        return error.exit_code
    except KeyboardInterrupt:
        console.print("\nStopped; nothing was left behind.")
        return 130


def _play(console: Console, folder: Path, arguments: argparse.Namespace) -> int:
    console.print(Rule("1. A vault, an ops repository, and a dispatcher with least rights"))
    with ExitStack() as servers:
        server = servers.enter_context(openbao.serve())
        console.print(f"OpenBao (in memory) listens on {server.addr}")
        nomad = None
        if arguments.scheduler == "nomad":
            nomad = servers.enter_context(on_nomad.agent(console, image=arguments.image))
        # Containers reach neither the forge on the loopback nor the agent's program.
        issue = None if arguments.image else servers.enter_context(demo_issue())
        scene = Scene.set(
            folder,
            server,
            nomad=nomad,
            values=VALUES,
            settings=_settings(folder, issue, image=arguments.image),
            tiers={"deploy": "low", "check-disk": "low", "crawl": "low", RULE: "low"},
            policy={"formulas": {"deploy": {"secrets": ["DEPLOY_*"]}}, "secrets": {}, "mounts": {}},
            formulas=_formulas() | (issue.formulas if issue else {}),
            bots=issue.bots if issue else {},
        )
        servers.callback(on_nomad.clear, console, scene)
        looked = Looked(scene) if nomad is not None else None
        _tell_of(console, scene)

        console.print(
            Rule("2. Ada merges seven action files" + (", and labels an issue" * bool(issue)))
        )
        for action_id, purpose in STORY.items():
            console.print(f"  vault/actions/[bold]{action_id}[/].toml  {purpose}")
        scene.merge(_actions(signed=False), "Add six actions")
        scene.merge(_actions(signed=True), "Rotate the keys", sign=True)
        if issue is not None:
            issue.report(console)

        console.print()
        console.print(Rule("3. The dispatcher runs them"))
        results = _serve(console, scene, issue, looked)

        console.print()
        console.print(Rule("4. What a fresh clone of the remote holds"))
        code = _show(console, scene, issue, results)
        if issue is not None:
            console.print()
            console.print(Rule("5. What the issue shows"))
            issue.show(console)
        if looked is not None:
            console.print()
            console.print(Rule(f"6. What Nomad showed of {LONGEST}, and what it keeps"))
            looked.show(console, LONGEST)
            looked.close()
        with demo_page(scene) as page:
            console.print(f"\nThe web page of all this: [bold]{page.link}[/]", soft_wrap=True)
            if arguments.stay:
                console.print("The link works once. A dispatcher runs again; Ctrl-C ends it all.")
                with serving(scene, issue.environ if issue else {}):
                    page.stay(console)
            else:
                console.print("It ends now; [bold]make demo STAY=1[/] keeps it up.")
        return code


def _settings(folder: Path, issue: DemoIssue | None, *, image: str) -> dict[str, Any]:
    return {
        "limits": {"max_run_s": LONGEST_RUN_S},
        "local": {"kill_grace_s": 1.0},
        **({"nomad": {"image": image}} if image else {}),
        **(issue.settings(folder) if issue else {}),
    }


def _story(issue: DemoIssue | None) -> dict[str, str]:
    """All actions, and what each demonstrates."""
    return STORY | (issue.story if issue else {})


def _tell_of(console: Console, scene: Scene) -> None:
    console.print("`disinto apply` wrote policies and token role; two secrets are stored")
    if scene.nomad is not None:
        prefix = scene.open_settings().section(NomadSettings).ledger_prefix
        console.print(
            f"`disinto apply` registered the job {prefix}-runner and ACL policies in Nomad"
        )
    console.print(f"ops repository with a bare remote: {scene.remote}\n")


def _formulas() -> dict[str, str]:
    names = resources.names("actions/demo/formulas")
    return {Path(name).name: resources.text(name) for name in names}


def _actions(*, signed: bool) -> dict[str, str]:
    names = [f"{action_id}.toml" for action_id in STORY if (action_id == SIGNED) == signed]
    return {
        f"vault/actions/{name}": resources.text(f"actions/demo/actions/{name}") for name in names
    }


def _serve(
    console: Console, scene: Scene, issue: DemoIssue | None, looked: Looked | None
) -> dict[str, dict[str, Any]]:
    """Run the service until every action but the waiting one has its result on the remote, and the
    issue its comment.
    """
    story = _story(issue)
    screen = Screen(console, story)
    environ = scene.environ | (issue.environ if issue else {})
    parts = build_components(scene.open_settings(), environ=environ)
    parts, sidecars = with_sidecars(parts, open_sidecars(parts, environ))
    service = build_service(parts, screen)
    failed: list[DisintoError] = []
    results: dict[str, dict[str, Any]] = {}

    def run() -> None:
        try:
            service.run()
        except DisintoError as error:
            failed.append(error)

    def done() -> bool:
        return len(results) == len(story) - 1 and (issue is None or bool(issue.comments))

    thread = threading.Thread(target=run)
    with screen.shown(), sidecars or nullcontext():
        thread.start()
        try:
            while thread.is_alive() and not done():
                thread.join(0.2)
                if looked is not None:
                    looked.look()
                results = scene.results()
                for action_id, result in results.items():
                    screen.ended(action_id, result["verdict"], _detail(result))
        finally:
            service.stop()
            thread.join()
    if failed:
        raise failed[0]
    return results


def _detail(result: dict[str, Any]) -> str:
    if result["error"]:
        return str(result["error"]).splitlines()[0]
    approved = f", approved by {', '.join(result['approved_by'])}" if result["approved_by"] else ""
    return f"exit code {result['exit_code']}{approved}"


def _show(
    console: Console, scene: Scene, issue: DemoIssue | None, results: dict[str, dict[str, Any]]
) -> int:
    story = _story(issue)
    clone = scene.root / "clone"
    scene.git("clone", "--quiet", str(scene.remote), str(clone), cwd=scene.root)
    console.print(scene.git("log", "--oneline", "--decorate=no", cwd=clone))
    for action_id in story:
        path = clone / ACTIONS_PATH / result_name(action_id)
        console.print(f"\n[bold]{path.relative_to(clone)}[/]")
        if path.exists():
            console.print(JSON.from_data(_without_attestation(results[action_id])))
        else:
            console.print("  (none: it waits for its approval)")
    values = [*VALUES.values(), *(issue.tokens.values() if issue else ())]
    leaked = [value for value in values if _anywhere(clone, value)]
    console.print()
    if leaked or len(results) != len(story) - 1:
        console.print("[red]This is not how it should have ended.[/]")
        return Exit.SOFTWARE
    console.print("No secret is in the repository. Everything that was started has ended.")
    return Exit.OK


def _without_attestation(result: dict[str, Any]) -> dict[str, Any]:
    return {k: ("…" if k == "attestation" and v else v) for k, v in result.items()}


def _anywhere(clone: Path, value: str) -> bool:
    return any(value.encode() in p.read_bytes() for p in clone.rglob("*") if p.is_file())


if __name__ == "__main__":
    sys.exit(main())
