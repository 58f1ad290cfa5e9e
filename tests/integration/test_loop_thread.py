"""The loop's thread never waits: not on the network, and on no lock that a network call may hold.

Nothing here measures time. Every adapter notes which thread calls it; and while something hangs for
as long as the test wants, the loop must still carry other events through.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from dispatcher.loop.components import Components
from dispatcher.model.run import Phase
from tests.fakes.source import Wishes, wish
from tests.support.stage import Stage, action, eventually, path

AT_THE_START = {("ledger", "open_runs"), ("ledger", "leader"), ("leadership", "check_ledger")}
"""Asked before the first round."""

NEVER_ASK = {
    ("repo", "stop"),  # ends git processes at the very end
    ("gate", "invalidate"),  # forgets answers
    ("leadership", "strayed"),
    ("leadership", "due"),
    ("leadership", "warnings"),
}
"""Calls that ask nobody and take no lock that is held while somebody is asked."""

ADAPTERS = {
    "repo",
    "formula_store",
    "gate",
    "grants",
    "ledger",
    "scheduler",
    "sign_action",
    "sign_result",
    "verifier",
    "written",
    "leadership",
    "audit",
    "obstacle",
    "notices",
    "outputs",
    "inventory",
}


class Noted:
    """An adapter that notes the thread of each call."""

    def __init__(self, name: str, inner: Any, calls: list[tuple[str, str, str]]) -> None:
        self._name, self._inner, self._calls = name, inner, calls

    def __getattr__(self, method: str) -> Any:
        found = getattr(self._inner, method)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.append((threading.current_thread().name, self._name, method))
            return found(*args, **kwargs)

        return call

    def __call__(self, *args: Any) -> Any:
        self._calls.append((threading.current_thread().name, self._name, "()"))
        return self._inner(*args)


def noted(calls: list[tuple[str, str, str]]) -> Callable[[Components], Components]:
    def change(components: Components) -> Components:
        known = {f.name for f in fields(Components)} & ADAPTERS
        return replace(components, **{n: Noted(n, getattr(components, n), calls) for n in known})

    return change


def test_every_adapter_of_the_parts_is_watched() -> None:
    plain = {
        "settings",
        "policy",
        "rules",
        "wake",
        "sources_changed",
        "reporter",
        "issue_reporter",
        "forge_calls",
        "warnings",
        "sources",
        "ask_ahead",  # hands its calls to threads of its own
        "steady_clock",  # a file of the state directory, looked at once before the first round
    }
    others = {f.name for f in fields(Components)} - plain
    assert others == ADAPTERS, "a new adapter: watch it here"


@eventually
def is_there(stage: Stage, action_id: str) -> None:
    stage.scene.git("cat-file", "-e", f"main:{path(action_id)}", cwd=stage.scene.remote)


def test_no_adapter_is_called_by_the_loop(stage: Stage) -> None:
    """Through a whole life: actions run, wait, change, are refused, finish, vanish and come back."""
    calls: list[tuple[str, str, str]] = []
    wishes, watched = Wishes(wishes=[wish("wished", formula="danger")]), noted(calls)
    stage.change = lambda components: watched(replace(components, sources=(wishes,)))
    stage.scene.merge(
        {
            path("first"): action("first", secrets='"TOKEN_A"'),
            path("waits"): action("waits", formula="danger"),
            path("wrong"): "id = 1\n",
            "formulas/theirs.sh": "true\n",
            path("theirs"): action("theirs", formula="theirs"),
        },
        "Add some",
    )
    service = stage.start()
    assert stage._thread is not None
    loop = stage._thread.name
    stage.runs(1)
    stage.scheduler.end(stage.scheduler.running()[0])
    stage.result("first")
    stage.result("wrong")
    stage.at_rest()
    is_there(stage, "wished")
    stage.scene.merge(
        {path("waits"): action("waits", formula="danger", more="priority = 5")}, "Edit"
    )
    stage.scene.remove("vault/actions/first.result.json")
    service.look_now()
    stage.result("first")
    stage.at_rest()
    stage.scene.remove("vault/actions/first.result.json", path("first"), path("wished"))
    service.look_now()

    @eventually
    def tombstone() -> None:
        claims = stage.components.ledger.open_runs()
        assert {c.key.action_id for c in claims} == {"first", "wished"}
        assert {c.phase for c in claims} == {Phase.TOMBSTONE}

    tombstone()
    stage.stop()
    by_loop = [(part, method) for thread, part, method in calls if thread == loop]
    bad = set(by_loop) - NEVER_ASK - AT_THE_START
    assert not bad
    assert by_loop.count(("ledger", "open_runs")) == 1, "once, before the first round"
    assert {part for _, part, _ in calls} >= ADAPTERS - {"sign_result", "obstacle"}


class Gate:
    """A call that hangs until the test lets it go."""

    def __init__(
        self, call: Callable[..., Any], *, when: Callable[[], bool] = lambda: True
    ) -> None:
        self._call, self._when = call, when
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._when():
            self.reached.set()
            assert self.go.wait(60)
        return self._call(*args, **kwargs)


class Laid:
    """An adapter with some of its methods replaced."""

    def __init__(self, inner: Any, **methods: Callable[..., Any]) -> None:
        self._inner, self._methods = inner, methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._inner, name)


def goes_on(stage: Stage) -> None:
    """The loop hears that a run has ended, and concludes it: it is not stuck."""
    key = stage.scheduler.running()[0]
    stage.scheduler.end(key)

    @eventually
    def concluded() -> None:
        last = stage.watch.last
        assert last is not None
        claim = last.claims.get(key.action_id)
        assert claim is not None
        assert claim.phase is Phase.ENDED

    concluded()


def test_a_fetch_that_holds_the_clone_does_not_stop_the_loop(stage: Stage) -> None:
    """The head is to be marked as seen while somebody else holds the clone's lock."""
    release, held = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def change(components: Components) -> Components:
        def fetch() -> Any:
            head = components.repo.fetch()
            if armed.is_set() and not held.is_set():

                def hold() -> None:
                    with components.repo._clone.lock.held():
                        held.set()
                        release.wait(60)

                threads.append(threading.Thread(target=hold))
                threads[-1].start()
                held.wait(60)
            return head

        return replace(components, repo=Laid(components.repo, fetch=fetch))

    armed = threading.Event()
    stage.change = change
    stage.scene.merge({path("runs"): action("runs")}, "Add one")
    service = stage.start()
    stage.runs(1)
    try:
        stage.scene.merge({path("late"): action("late", formula="danger")}, "Add another")
        armed.set()
        service.look_now()
        assert held.wait(20)
        goes_on(stage)
    finally:
        release.set()
        for thread in threads:
            thread.join()
    stage.result("runs")


@pytest.mark.parametrize(
    ("part", "method"), [("ledger", "claim"), ("audit", "append"), ("repo", "mark_seen")]
)
def test_a_tombstone_that_hangs_does_not_stop_the_loop(
    stage: Stage, part: str, method: str
) -> None:
    armed = threading.Event()
    gates: list[Gate] = []

    def change(components: Components) -> Components:
        inner = getattr(components, part)
        gates.append(Gate(getattr(inner, method), when=armed.is_set))
        return replace(components, **{part: Laid(inner, **{method: gates[-1]})})

    stage.scene.merge({path("gone"): action("gone")}, "Add one")
    stage.once()
    stage.scheduler.ends_at_once = False
    stage.change = change
    stage.scene.merge({path("runs"): action("runs")}, "Add another")
    service = stage.start()
    stage.runs(1)

    @eventually
    def at_rest() -> None:
        last = stage.watch.last
        assert last is not None
        assert last.claims["runs"].phase is Phase.SUBMITTED
        assert not last.plan.steps

    at_rest()
    armed.set()
    stage.scene.remove("vault/actions/gone.result.json", path("gone"))
    service.look_now()
    try:
        assert gates[-1].reached.wait(20)
        if (part, method) == ("audit", "append"):
            # The end of a run goes on record as well, on another thread: only rounds are watched.
            rounds_go_on(stage)
        else:
            goes_on(stage)
    finally:
        gates[-1].go.set()
    for key in stage.scheduler.running():
        stage.scheduler.end(key)
    stage.result("runs")

    @eventually
    def kept() -> None:
        phases = {c.key.action_id: c.phase for c in stage.components.ledger.open_runs()}
        assert phases == {"gone": Phase.TOMBSTONE}

    kept()


def rounds_go_on(stage: Stage) -> None:
    """A round that began after this call ends."""
    before = stage.watch.last
    assert stage._service is not None
    stage._service.look_now()

    @eventually
    def another() -> None:
        assert stage.watch.last is not before

    another()


def test_files_that_cannot_be_read_yet_do_not_stop_the_loop(stage: Stage) -> None:
    """New actions wait for their contents; what runs goes on."""
    gates: list[Gate] = []
    armed = threading.Event()

    def change(components: Components) -> Components:
        gates.append(Gate(components.repo.read, when=armed.is_set))
        return replace(components, repo=Laid(components.repo, read=gates[-1]))

    stage.change = change
    stage.scene.merge({path("runs"): action("runs")}, "Add one")
    service = stage.start()
    stage.runs(1)
    armed.set()
    stage.scene.merge({path("late"): action("late")}, "Add another")
    service.look_now()
    try:
        assert gates[-1].reached.wait(20)
        goes_on(stage)
        last = stage.watch.last
        assert last is not None
        assert "late" in {wait.action_id for wait in last.plan.waits}
    finally:
        gates[-1].go.set()
    stage.runs(1)


def test_a_claim_is_not_released_before_its_result_is_remembered(stage: Stage) -> None:
    """Else a death now, and a push that takes the result away, would let the id run again."""
    marks: list[Gate] = []
    armed = threading.Event()

    def change(components: Components) -> Components:
        marks.append(Gate(components.repo.mark_seen, when=armed.is_set))
        return replace(components, repo=Laid(components.repo, mark_seen=marks[-1]))

    stage.change = change
    stage.scene.merge({path("runs"): action("runs")}, "Add one")
    stage.start()
    stage.runs(1)
    armed.set()
    try:
        stage.scheduler.end(stage.scheduler.running()[0])
        stage.result("runs")
        assert marks[-1].reached.wait(20)

        # Another action goes all its way meanwhile.
        stage.scene.merge({path("other"): action("other")}, "Add another")
        stage.runs(1)
        stage.scheduler.end(stage.scheduler.running()[0])
        stage.result("other")
        rounds_go_on(stage)
        assert {c.key.action_id for c in stage.components.ledger.open_runs()} == {"runs", "other"}
    finally:
        marks[-1].go.set()
    stage.at_rest()
