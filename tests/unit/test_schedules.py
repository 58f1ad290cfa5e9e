"""Schedules: which slots become actions, over simulated years, with crashes and two dispatchers."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.attestation import git_blob
from dispatcher.decide.policy import Policy, parse_policy
from dispatcher.decide.tiers import effective_tier
from dispatcher.decide.world import Ended
from dispatcher.errors import Conflict, Dependency, Problem, Unavailable
from dispatcher.gate.base import Answer, Decision, Question
from dispatcher.ledger.base import Note
from dispatcher.loop.sources import Answer as SourceAnswer
from dispatcher.loop.sources import ask, store
from dispatcher.model.action import Action
from dispatcher.model.paths import SCHEDULES_PATH
from dispatcher.model.schedule import InvalidSchedule, Schedule, parse_schedule
from dispatcher.model.slots import Slots
from dispatcher.model.sure_time import SureTime
from dispatcher.ops_repo import Entry, Formulas
from dispatcher.settings import Settings
from dispatcher.sources import Look, SourceState, Wants, WrittenRun, action_text
from dispatcher.sources.id_code import id_code
from dispatcher.sources.schedules import MOST, ON_TIME_S, OPEN_LIMIT, Schedules
from dispatcher.sources.slot_ids import stem_of
from tests.contract.source import Case, SourceContract
from tests.support.thorough import tries

APPROVED = Decision(answer=Answer.APPROVED, reason="signed", gate="signed", approved_by=("boss",))
WAITING = Decision(answer=Answer.WAITING, reason="is not signed", gate="signed")
NOON = datetime.fromisoformat("2026-03-01T12:00:00+00:00").timestamp()
DAY = 86_400.0
POLICY = Policy()
SECRET = b"k" * 32
ANY: Any = object()
"""An action or result of which only its being there counts."""


def toml(
    cron: str = "30 2 * * *", *, zone: str = "Europe/Berlin", more: str = "", action: str = ""
) -> str:
    return (
        f'cron = "{cron}"\ntimezone = "{zone}"\n{more}\n[action]\nformula = "backup"\n'
        f'context = "at {{slot}} {{date}} {{time}} {{schedule}} {{other}}"\nsecrets = []\n{action}\n'
    )


class Repo:
    """The directory of schedules at the only head there is."""

    def __init__(self, **files: str) -> None:
        self.files = {
            name.replace("_", "-") + ".toml": text.encode() for name, text in files.items()
        }
        self.modes: dict[str, int] = {}

    def directory(self, commit: str, path: str) -> dict[str, Entry]:
        assert path == SCHEDULES_PATH
        return {
            name: Entry(mode=self.modes.get(name, 0o100644), oid=git_blob(data))
            for name, data in self.files.items()
        }

    def read(self, blobs: Iterable[str], *, limit: int) -> dict[str, bytes | int]:
        known = {git_blob(data): data for data in self.files.values()}
        return {b: known[b] if len(known[b]) <= limit else len(known[b]) for b in blobs}


def source(repo: Repo) -> Schedules:
    loose: Any = repo
    return Schedules(loose, limit=65_536, secret=lambda: SECRET)


def look(
    now: float,
    marks: Mapping[str, str] | None = None,
    *,
    is_open: Callable[[str], bool] = lambda _i: False,
    theirs: Container[str] = (),
    named: Collection[str] = (),
    problems: Callable[..., Sequence[Problem]] = lambda *_: (),
    check: Callable[[Question], Decision] = lambda _q: APPROVED,
    policy: Policy = POLICY,
) -> Look:
    def ended(_action_id: str) -> Ended | None:
        return None

    def written(action_id: str) -> WrittenRun | None:
        ours = is_open(action_id) and action_id not in theirs
        return WrittenRun(action=ANY, result=None) if ours else None

    return Look(
        now=now,
        commit="c" * 40,
        tier_of=lambda action: effective_tier(policy, action),
        formulas=Formulas(commit="c" * 40, formulas={}),
        marks=marks or {},
        down=frozenset(),
        is_open=is_open,
        is_used=is_open,
        ended=ended,
        check=check,
        ids=lambda: named,
        written=written,
        problems=problems,
        sure=lambda: SureTime(now=0.0),
        result_file=lambda _id: None,
        kept_results=dict,
    )


def ids(wants: Wants) -> list[str]:
    """With what the ids of the wanted actions begin."""
    return [stem_of(wanted.action_id) for wanted in wants.actions]


def own(stem: str) -> str:
    """The id of the action of a slot."""
    return f"{stem}-{id_code(SECRET, f'schedule/{stem}')}"


def test_what_would_make_its_actions_invalid_is_named_before_a_slot() -> None:
    def problems(action: Action, data: bytes, file: str) -> Sequence[Problem]:
        assert tomllib.loads(data.decode())["formula"] == action.formula == "backup"
        assert file == "vault/schedules/nightly.toml"
        return [Problem(message="there is no formula backup", path=file, field="formula")]

    (note,) = source(Repo(nightly=toml())).look(look(NOON, problems=problems)).notes
    assert (note.state, note.next_at) == (SourceState.LIMITED, NOON + 13.5 * 3600)
    line = "vault/schedules/nightly.toml:5:11: there is no formula backup"
    assert note.reason == f"its actions would be invalid: {line}"
    waits = look(NOON, problems=problems, check=lambda _q: WAITING)
    (note,) = source(Repo(nightly=toml())).look(waits).notes
    assert (note.state, note.reason) == (
        SourceState.WAITING,
        f"is not signed; its actions would be invalid: {line}",
    )

    def gone(*_args: object) -> Sequence[Problem]:
        raise Unavailable(Dependency.REMOTE, "gone")

    (note,) = source(Repo(nightly=toml())).look(look(NOON, problems=gone)).notes
    assert note.state is SourceState.ACTIVE


def test_it_needs_as_many_approvals_as_what_it_starts() -> None:
    asked: list[Question] = []

    def check(question: Question) -> Decision:
        asked.append(question)
        return APPROVED

    schedules = source(Repo(nightly=toml()))
    for approvals in (1, 2):  # the second within the time for which an approval is kept
        text = f"[approval.high]\napprovals = {approvals}\n"
        policy = parse_policy(text.encode(), path="policy.toml")
        schedules.look(look(NOON, check=check, policy=policy))
    assert [question.need.approvals for question in asked] == [1, 2]
    assert [question.formula_need.approvals for question in asked] == [1, 2]


def test_a_broken_action_is_reported_at_its_line_with_a_remedy() -> None:
    (note,) = source(Repo(nightly=toml(action="secrte = []"))).look(look(NOON)).notes
    assert note.state is SourceState.BROKEN
    assert 'vault/schedules/nightly.toml:8:1: unknown key "secrte". Did you mean "secrets"?' in (
        note.warning
    )


def test_a_slot_becomes_an_action_at_its_time() -> None:
    schedules = source(Repo(nightly=toml()))
    first = schedules.look(look(NOON))
    assert first.actions == ()
    assert first.next_at == NOON + 13.5 * 3600  # 02:30 in Berlin
    wants = schedules.look(look(first.next_at, first.marks))
    assert ids(wants) == ["nightly-20260302t0130z"]
    (wanted,) = wants.actions
    assert wanted.occasion == "2026-03-02T01:30:00Z"
    assert wanted.action["context"] == ("at 2026-03-02T01:30:00Z 2026-03-02 02:30 nightly {other}")
    assert wanted.definition == "vault/schedules/nightly.toml"
    assert schedules.look(look(first.next_at + 1, wants.marks)).actions == ()


def test_placeholders_are_replaced_once_and_in_texts_alone() -> None:
    text = toml(action='[action.params]\nlist = ["{slot}", 1, {x = "{{date}}"}]\n"{date}" = true\n')
    schedules = source(Repo(nightly=text))
    first = schedules.look(look(NOON))
    assert first.next_at is not None
    (wanted,) = schedules.look(look(first.next_at, first.marks)).actions
    assert wanted.action["params"] == {
        "list": ["2026-03-02T01:30:00Z", 1, {"x": "{2026-03-02}"}],
        "{date}": True,
    }


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("skip", []),
        ("last", ["nightly-20260311t0130z"]),
        ("all", ["nightly-20260309t0130z", "nightly-20260310t0130z", "nightly-20260311t0130z"]),
    ],
)
def test_after_downtime(catch_up: str, expected: list[str]) -> None:
    more = f'overlap = "allow"\ncatch_up = "{catch_up}"\ncatch_up_limit = 3'
    schedules = source(Repo(nightly=toml(more=more)))
    first = schedules.look(look(NOON))
    later = schedules.look(look(NOON + 10 * DAY, first.marks))
    assert ids(later) == expected
    assert schedules.look(look(NOON + 10 * DAY + 60, later.marks)).actions == ()
    assert bool(later.passed) == (catch_up == "skip")


def test_a_little_late_is_not_missed() -> None:
    schedules = source(Repo(nightly=toml()))
    first = schedules.look(look(NOON))
    assert first.next_at is not None
    assert ids(schedules.look(look(first.next_at + ON_TIME_S, first.marks)))
    assert not ids(schedules.look(look(first.next_at + ON_TIME_S + 1, first.marks)))


@pytest.mark.parametrize(("overlap", "written"), [("skip", 0), ("queue", 1), ("allow", 1)])
def test_while_the_last_one_is_open(overlap: str, written: int) -> None:
    schedules = source(Repo(nightly=toml(more=f'overlap = "{overlap}"')))
    first = schedules.look(look(NOON))
    assert first.next_at is not None
    before = schedules.look(look(first.next_at, first.marks))
    busy = set(map(own, ids(before)))
    wants = schedules.look(look(first.next_at + DAY, before.marks, is_open=busy.__contains__))
    assert len(wants.actions) == written
    assert len(wants.passed) == 1 - written
    if overlap == "queue":
        assert wants.actions[0].action["lock"] == "schedule-nightly"
    # a slot that was skipped is not made up for
    assert schedules.look(look(first.next_at + DAY + 60, wants.marks)).actions == ()


def test_a_file_under_the_id_of_an_earlier_slot_is_no_open_action() -> None:
    schedules = source(Repo(nightly=toml()))
    first = schedules.look(look(NOON))
    assert first.next_at is not None
    before = schedules.look(look(first.next_at, first.marks))
    (theirs,) = map(own, ids(before))
    there = look(first.next_at + DAY, before.marks, is_open={theirs}.__contains__, theirs={theirs})
    assert ids(schedules.look(there)) == ["nightly-20260303t0130z"]


def test_a_run_whose_file_was_deleted_is_still_open() -> None:
    schedules = source(Repo(nightly=toml()))
    first = schedules.look(look(NOON))
    assert first.next_at is not None
    before = schedules.look(look(first.next_at, first.marks))
    ours = set(map(own, ids(before))).__contains__
    running = replace(
        look(first.next_at + DAY, before.marks, is_open=ours), is_open=lambda _id: False
    )
    assert schedules.look(running).actions == ()
    ended = replace(running, written=lambda _id: WrittenRun(action=ANY, result=ANY))
    assert len(schedules.look(ended).actions) == 1
    withdrawn = WrittenRun(action=ANY, result=None, withdrawn_at=1.0)
    assert len(schedules.look(replace(running, written=lambda _id: withdrawn)).actions) == 1


@pytest.mark.parametrize("overlap", ["skip", "queue", "allow"])
def test_a_slot_whose_action_somebody_replaced_is_passed_over_and_named(overlap: str) -> None:
    schedules = source(Repo(nightly=toml(more=f'overlap = "{overlap}"')))
    first = schedules.look(look(NOON))
    assert first.next_at is not None
    taken = {own("nightly-20260302t0130z")}
    wants = schedules.look(
        look(first.next_at, first.marks, is_open=taken.__contains__, theirs=taken)
    )
    assert wants.actions == ()
    assert [passed.occasion for passed in wants.passed] == ["2026-03-02T01:30:00Z"]
    assert "did not write" in wants.passed[0].reason
    assert wants.marks["nightly"].endswith(" taken")
    for later in (60.0, DAY / 2):
        note = schedules.look(look(first.next_at + later, wants.marks)).notes[0]
        assert note.state is SourceState.LIMITED
        assert "its last slot, 2026-03-02T01:30:00Z, started nothing" in note.warning
    after = schedules.look(
        look(first.next_at + DAY, wants.marks, is_open=taken.__contains__, theirs=taken)
    )
    assert ids(after) == ["nightly-20260303t0130z"]
    assert after.notes[0].state is SourceState.ACTIVE


def test_what_we_wrote_before_a_crash_is_not_taken() -> None:
    schedules = source(Repo(nightly=toml()))
    first = schedules.look(look(NOON))
    assert first.next_at is not None
    there = look(first.next_at, first.marks, is_open=lambda i: i == own("nightly-20260302t0130z"))
    wants = schedules.look(there)
    assert wants.passed == ()
    assert wants.marks["nightly"].endswith(" written")


def test_no_schedule_fills_the_queue() -> None:
    schedules = source(Repo(often=toml("*/5 * * * *", more='overlap = "allow"')))
    marks, now, total = schedules.look(look(NOON)).marks, NOON, 0
    for _ in range(OPEN_LIMIT * 2):
        now += 300
        wants = schedules.look(look(now, marks, is_open=lambda _i: True))
        marks, total = wants.marks, total + len(wants.actions)
    assert total == 0


def test_what_is_not_approved_has_no_slots() -> None:
    schedules = source(Repo(nightly=toml(more='catch_up = "last"')))
    marks = schedules.look(look(NOON)).marks
    asked: list[Question] = []

    def check(question: Question) -> Decision:
        asked.append(question)
        return WAITING

    wants = schedules.look(look(NOON + 5 * DAY, marks, check=check))
    assert wants.actions == ()
    assert [(n.state, n.reason) for n in wants.notes] == [(SourceState.WAITING, "is not signed")]
    assert asked[-1].path == "vault/schedules/nightly.toml"
    assert asked[-1].tier == "high"  # of the formula, which no policy calls low
    assert schedules.look(look(NOON + 5 * DAY + 60, wants.marks)).actions == ()


def test_no_slot_is_lost_while_the_gate_cannot_be_read() -> None:
    schedules = source(Repo(nightly=toml()))
    first = schedules.look(look(NOON))
    assert first.next_at is not None

    def down(_question: Question) -> Decision:
        raise Unavailable(Dependency.FORGE, "down")

    during = schedules.look(look(first.next_at, first.marks, check=down))
    assert (during.actions, during.marks) == ((), first.marks)
    assert ids(schedules.look(look(first.next_at + 60, during.marks)))


def test_a_clock_that_was_wrong_stops_no_schedule_for_long() -> None:
    schedules = source(Repo(nightly=toml()))
    marks = schedules.look(look(NOON + 400 * DAY)).marks  # a year ahead
    back = schedules.look(look(NOON, marks))
    assert back.next_at is not None
    assert back.next_at < NOON + DAY
    assert ids(schedules.look(look(back.next_at, back.marks)))


def test_a_clock_that_goes_back_repeats_no_slot() -> None:
    schedules = source(Repo(nightly=toml()))
    first = schedules.look(look(NOON))
    assert first.next_at is not None
    wants = schedules.look(look(first.next_at, first.marks))
    again = schedules.look(look(first.next_at - 600, wants.marks))
    assert again.actions == ()
    assert schedules.look(look(first.next_at, again.marks)).actions == ()


@pytest.mark.parametrize(
    "wrong",
    [
        "", "cron = 1", toml("* * * * * *"), toml("0 0 30 2 *"), toml(zone="../../etc/passwd"),
        toml(more='overlap = "maybe"'), toml(more="surprise = 1"), toml(more="catch_up_limit = 1000"),
        toml(more='catch_up = "all"'), toml(action='id = "x"'), toml(action='formula = "../x"'),
        toml(action="[action.source]\nkind = 'x'"), toml(action="unknown = 1"),
        toml(action='expires = "2026-01-01T00:00:00Z"'), toml(action="[action.params]\nx = inf"),
        toml(more="expires_minutes = 0"), "x" * 20_000, toml(action='secrets = ["lower"]'),
    ],
)  # fmt: skip
def test_a_broken_schedule_starts_nothing_and_says_why(wrong: str) -> None:
    schedules = source(Repo(nightly=wrong, other=toml()))
    first = schedules.look(look(NOON))
    by_name = {note.name: note for note in first.notes}
    assert by_name["nightly"].state is SourceState.BROKEN
    assert by_name["nightly"].reason
    assert by_name["other"].state is SourceState.ACTIVE
    later = schedules.look(look(NOON + DAY, first.marks))
    assert all(wanted.name == "other" for wanted in later.actions)


def test_hostile_names_and_numbers() -> None:
    repo = Repo(**{f"s{n:03}": toml() for n in range(MOST + 50)})
    repo.files["\udcff" * 200 + ".toml"] = toml().encode()
    repo.files["0" * 200 + ".toml"] = toml().encode()
    repo.files["link.toml"] = b"vault/x"
    repo.modes["link.toml"] = 0o120000
    wants = source(repo).look(look(NOON))
    assert len(wants.notes) == MOST + 1
    assert len(wants.marks) <= MOST
    assert all(note.name.isprintable() and len(note.name) <= 60 for note in wants.notes)
    assert wants.notes[-1].state is SourceState.BROKEN


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_no_file_breaks_the_parser(data: bytes) -> None:
    assert isinstance(parse_schedule(data, path="p", name="x"), Schedule | InvalidSchedule)


class TestSchedules(SourceContract):
    @pytest.fixture
    def case(self) -> Case:
        repo = Repo(
            nightly=toml(), hourly=toml("0 * * * *", more='catch_up = "all"\noverlap = "allow"')
        )
        marks = source(repo).look(look(NOON)).marks
        return Case(make=lambda: source(repo), look=look(NOON + 13.5 * 3600, marks))


# -- simulated years --------------------------------------------------------------------------


@dataclass
class Outside:
    """Git and ledger: what survives. Pushes create; notes are compared and set."""

    files: dict[str, str] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    notes: dict[str, Note] = field(default_factory=dict)

    def push(self, action_id: str, text: str) -> None:
        if action_id not in self.files:
            self.files[action_id] = text
            self.writes.append(action_id)

    def note(self, name: str) -> Note | None:
        return self.notes.get(name)

    def write_note(self, name: str, text: str, *, version: int) -> Note:
        there = self.notes.get(name)
        if (there.version if there else 0) != version:
            raise Conflict("changed")
        note = self.notes[name] = Note(text=text, version=version + 1)
        return note

    def append(self, event: str, **facts: object) -> None: ...


class Dispatcher:
    """Looks, pushes and stores in three steps, and may die before each."""

    def __init__(self, outside: Outside, repo: Repo) -> None:
        self.outside, self.source = outside, source(repo)
        self.answer: SourceAnswer | None = None
        self.parts: Any = type(
            "Parts", (), {"ledger": outside, "audit": outside, "settings": Settings()}
        )

    def step(self, now: float) -> None:
        """The next of the three steps."""
        used = self.outside.files.__contains__
        if self.answer is None:
            self.answer = ask(
                self.source,
                self.parts,
                lambda marks: replace(
                    look(now, marks),
                    is_used=used,
                    written=lambda i: ENDED if used(i) else None,
                ),
            )
            assert self.answer.error is None, self.answer.error
            return
        if any(not used(w.action_id) for w in self.answer.wants.actions):
            for wanted in self.answer.wants.actions:
                self.outside.push(wanted.action_id, action_text("schedule", wanted))
            return
        store(self.parts, self.answer, led=lambda: None)
        self.answer = None


ENDED = WrittenRun(action=ANY, result=ANY)
"""An action of ours that ended."""

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Santiago",
    "Africa/Cairo",
)


@pytest.mark.parametrize(
    ("dispatchers", "slots"), [(1, tries(1_500, 10_000)), (2, tries(300, 1_000))]
)
def test_very_many_slots_each_exactly_once(
    dispatchers: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Across eight changes of daylight saving time in each of five zones, with a crash at one step in
    twenty, and in the second case with two that both think they lead.
    """
    # what is wanted was parsed as a sample already; parsing it all takes most of the time
    monkeypatch.setattr("dispatcher.loop.sources.problems_of", lambda *_a, **_k: ())
    dice = random.Random(20261122)
    more = 'overlap = "allow"\ncatch_up = "all"\ncatch_up_limit = 50'
    files = {
        f"z{n}-{kind}": toml(cron, zone=zone, more=more)
        for n, zone in enumerate(ZONES)
        for kind, cron in (("daily", "30 2 * * *"), ("half", "30 0,12 * * *"))
    }
    repo, outside = Repo(**files), Outside()
    begin = now = datetime.fromisoformat("2022-01-01T00:00:00+00:00").timestamp()
    fleet = [Dispatcher(outside, repo) for _ in range(dispatchers)]
    for _ in range(2):  # the first look: from here on slots count
        fleet[0].step(now)
    while len(outside.files) < slots:
        now += dice.choice([600.0, DAY, 3 * DAY, 4 * DAY])
        for _ in range(6 * dispatchers):
            which = dice.randrange(dispatchers)
            if dice.random() < 0.05:
                fleet[which] = Dispatcher(outside, repo)
            fleet[which].step(now)
    for dispatcher in fleet:  # what is under way ends
        for _ in range(6):
            dispatcher.step(now)
    expected = {
        f"{name}-{datetime.fromtimestamp(slot, ZONE_UTC):%Y%m%dt%H%Mz}"
        for name, text in files.items()
        for slot in _slots(text).until(now, since=begin, limit=100_000)
    }
    assert len(outside.writes) == len(set(outside.writes))
    assert set(map(stem_of, outside.files)) == expected


ZONE_UTC = datetime.fromisoformat("2026-01-01T00:00:00+00:00").tzinfo


def _slots(text: str) -> Slots:
    schedule = parse_schedule(text.encode(), path="p", name="x")
    assert isinstance(schedule, Schedule)
    return schedule.slots
