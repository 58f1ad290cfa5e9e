"""Exactly once, as a property of every interleaving: the real ``reconcile``, ``Effects``, ``Heads``
and ``Arrivals`` over git, ledger, engine and vault in memory.

Each call of an adapter is one micro-step. Between any two of them the dispatcher may die, lose its
lead and go on later without knowing (a frozen process that thaws), get no answer, or an answer may
be lost after the thing was done. Runners unwrap and start by micro-steps of their own, and engine
and clock do what they like. The vault may forget everything.

Whoever may push is hostile: results are made up, edited, replayed, deleted and put in the place of
genuine ones; the history is rewound; the remote's memory points anywhere. The clone and its memory
get lost or damaged. Only the ledger is spared.

Three of the actions share a lock, and two of these supersede older ones; approvals come and go. The
fourth may start only for a while, and clocks are set forward and back. The fifth runs after one of
those, and two wait for each other. The remote takes the output of runs, or does not, and the files that
wait for the push get lost.

Whatever happens, no formula starts twice, no two of a lock run at a time, none runs after a newer one
that superseded it, nor before what it runs after has succeeded, nothing is signed that did not happen,
no result names output that is not on the remote, and no claim is let go before its result was in git.
When all is quiet again, each action has a result, and neither a grant is left nor a claim, but for the
tombstones of ids whose result vanished. (What runs after one with a result that is not ours waits on.)
"""

from __future__ import annotations

import json
import os
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dispatcher.decide.world import GateState, Requested
from dispatcher.model.run import Claim, Phase, RunKey
from tests.fakes.actions_with_rules import AFTER, EXPIRES_S, LOCKED, TIMED
from tests.fakes.actors import Fate
from tests.fakes.branch import MemoryClone, MemoryRemote, Snapshot
from tests.fakes.components_in_memory import Components, Key
from tests.fakes.one_dispatcher import Dispatcher
from tests.fakes.outputs import MemoryOutputs
from tests.fakes.outside import MemoryEngine, MemoryLedger, MemoryVault, Run
from tests.support.past import Past
from tests.support.thorough import tries

IDS = ("a", "b", "c", "d", *AFTER)
IN_TIME_S, CLOCKS_S = 150.0, (0.0, 99.9, 150.0, 200.0, 1e9)
"""When the action that has times may start, and what a clock may be set to."""

ROUNDS = 400
"""Rounds in which everything must have come to rest once nothing goes wrong any more."""

MADE_UP = b'{"id": "a", "verdict": "succeeded", "exit_code": 0, "timestamp": ""}'


# -- the model -------------------------------------------------------------------------------------

fates = st.sampled_from([Fate.DONE, Fate.DONE, Fate.DONE, Fate.NO_ANSWER, Fate.ANSWER_LOST])
picks = st.integers(0, 7)


class ExactlyOnce(RuleBasedStateMachine):
    """See the module."""

    @initialize()
    def begin(self) -> None:
        self.past = Past()
        self.remote = MemoryRemote()
        self.key = Key(self.past.signed)
        engine = MemoryEngine()
        self.outputs = MemoryOutputs(engine)
        self.components = Components(
            ledger=MemoryLedger(self._let_go),
            grants=MemoryVault(),
            scheduler=engine,
            outputs=self.outputs,
            repo=MemoryClone(self.remote),
            key=self.key,
            now=IN_TIME_S,
        )
        self.frozen: list[Dispatcher] = []
        self.leader = Dispatcher(self.components)

    def _let_go(self, claim: Claim) -> None:
        if claim.phase is not Phase.ENDED:
            return
        key, ever = claim.key, self.remote.commits.values()
        found = (s.results[key.action_id] for s in ever if key.action_id in s.results)
        ours = any(
            self.key.verifier.ours(data, action_id=key.action_id, blob=key.blob) for data in found
        )
        assert ours, "no claim is let go before its result was in git"
        notified = claim.stopped or key in self.components.notices.recorded
        assert notified, "no claim is let go before its end is written down for notification"

    # people

    @rule(action_ids=st.sets(st.sampled_from(IDS), min_size=1))
    def merge(self, action_ids: set[str]) -> None:
        now = self.remote.now
        fresh = dict.fromkeys(action_ids - now.results.keys() - now.actions.keys(), "1" * 40)
        self.remote.push(actions={**now.actions, **fresh})

    @precondition(lambda self: self.remote.now.actions)
    @rule(which=picks)
    def change(self, which: int) -> None:
        actions = self.remote.now.actions
        action_id = sorted(actions)[which % len(actions)]
        self.past.disturbed.add(action_id)
        self.remote.push(actions={**actions, action_id: "2" * 40})

    @precondition(lambda self: self.remote.now.actions)
    @rule(which=picks, gate_state=st.sampled_from([GateState.APPROVED, GateState.WAITING, None]))
    def ask_to_cancel(self, which: int, gate_state: GateState | None) -> None:
        """A request comes, is approved, or is taken back."""
        actions = self.remote.now.actions
        action_id = sorted(actions)[which % len(actions)]
        self.components.cancels.pop(action_id, None)
        if gate_state is not None:
            blob = actions[action_id]
            self.components.cancels[action_id] = Requested(
                blob=blob, gate_state=gate_state, by="Ada"
            )
        if gate_state is GateState.APPROVED:
            self.past.disturbed.add(action_id)
            self.past.cancelled.add(action_id)

    @rule(action_id=st.sampled_from(IDS))
    def approve_or_not(self, action_id: str) -> None:
        """An approval is given, or taken back."""
        self.components.unapproved ^= {action_id}

    @precondition(lambda self: not {"a", "b"} & self.remote.now.actions.keys())
    @rule(which=picks, steps=st.integers(0, 12), ran=st.integers(0, 3))
    def approve_an_older_one_late(self, which: int, steps: int, ran: int) -> None:
        """A newer one that supersedes it came in the meantime, and may run."""
        self.components.unapproved.add("a")
        self.components.unapproved.discard("b")
        for action_id in ("a", "b"):
            if action_id not in self.remote.now.results:
                self.remote.push(actions={**self.remote.now.actions, action_id: "1" * 40})
        self.leader.look()
        while polls := [name for name in self.leader.actors if name.startswith("~")]:
            self._go_on(self.leader, polls[0], 1, Fate.DONE)
        self.step(which=which, steps=steps, fate=Fate.DONE, fresh=False)
        for _ in range(ran):
            for key, run in self.components.scheduler.runs.items():
                self._runner(key, run)
        self.components.unapproved.discard("a")

    # whoever may push, and is hostile

    @precondition(lambda self: self.remote.now.actions)
    @rule(which=picks, kind=st.sampled_from(["made up", "garbage", "edited", "replayed", "other"]))
    def put_a_result(self, which: int, kind: str) -> None:
        actions, results = self.remote.now.actions, self.remote.now.results
        action_id = sorted(actions)[which % len(actions)]
        ever = [s.results for s in self.remote.commits.values()]
        old = [r[action_id] for r in ever if action_id in r]
        others = [data for r in ever for i, data in r.items() if i != action_id]
        data = {
            "made up": MADE_UP.replace(b'"a"', json.dumps(action_id).encode()),
            "garbage": b"",
            "edited": old[-1].replace(b"lost", b"fine") + b" " if old else b"{}",
            "replayed": old[which % len(old)] if old else b"{}",
            "other": others[-1] if others else b"{}",
        }[kind]
        self.past.attacked.add(action_id)
        self.remote.push(results={**results, action_id: data})

    @precondition(lambda self: self.remote.now.results)
    @rule(which=picks, action=st.booleans())
    def delete(self, which: int, *, action: bool) -> None:
        now = self.remote.now
        action_id = sorted(now.results)[which % len(now.results)]
        self.past.attacked.add(action_id)
        gone = {action_id} if action else set()
        self.remote.push(
            actions={i: b for i, b in now.actions.items() if i not in gone},
            results={i: d for i, d in now.results.items() if i != action_id},
        )

    @rule(back=st.integers(1, 4))
    def rewind(self, back: int) -> None:
        """A force-push of an older head."""
        self.past.attacked.update(IDS)
        self.remote.head = list(self.remote.history(self.remote.head))[:back][-1]

    @rule(which=picks, kind=st.sampled_from(["gone", "any", "made up"]))
    def point_the_remotes_memory(self, which: int, kind: str) -> None:
        commits = sorted(self.remote.commits)
        made_up = dict.fromkeys(self.remote.now.actions, MADE_UP)
        self.remote.seen = {
            "gone": lambda: "",
            "any": lambda: commits[which % len(commits)],
            "made up": lambda: self.remote.add(
                Snapshot(parent=self.remote.head, actions=self.remote.now.actions, results=made_up)
            ),
        }[kind]()

    # disks

    @rule(how=st.sampled_from(["", "garbage", "e" * 40, "absent", "clone"]))
    def lose_what_the_clone_remembers(self, how: str) -> None:
        """Noticed when the dispatcher starts anew. What it then finds open may end ``invalid``: nobody
        can tell whether it ran.
        """
        self.past.disturbed.update(IDS)
        if how == "clone":
            self.components.repo.lose()
        else:
            self.components.repo.seen_ref = None if how == "absent" else how
        self.crash()

    @rule()
    def output_is_refused_or_taken_again(self) -> None:
        """The dispatcher tries again after a pause."""
        self.remote.refuses = not self.remote.refuses
        self.past.refused_output, self.outputs.resting = True, False

    @rule()
    def lose_output(self) -> None:
        """It can be read again while the engine has the run."""
        self.outputs.waiting.clear()

    # the dispatcher

    @rule(fetch=st.booleans(), observe=st.booleans(), read=st.booleans())
    def look_around(self, *, fetch: bool, observe: bool, read: bool) -> None:
        if fetch:
            self.leader.look()
        if observe:
            self.leader.observe()
        if read:
            self.leader.read_claims()

    @rule(which=picks, steps=st.integers(0, 12), fate=fates, fresh=st.booleans())
    def step(self, which: int, steps: int, fate: Fate, *, fresh: bool) -> None:
        """Begin a step, and go on with it for some micro-steps; then one with another fate."""
        if fresh:
            self.leader.look()
            self.leader.observe()
        before = set(self.leader.actors)
        if self.leader.begin(which):
            for action_id in set(self.leader.actors) - before:
                self._go_on(self.leader, action_id, steps, fate)

    @rule(steps=st.integers(1, 8) | st.integers(1, 40), ends=st.booleans())
    def all_goes_well(self, steps: int, *, ends: bool) -> None:
        """So many micro-steps of an untroubled service; the last may be in the middle of a step."""
        for _ in range(steps):
            if not self.leader.actors:
                self.leader.look()
                self.leader.observe()
                for key, run in self.components.scheduler.runs.items():
                    if ends or not run.started:
                        self._runner(key, run)
                if not self.leader.begin(0) and not self.components.scheduler.runs:
                    return
            for action_id in sorted(self.leader.actors)[:1]:
                self.leader.go_on(action_id, Fate.DONE)

    @precondition(lambda self: self.leader.actors)
    @rule(which=picks, steps=st.integers(0, 12), fate=fates)
    def go_on(self, which: int, steps: int, fate: Fate) -> None:
        action_id = sorted(self.leader.actors)[which % len(self.leader.actors)]
        self._go_on(self.leader, action_id, steps, fate)

    def _go_on(self, one: Dispatcher, action_id: str, steps: int, fate: Fate) -> None:
        for left in range(steps, -1, -1):
            if action_id in one.actors:
                one.go_on(action_id, Fate.DONE if left else fate)
                if not left and fate is not Fate.DONE:
                    self.past.disturbed.add(action_id)

    @rule(which=picks, steps=st.integers(0, 9))
    def die_in_the_middle(self, which: int, steps: int) -> None:
        self.step(which=which, steps=steps, fate=Fate.DONE, fresh=True)
        self.crash()

    @rule()
    def crash(self) -> None:
        self.past.disturbed.update(self.leader.actors)
        self.leader.die()
        self.leader = Dispatcher(self.components)

    @precondition(lambda self: self.leader.actors and len(self.frozen) < 2)
    @rule()
    def freeze(self) -> None:
        """The lead goes to another; this one does not know, and is in the middle of something."""
        self.past.froze = True
        self.past.disturbed.update(IDS)
        self.leader.lead.is_held = False
        self.frozen.append(self.leader)
        self.outputs = MemoryOutputs(self.components.scheduler)
        self.components = replace(
            self.components, repo=MemoryClone(self.remote), outputs=self.outputs
        )  # it is another machine
        self.leader = Dispatcher(self.components)

    @precondition(lambda self: self.frozen)
    @rule(which=picks, steps=st.integers(0, 4), fate=fates)
    def thaw(self, which: int, steps: int, fate: Fate) -> None:
        one = self.frozen[which % len(self.frozen)]
        if one.actors:
            self._go_on(one, sorted(one.actors)[which % len(one.actors)], steps, fate)
        else:
            self.frozen.remove(one)

    # engine, runners, clock

    @precondition(lambda self: self.components.scheduler.runs)
    @rule(which=picks, steps=st.integers(1, 3))
    def runner(self, which: int, steps: int) -> None:
        """Micro-steps of one runner."""
        runs = self.components.scheduler.runs
        key = sorted(runs, key=lambda k: k.token)[which % len(runs)]
        for _ in range(steps):
            self._runner(key, runs[key])

    def _runner(self, key: RunKey, run: Run) -> None:
        if run.step(self.components.grants):
            self.past.began(key.action_id, self._order)

    def _order(self) -> dict[str, int]:
        """Positions of the actions on the branch."""
        return MemoryClone(self.remote).positions(self.remote.head)

    @precondition(lambda self: self.components.scheduler.runs)
    @rule(which=picks)
    def engine_loses(self, which: int) -> None:
        runs = self.components.scheduler.runs
        key = sorted(runs, key=lambda k: k.token)[which % len(runs)]
        self.past.lossy.add(key.action_id)
        del runs[key]

    @rule()
    def vault_comes_or_goes(self) -> None:
        self.past.disturbed.update(IDS)
        self.components.grants.away = not self.components.grants.away

    @rule()
    def vault_forgets(self) -> None:
        """It restarted empty."""
        self.past.lossy.update(IDS)
        self.past.disturbed.update(IDS)
        self.components.grants.forget()

    @rule()
    def provisional_time_passes(self) -> None:
        for accessor in sorted(self.components.grants.provisional):
            self.components.grants.kill(accessor)

    @precondition(lambda self: self.components.grants.wrapped)
    @rule()
    def wrappings_expire(self) -> None:
        self.past.lossy.update(self.components.ledger.claims)
        self.past.lossy.update(i for d in (self.leader, *self.frozen) for i in d.actors)
        for accessor in list(self.components.grants.wrapped):
            self.components.grants.unwrap(accessor)

    @rule(now=st.sampled_from(CLOCKS_S))
    def set_the_clock(self, now: float) -> None:
        """Forward or back."""
        self.components.now = now
        self.past.late = self.past.late or now >= EXPIRES_S
        self.past.disturbed.add(TIMED)

    # what must hold

    @invariant()
    def no_formula_starts_twice(self) -> None:
        assert not hasattr(self, "past") or all(n <= 1 for n in self.past.starts.values()), (
            self.past.starts
        )

    @invariant()
    def no_two_of_a_lock_run_at_a_time(self) -> None:
        if not hasattr(self, "components"):
            return
        runs = self.components.scheduler.runs.items()
        running = [k.action_id for k, r in runs if r.started and not r.outcome]
        assert sum(i in LOCKED for i in running) <= 1, running

    def teardown(self) -> None:
        if not hasattr(self, "leader"):
            return
        self.components.now = IN_TIME_S
        self.remote.refuses = self.outputs.resting = False
        self.components.grants.away = False
        self.components.unapproved.clear()
        for one in self.frozen:
            for action_id in list(one.actors):
                while action_id in one.actors:
                    one.go_on(action_id, Fate.DONE)
        self._come_to_rest()
        self.no_formula_starts_twice()
        now = self.remote.now
        waiting = {i for i, others in AFTER.items() if self.past.attacked & set(others)}
        assert set(now.actions) - waiting <= set(now.results), "each action has its result"
        left = {
            i for i, c in self.components.ledger.claims.items() if c.phase is not Phase.TOMBSTONE
        }
        assert not left, "no claim is left"
        assert not self.components.ledger.claims.keys() - self.past.attacked, (
            "no tombstone without a reason"
        )
        self.provisional_time_passes()
        assert not self.components.grants.alive, "no grant is left"
        for action_id, data in now.results.items():
            ours = self.key.verifier.ours(data, action_id=action_id, blob=None)
            self.past.fits(action_id, data if ours else None, results=now.results)
        assert self.past.froze or not self.components.scheduler.runs, "the engine forgot all"
        assert self.past.froze or not self.outputs.waiting, "no output waits"

    def _come_to_rest(self) -> None:
        """Nothing goes wrong any more."""
        for _ in range(ROUNDS):
            for key, run in list(self.components.scheduler.runs.items()):
                self._runner(key, run)
                self.no_two_of_a_lock_run_at_a_time()
            self.leader.look()
            self.leader.read_claims()
            self.leader.observe()
            began = self.leader.begin(0)
            for action_id in list(self.leader.actors):
                while action_id in self.leader.actors:
                    self.leader.go_on(action_id, Fate.DONE)
            if not began and all(r.outcome for r in self.components.scheduler.runs.values()):
                self.leader.look()
                self.leader.read_claims()
                self.leader.observe()
                if not self.leader.begin(0):
                    return
                for action_id in list(self.leader.actors):
                    while action_id in self.leader.actors:
                        self.leader.go_on(action_id, Fate.DONE)
        raise AssertionError("it does not come to rest")


TestExactlyOnce = ExactlyOnce.TestCase
TestExactlyOnce.settings = settings(
    max_examples=int(os.environ.get("DISINTO_MODEL_EXAMPLES") or tries(60, 300)),
    stateful_step_count=50,
    deadline=None,
)
