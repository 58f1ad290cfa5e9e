"""The life cycle of a desktop: pure, so every history is a list of observations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.desktop.lifecycle import (
    CONFIGURING_LIMIT_S,
    PROVISIONING_LIMIT_S,
    Observation,
    Stage,
    State,
    Step,
    advance,
    begin,
    begin_removal,
    explained,
)
from dispatcher.desktop.report import FAILED, Report
from dispatcher.provision.confidential import Confidential

OBSERVATIONS = st.builds(
    Observation,
    answered=st.booleans(),
    accepted=st.booleans(),
    running=st.booleans(),
    ip=st.sampled_from(["", "198.51.100.7"]),
    report=st.none()
    | st.builds(
        Report,
        stage=st.sampled_from([*Stage, "", "nonsense", FAILED]).map(str),
        vnc=st.booleans(),
        guacamole=st.booleans(),
    ),
    http=st.booleans(),
    https=st.booleans(),
    failure=st.sampled_from(["", "", "", "quota"]),
    gone=st.booleans(),
)
HISTORIES = st.lists(st.tuples(OBSERVATIONS, st.floats(0, 600)), max_size=30)
ORDER = list(State)


def test_the_stages_are_those_that_people_know() -> None:
    assert [(str(stage), stage.percent) for stage in Stage][:7] == [
        ("provisioning-droplet", 22), ("waiting-for-ip", 35), ("installing-packages", 48),
        ("starting-guacamole", 62), ("configuring-https", 78), ("final-health-check", 92),
        ("active", 100),
    ]  # fmt: skip


def test_a_desktop_comes_up() -> None:
    record = begin(0.0)
    assert (record.state, record.percent, record.next_step) == (State.PROVISIONING, 22, Step.LOOK)
    record = advance(record, Observation(accepted=True), 1)
    assert record.stage is Stage.WAITING_FOR_IP
    running = Observation(running=True, ip="198.51.100.7")
    record = advance(record, running, 30)
    assert (record.state, record.next_step, record.since) == (State.CONFIGURING, Step.PROBE, 30)
    report = Report(stage="starting-guacamole")
    record = advance(record, Observation(report=report), 100)
    assert record.percent == 62
    record = advance(record, Observation(), 110)  # a probe that failed takes nothing back
    assert record.percent == 62
    report = Report(stage="configuring-https", vnc=True, guacamole=True)
    assert advance(record, Observation(report=report), 120).percent == 78
    record = advance(record, Observation(report=report, http=True), 130)
    assert record.percent == 92
    record = advance(record, Observation(https=True), 140)
    assert (record.state, record.percent, record.next_step) == (State.ACTIVE, 100, Step.FINISH)


def test_only_the_desktops_own_page_makes_it_active() -> None:
    record = advance(begin(0.0), Observation(running=True, ip="1.2.3.4"), 1)
    every = Report(stage="active", vnc=True, guacamole=True)
    assert advance(record, Observation(report=every, http=True), 2).state is State.CONFIGURING
    assert advance(record, Observation(https=True), 2).state is State.ACTIVE


def test_an_address_alone_is_not_enough() -> None:
    record = advance(begin(0.0), Observation(ip="1.2.3.4"), 1)
    assert record.state is State.PROVISIONING
    assert advance(record, Observation(running=True), 2).state is State.CONFIGURING


def test_what_takes_too_long_is_an_error_with_the_end_of_the_log() -> None:
    record = advance(begin(0.0), Observation(running=True, ip="1.2.3.4"), 10)
    report = Report(stage="installing-packages", log_tail=("E: no space", "gave up"))
    late = 10 + CONFIGURING_LIMIT_S
    record = advance(record, Observation(report=report), late)
    assert record.state is State.CONFIGURING
    record = advance(record, Observation(), late + 1)
    assert (record.state, record.next_step) == (State.ERROR, Step.REMOVE)
    gone, kept = explained(record, Confidential()), explained(record, None)
    assert "20 minutes" in kept
    assert kept.endswith("/var/log/disinto-desktop.log")
    assert "/var/log/disinto-desktop.log, its end:\n  E: no space\n  gave up" in gone


def test_a_machine_without_an_address_is_an_error() -> None:
    record = advance(begin(5.0), Observation(accepted=True), 6 + PROVISIONING_LIMIT_S)
    assert record.state is State.ERROR
    assert "no address" in explained(record, Confidential())


def test_a_provider_that_does_not_answer_costs_no_machine() -> None:
    late = 6 + PROVISIONING_LIMIT_S
    record = advance(begin(5.0), Observation(accepted=True, answered=False), late)
    assert record.state is State.PROVISIONING
    assert advance(record, Observation(running=True, ip="1.2.3.4"), late).state is State.CONFIGURING


def test_a_machine_that_reports_failure_is_not_waited_for() -> None:
    record = advance(begin(0.0), Observation(running=True, ip="1.2.3.4"), 1)
    assert advance(record, Observation(report=Report(stage=FAILED)), 2).state is State.ERROR


def test_a_machine_in_error_is_kept_if_so_wanted() -> None:
    record = advance(begin(0.0, keep_on_error=True), Observation(failure="quota"), 1)
    assert (record.state, record.next_step, record.why) == (State.ERROR, Step.KEEP, "quota")


def test_a_removal_ends_when_nothing_is_listed() -> None:
    record = begin_removal(None, 0.0)
    assert (record.state, record.percent, record.next_step) == (State.DESTROYING, 30, Step.REMOVE)
    record = advance(record, Observation(deleted=True), 1)
    assert record.percent == 70
    record = advance(record, Observation(gone=True), 2)
    assert (record.state, record.percent, record.next_step) == (State.DESTROYED, 100, Step.STOP)


@given(HISTORIES, st.booleans())
def test_no_history_goes_back_or_lasts_for_ever(
    history: list[tuple[Observation, float]], keep: bool
) -> None:
    now, record = 0.0, begin(0.0, keep_on_error=keep)
    for seen, after in history:
        now += after
        before, record = record, advance(record, seen, now)
        assert ORDER.index(record.state) >= ORDER.index(before.state)
        assert record.percent >= before.percent
        assert record.state not in (State.DESTROYING, State.DESTROYED)  # that is asked for
        if record.state is State.ACTIVE:
            assert record.ip
            assert before.state is State.ACTIVE or seen.https
        if before.state in (State.ACTIVE, State.ERROR):
            assert (record.state, record.why) == (before.state, before.why)
    end = now + PROVISIONING_LIMIT_S + 1
    for moment in (end, end + CONFIGURING_LIMIT_S + 1):
        record = advance(record, Observation(), moment)
    assert record.state in (State.ACTIVE, State.ERROR)
    assert record.next_step in (Step.FINISH, Step.KEEP if keep else Step.REMOVE)
