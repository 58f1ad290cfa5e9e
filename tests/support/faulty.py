"""A dispatcher that fails at a boundary: ``python -m tests.support.faulty CONFIG BOUNDARY``.

Every step of a run is wrapped from outside; the first time the named boundary is reached the
process ends by SIGKILL, as a machine does that loses power. With ``freeze`` as a third argument it
is stopped there instead, as a machine that sleeps, and serves on when somebody continues it. With
``-`` for a boundary nothing happens. Each boundary that was passed is printed, so that the test
knows them all and counts them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dispatcher.assembly import build_components, build_service, open_settings
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.model.run import RunState
from dispatcher.ops_repo.branch_push import BranchPush
from dispatcher.ops_repo.committing import Committer
from dispatcher.ops_repo.output_refs import OutputRefs
from dispatcher.status.tracker import Silent


class Boundaries:
    """Sends this process a signal, once, at one boundary."""

    def __init__(self, fatal: str, fate: signal.Signals) -> None:
        self._fatal = fatal
        self._fate = fate

    def reach(self, boundary: str) -> None:
        print(boundary, flush=True)
        if boundary == self._fatal:
            self._fatal = ""
            os.kill(os.getpid(), self._fate)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            self.reach(f"before {name}")
            answer = call(*args, **kwargs)
            self.reach(f"after {name}")
            return answer

        return wrapped


class Wrapped:
    """Another object, with some methods between boundaries."""

    def __init__(self, inner: Any, methods: dict[str, Callable[..., Any]]) -> None:
        self._inner = inner
        self._methods = methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._inner, name)


class Told(Silent):
    """Prints the events, as the journal of ``serve`` does."""

    def event(self, what: str, /, **facts: object) -> None:
        print(json.dumps({"event": what, **facts}, default=str), flush=True)


def main(config: Path, fatal: str, *, freeze: bool) -> None:
    boundaries = Boundaries(fatal, signal.SIGSTOP if freeze else signal.SIGKILL)
    parts = build_components(open_settings(config))
    grants, ledger, scheduler = parts.grants, parts.ledger, parts.scheduler
    around = boundaries.around

    def update(claim: Any) -> Any:
        return boundaries.around(f"record {claim.phase}", ledger.update)(claim)

    def write_note(name: str, text: str, *, version: int) -> Any:
        write = ledger.write_note
        call = around("mark", write) if name.startswith("source-") else write
        return call(name, text, version=version)

    def observe(claims: Any) -> Any:
        seen = scheduler.observe(claims)
        if any(o.state is RunState.ENDED for o in seen.values()):
            boundaries.reach("after exit")
        return seen

    parts = replace(
        parts,
        grants=Wrapped(
            grants,
            {
                "mint": around("mint", grants.mint),
                "extend": around("extend", grants.extend),
                "revoke": around("revoke", grants.revoke),
            },
        ),
        ledger=Wrapped(
            ledger,
            {
                "claim": around("claim", ledger.claim),
                "update": update,
                "release": around("release", ledger.release),
                "write_note": write_note,
            },
        ),
        scheduler=Wrapped(
            scheduler,
            {
                "submit": around("submit", scheduler.submit),
                "observe": observe,
                "forget": around("forget", scheduler.forget),
            },
        ),
    )
    # What no seam shows: the two halves of a publish, and of a dispatch on Nomad.
    Committer.of_batch = around("commit", Committer.of_batch)
    BranchPush.push = around("push", BranchPush.push)
    BranchPush.push_with = around("push", BranchPush.push_with)
    OutputRefs.push_alone = around("push of output", OutputRefs.push_alone)
    NomadApi.dispatch = around("dispatch", NomadApi.dispatch)
    service = build_service(parts, Told() if freeze else Silent())
    signal.signal(signal.SIGTERM, lambda *_: service.stop())
    service.run(once=not freeze)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], freeze="freeze" in sys.argv[3:])
