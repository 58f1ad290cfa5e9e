"""What people are notified of: the conditions, their ids, filters, and outages in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.model.health import ForeignResult
from dispatcher.model.notice import Condition, Notice
from dispatcher.model.verdicts import Verdict
from dispatcher.notify.conditions import (
    DOWN_AFTER_S,
    Episode,
    Notices,
    outages,
    wanted,
    wants,
)
from dispatcher.notify.text import Cleaner
from tests.support.notices import NOTICES, notice, result, sink


@pytest.mark.parametrize("verdict", Verdict)
def test_each_verdict_is_a_condition(verdict: Verdict) -> None:
    made = NOTICES.of_result(result(verdict=verdict))
    assert made.condition == verdict.value == made.verdict
    assert "deploy-1" in made.title
    assert (made.formula, made.tier, made.action) == ("deploy", "high", "deploy-1")


@pytest.mark.parametrize("condition", Condition)
def test_each_condition_says_what_it_is_about(condition: Condition) -> None:
    assert condition.headline.format(action="a", exit_code=1, dependency="vault")
    assert condition.meaning


def test_the_same_thing_has_the_same_id_and_another_one_has_another() -> None:
    first, again = NOTICES.of_result(result()), NOTICES.of_result(result(timestamp="x"))
    assert first.id == again.id
    elsewhere = Notices(repository="acme/other", cleaner=Cleaner(dict))
    others = [
        NOTICES.of_result(result("deploy-2")),
        NOTICES.of_result(result(blob="c" * 40)),
        NOTICES.of_result(result(verdict=Verdict.LOST)),
        elsewhere.of_result(result()),
    ]
    assert len({first.id, *(other.id for other in others)}) == 5


def test_a_foreign_result_names_commit_and_path() -> None:
    foreign = ForeignResult(
        action_id="deploy-1", path="vault/x.result.json", commit="c" * 40, oid="o", reason="forged"
    )
    made = NOTICES.of_foreign(foreign, now=5.0)
    assert made.condition is Condition.FOREIGN_RESULT
    assert "vault/x.result.json" in made.detail
    assert "c" * 40 in made.detail


def test_a_notice_survives_the_store() -> None:
    for each in (notice(), NOTICES.test("ops", now=1.0)):
        assert Notice.from_json(each.to_json()) == each


@pytest.mark.parametrize(
    ("keys", "facts", "gets"),
    [
        ({}, {}, True),
        ({"on": ["lost"]}, {}, False),
        ({"formulas": ["deploy"]}, {}, True),
        ({"formulas": ["report"]}, {}, False),
        ({"tiers": ["low"]}, {}, False),
        ({"tiers": ["low", "high"], "formulas": ["deploy"]}, {}, True),
        ({"tiers": ["low"], "formulas": ["x"]}, {"tier": "", "formula": ""}, True),
    ],
)
def test_filters_leave_out_what_is_known_to_be_something_else(
    keys: dict[str, object], facts: dict[str, object], *, gets: bool
) -> None:
    assert wants(sink(**keys), notice(**facts)) is gets


def test_output_is_sent_only_where_it_is_wanted() -> None:
    sinks = [sink(name="with", include_output=True), sink(name="without")]
    made = dict(wanted(sinks, [notice(output="last words")]))
    assert (made["with"].output, made["without"].output) == ("last words", "")


class Outages:
    """Outages in time."""

    def __init__(self) -> None:
        self.episodes: dict[str, Episode] = {}

    def at(self, now: float, **down: float) -> list[str]:
        given = {name: (since, "refused") for name, since in down.items()}
        self.episodes, told = outages(NOTICES, given, self.episodes, now=now)
        return [each.title for each in told]


def test_a_short_outage_is_nobodys_business() -> None:
    world = Outages()
    assert world.at(100, vault=100) == []
    assert world.at(100 + DOWN_AFTER_S - 1, vault=100) == []
    assert world.at(200) == []
    assert world.episodes == {}


def test_a_long_one_is_told_once_and_its_end_once() -> None:
    world = Outages()
    assert world.at(100 + DOWN_AFTER_S, vault=100) == ["vault is down"]
    assert world.at(300, vault=100) == []
    assert world.at(400) == []
    assert world.at(400 + DOWN_AFTER_S) == ["vault is up again"]
    assert world.at(500) == []


def test_a_relapse_and_a_restart_make_no_new_outage() -> None:
    world = Outages()
    world.at(100 + DOWN_AFTER_S, vault=100)
    assert world.at(200) == []  # a restart: nothing is known to be down yet
    assert world.at(210, vault=210) == []
    assert world.at(210 + DOWN_AFTER_S, vault=210) == []


@given(
    st.lists(
        st.tuples(
            st.floats(-1e6, 1e10, allow_nan=False),
            st.dictionaries(st.sampled_from("ab"), st.floats(0, 1e10, allow_nan=False)),
        )
    )
)
def test_down_and_up_alternate_whatever_the_clock_does(
    steps: list[tuple[float, dict[str, float]]],
) -> None:
    world, last = Outages(), {"a": "up", "b": "up"}
    for now, down in steps:
        for title in world.at(now, **down):
            name, is_ = title[0], "down" if "down" in title else "up"
            assert last[name] != is_
            last[name] = is_
