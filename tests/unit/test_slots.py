"""The slots of cron expressions: which points in time they are, in every zone and direction."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatcher.model import zones
from dispatcher.model.slots import LONGEST_EXPRESSION, Slots, cron_problem
from dispatcher.model.zones import zone_problem
from tests.support.thorough import tries

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "America/Santiago",
    "Africa/Casablanca",  # back for Ramadan
    "Pacific/Apia",
    "Asia/Tehran",
    "Africa/Cairo",  # at midnight
)
EXPRESSIONS = (
    "30 2 * * *",
    "0 * * * *",
    "*/20 1-3 * * 0",
    "0 0 * * *",
    "59 23 L * *",
    "0 12 * * 1#1",
)
YEAR_S = 366 * 86_400


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def walk(slots: Slots, begin: float, end: float) -> list[float]:
    found = []
    moment = slots.after(begin)
    while moment is not None and moment <= end:
        found.append(moment)
        moment = slots.after(moment)
    return found


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", EXPRESSIONS)
def test_forwards_and_backwards_are_the_same_slots(zone: str, cron: str) -> None:
    slots = Slots(cron=cron, zone=zone)
    begin = at("2026-03-01T00:00:00Z")
    if "12 * * 1#1" not in cron and "L" not in cron:
        begin = at("2026-03-20T00:00:00Z")
    forwards = walk(slots, begin, begin + YEAR_S / 26)
    assert forwards == slots.until(begin + YEAR_S / 26, since=begin, limit=100_000)
    assert forwards[-3:] == slots.until(begin + YEAR_S / 26, since=begin, limit=3)
    assert forwards == sorted(set(forwards))


@pytest.mark.parametrize("zone", ZONES)
def test_each_day_has_one_slot_all_year_long(zone: str) -> None:
    for cron in ("30 2 * * *", "0 0 * * *"):
        slots = Slots(cron=cron, zone=zone)
        begin = at("2023-06-01T12:00:00Z")
        found = slots.until(begin + 3 * YEAR_S, since=begin, limit=100_000)
        days = [slots.local(slot).date() for slot in found]
        assert len(days) == len(set(days))
        assert days == [days[0] + timedelta(days=n) for n in range(len(days))]


@pytest.mark.parametrize("zone", ZONES)
def test_an_hourly_schedule_knows_no_daylight_saving(zone: str) -> None:
    """Every wall-clock time is met as often as it exists; by whole minutes of real time."""
    slots = Slots(cron="30 * * * *", zone=zone)
    begin = at("2025-01-01T00:00:00Z")
    found = slots.until(begin + YEAR_S, since=begin, limit=100_000)
    assert {later - earlier for earlier, later in pairwise(found)} <= {1800.0, 3600.0, 5400.0}


@pytest.mark.parametrize(
    ("cron", "day", "expected"),
    [
        ("30 2 * * *", "2026-03-29", ["03:30"]),  # clocks go forward at 2
        ("30 2 * * *", "2026-10-25", ["02:30"]),  # back at 3; the first of the two
        ("15,45 1-3 * * *", "2026-10-25", ["01:15", "01:45", "02:15", "02:45", "03:15", "03:45"]),
        ("15 2,3 * * *", "2026-03-29", ["03:15"]),  # two slots fall together
        ("0 * * * *", "2026-10-25", [f"{h:02}:00" for h in (0, 1, 2, 2, *range(3, 24))]),
        ("0 * * * *", "2026-03-29", [f"{h:02}:00" for h in (0, 1, *range(3, 24))]),
    ],
)
def test_when_clocks_change_in_berlin(cron: str, day: str, expected: list[str]) -> None:
    slots = Slots(cron=cron, zone="Europe/Berlin")
    begin = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=ZoneInfo("Europe/Berlin"))
    end = (begin + timedelta(days=1)).timestamp()
    found = walk(slots, begin.timestamp() - 1, end - 1)
    assert [f"{slots.local(slot):%H:%M}" for slot in found] == expected


def test_the_first_of_two_equal_times_counts() -> None:
    slots = Slots(cron="30 2 * * *", zone="Europe/Berlin")
    assert slots.after(at("2026-10-25T00:00:00Z")) == at("2026-10-25T00:30:00Z")


@given(
    st.floats(min_value=0, max_value=4e9), st.sampled_from(ZONES), st.sampled_from(EXPRESSIONS[:4])
)
@settings(max_examples=tries(15, 60), deadline=None)
def test_after_is_the_first_that_until_finds(moment: float, zone: str, cron: str) -> None:
    slots = Slots(cron=cron, zone=zone)
    following = slots.after(moment)
    assert following is not None
    assert following > moment
    assert slots.until(following, since=moment, limit=5) == [following]
    assert slots.until(following - 1, since=moment, limit=5) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "", "a", "* * * * * *", "@daily", "0 0 30 2 *", "0 0 31 2,4 *", "* * */20 * 1L", "60 * * * *",
        "0 24 * * *", "*/0 * * * *", "0 0 * * ¹", "0 0 \u0661 * *", "0 0 * * * ; rm", "1 " * 60,
        "0 0 1-1000000000 * *", "5-1 * * * *", "*/4 * * * *", "* * * * *", "1,2 0 * * *", "58,2 1-2 * * *",
        "0 0 * * 1#9", "0 0 L/0 * *", "0\x000 * * *",
    ],
)  # fmt: skip
def test_what_is_no_cron_expression_says_why(wrong: str) -> None:
    assert cron_problem(wrong)
    assert len(cron_problem(wrong)) < LONGEST_EXPRESSION * 3


@given(st.text(alphabet="0123456789*/,-#LW MONJAN\x00é", max_size=LONGEST_EXPRESSION))
@settings(max_examples=tries(75, 300), deadline=None)
def test_no_expression_breaks_it(text: str) -> None:
    if not cron_problem(text):
        slots = Slots(cron=text, zone="Europe/Berlin")
        first = slots.after(0.0)
        assert first is None or slots.until(first, since=0.0, limit=2) == [first]


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "../etc/passwd",
        "/etc/localtime",
        "Europe",
        "Nowhere/City",
        "UTC\x00",
        "Europe/Berlin/x",
        "ü",
        "localtime",
        "posixrules",
        "right/Europe/Berlin",  # with leap seconds
        "posix/Europe/Berlin",  # not in each system's database
        "Europe/Berlin ",
    ],
)
def test_what_is_no_zone_says_why(wrong: str) -> None:
    assert zone_problem(wrong)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("europe/berlin", "Europe/Berlin"),
        ("EUROPE/BERLIN", "Europe/Berlin"),
        ("Berlin", "Europe/Berlin"),
        ("utc", "UTC"),
        ("GMT", "Etc/GMT"),
        ("posix/Europe/Berlin", "Europe/Berlin"),
    ],
)
def test_the_zone_that_was_meant_is_named(wrong: str, meant: str) -> None:
    problem = zone_problem(wrong)
    assert problem is not None
    assert problem[1] == f'Did you mean "{meant}"?'


def test_the_case_of_a_zone_counts_on_every_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ignores case would open it; another dispatcher could not."""
    monkeypatch.setattr(zones, "ZoneInfo", lambda name: ZoneInfo("Europe/Berlin"))
    assert zone_problem("europe/berlin")


@pytest.mark.parametrize("zone", ZONES)
def test_zones_are_found(zone: str) -> None:
    assert not zone_problem(zone)
    assert Slots(cron="0 0 * * *", zone=zone).local(0.0).tzinfo is not None
