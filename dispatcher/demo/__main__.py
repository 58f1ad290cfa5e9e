"""``python -m dispatcher.demo``: the main task, live, and nothing left behind."""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.json import JSON
from rich.markup import escape
from rich.rule import Rule

from dispatcher.assembly import build_components, build_service
from dispatcher.demo import on_nomad
from dispatcher.demo.on_nomad import Looked
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
        "--stay", action="store_true", help="keep the servers up at the end, until Enter is pressed"
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
        scene = Scene.set(
            folder,
            server,
            nomad=nomad,
            values=VALUES,
            settings={
                "limits": {"max_run_s": LONGEST_RUN_S},
                "local": {"kill_grace_s": 1.0},
                **({"nomad": {"image": arguments.image}} if arguments.image else {}),
            },
            tiers={"deploy": "low", "check-disk": "low", "crawl": "low"},
            policy={"formulas": {"deploy": {"secrets": ["DEPLOY_*"]}}, "secrets": {}, "mounts": {}},
            formulas=_formulas(),
        )
        servers.callback(on_nomad.clear, console, scene)
        looked = Looked(scene) if nomad is not None else None
        _tell_of(console, scene)

        console.print(Rule("2. Ada merges seven action files"))
        for action_id, purpose in STORY.items():
            console.print(f"  vault/actions/[bold]{action_id}[/].toml  {purpose}")
        scene.merge(_actions(signed=False), "Add six actions")
        scene.merge(_actions(signed=True), "Rotate the keys", sign=True)

        console.print()
        console.print(Rule("3. The dispatcher runs them"))
        results = _serve(console, scene, looked)

        console.print()
        console.print(Rule("4. What a fresh clone of the remote holds"))
        code = _show(console, scene, results)
        if looked is not None:
            console.print()
            console.print(Rule(f"5. What Nomad showed of {LONGEST}, and what it keeps"))
            looked.show(console, LONGEST)
            looked.close()
        if arguments.stay and console.is_terminal:
            console.input("\nAll is still up; Enter ends it. ")
        return code


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


def _serve(console: Console, scene: Scene, looked: Looked | None) -> dict[str, dict[str, Any]]:
    """Run the service until every action but the waiting one has its result on the remote."""
    screen = Screen(console, STORY)
    parts = build_components(scene.open_settings(), environ=scene.environ)
    service = build_service(parts, screen)
    failed: list[DisintoError] = []
    results: dict[str, dict[str, Any]] = {}

    def run() -> None:
        try:
            service.run()
        except DisintoError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    with screen.shown():
        thread.start()
        try:
            while thread.is_alive() and len(results) < len(STORY) - 1:
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


def _show(console: Console, scene: Scene, results: dict[str, dict[str, Any]]) -> int:
    clone = scene.root / "clone"
    scene.git("clone", "--quiet", str(scene.remote), str(clone), cwd=scene.root)
    console.print(scene.git("log", "--oneline", "--decorate=no", cwd=clone))
    for action_id in STORY:
        path = clone / ACTIONS_PATH / result_name(action_id)
        console.print(f"\n[bold]{path.relative_to(clone)}[/]")
        if path.exists():
            console.print(JSON.from_data(_without_attestation(results[action_id])))
        else:
            console.print("  (none: it waits for its approval)")
    leaked = [value for value in VALUES.values() if _anywhere(clone, value)]
    console.print()
    if leaked or len(results) != len(STORY) - 1:
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
