"""When a freeze is in force: windows on clocks that are set forward and back, and their union."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dispatcher.decide.freeze_windows import Calendar
from dispatcher.decide.policy import Policy, parse_policy
from dispatcher.errors import InvalidInput
from dispatcher.model.run import Tier
from dispatcher.model.zones import moment, zone_problem
from tests.support.thorough import tries

BERLIN = "Europe/Berlin"


def policy(text: str) -> Policy:
    return parse_policy(text.encode(), path="policy.toml")


def calendar(*windows: str, zone: str = BERLIN) -> Calendar:
    tables = "".join(f"[freeze.windows.w{n}]\n{keys}\n" for n, keys in enumerate(windows))
    found = policy(f'[freeze]\nzone = "{zone}"\n{tables}').freeze.calendar(Tier.LOW, "hello")
    assert found is not None
    return found


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def until(found: Calendar, when: str) -> str | None:
    frozen = found.frozen(at(when))
    if frozen is None:
        return None
    return (
        "never"
        if frozen.until is None
        else datetime.fromtimestamp(frozen.until, UTC).isoformat(timespec="minutes")[:-6]
    )


WEEKEND = 'days = ["fri"]\nstart = "16:00"\nend = "mon 06:00"'
NIGHTS = 'start = "22:00"\nend = "06:00"'


@pytest.mark.parametrize(
    ("window", "when", "end"),
    [
        (WEEKEND, "2026-11-20T15:59:59+01:00", None),
        (WEEKEND, "2026-11-20T16:00:00+01:00", "2026-11-23T05:00"),
        (WEEKEND, "2026-11-23T05:59:59+01:00", "2026-11-23T05:00"),
        (WEEKEND, "2026-11-23T06:00:00+01:00", None),
        (NIGHTS, "2026-11-22T23:00:00+01:00", "2026-11-23T05:00"),
        (NIGHTS, "2026-11-22T05:00:00+01:00", "2026-11-22T05:00"),
        (NIGHTS, "2026-11-22T12:00:00+01:00", None),
        ('days = ["sat", "sun"]', "2026-11-21T00:00:00+01:00", "2026-11-22T23:00"),
        ('days = ["mon"]\nstart = "08:00"\nend = "mon 07:00"', "2026-11-30T06:59+01:00", "2026-11-30T06:00"),
        ('days = ["mon"]\nstart = "08:00"\nend = "mon 09:00"', "2026-11-23T08:59+01:00", "2026-11-23T08:00"),
        ('days = ["sun"]\nend = "sun 24:00"', "2026-11-22T23:59+01:00", "2026-11-22T23:00"),
        ('dates = ["2026-12-24"]', "2026-12-24T23:59:59+01:00", "2026-12-24T23:00"),
        ('dates = ["2026-12-24"]', "2026-12-23T23:59:59+01:00", None),
        ('dates = ["2026-12-24T12:00"]', "2026-12-24T11:59+01:00", None),
        ('dates = ["2026-12-24T12:00"]', "2026-12-24T12:00+01:00", "2026-12-24T23:00"),
        ('dates = ["2026-12-20/2027-01-03"]', "2027-01-03T23:59+01:00", "2027-01-03T23:00"),
        ('dates = ["2026-12-18T16:00/2027-01-04T06:00"]', "2027-01-04T05:59+01:00", "2027-01-04T05:00"),
        ('dates = ["2026-12-20/.."]', "2526-12-20T00:00+01:00", "never"),
        ('dates = ["2026-12-20/2046-12-20"]', "2026-12-20T00:00+01:00", "2046-12-20T23:00"),
        ('days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]', "2026-11-22T00:00Z", "never"),
    ],
)  # fmt: skip
def test_a_window_is_in_force_from_its_start_until_its_end(
    window: str, when: str, end: str | None
) -> None:
    assert until(calendar(window), when) == end


@pytest.mark.parametrize(
    ("window", "when", "end"),
    [
        # On 2027-03-28 clocks in Berlin go from 02:00 to 03:00, that is at 01:00 UTC.
        ('start = "02:30"\nend = "05:00"', "2027-03-28T00:59:59Z", None),
        ('start = "02:30"\nend = "05:00"', "2027-03-28T01:00:00Z", "2027-03-28T03:00"),
        ('start = "00:30"\nend = "02:30"', "2027-03-28T00:59:59Z", "2027-03-28T01:00"),
        ('start = "00:30"\nend = "02:30"', "2027-03-28T01:00:00Z", None),
        ('start = "02:10"\nend = "02:40"', "2027-03-28T01:00:00Z", None),
        # On 2026-10-25 they go back from 03:00 to 02:00, that is at 01:00 UTC.
        ('start = "02:30"\nend = "05:00"', "2026-10-25T00:29:59Z", None),
        ('start = "02:30"\nend = "05:00"', "2026-10-25T00:30:00Z", "2026-10-25T04:00"),
        ('start = "00:30"\nend = "02:30"', "2026-10-25T01:29:59Z", "2026-10-25T01:30"),
        ('start = "02:10"\nend = "02:40"', "2026-10-25T01:05:00Z", "2026-10-25T01:40"),
        (WEEKEND, "2026-10-24T12:00:00Z", "2026-10-26T05:00"),
        (WEEKEND, "2027-03-27T12:00:00Z", "2027-03-29T04:00"),
    ],
)
def test_clocks_that_are_set_make_a_window_neither_early_nor_too_short(
    window: str, when: str, end: str | None
) -> None:
    assert until(calendar(window), when) == end


def test_a_clock_that_is_set_by_half_an_hour() -> None:
    """On Lord Howe Island, 2026-10-04: from 02:00 to 02:30, at 15:30 UTC the day before."""
    assert moment(datetime.fromisoformat("2026-10-04T02:15"), "Australia/Lord_Howe") == at(
        "2026-10-03T15:30Z"
    )
    found = calendar('start = "02:15"\nend = "04:00"', zone="Australia/Lord_Howe")
    assert until(found, "2026-10-03T15:29:59Z") is None
    assert until(found, "2026-10-03T15:30:00Z") == "2026-10-03T17:00"


def test_a_day_that_a_zone_left_out() -> None:
    """Samoa had no 2011-12-30: it went from UTC-10 to UTC+14."""
    found = calendar('dates = ["2011-12-30"]', zone="Pacific/Apia")
    for hours in range(-24, 48):
        assert found.frozen(at("2011-12-30T10:00Z") + hours * 3_600) is None


def test_overlapping_and_adjoining_windows_end_when_the_last_one_does() -> None:
    found = calendar(WEEKEND, 'dates = ["2026-11-23"]', NIGHTS)
    frozen = found.frozen(at("2026-11-20T17:00+01:00"))
    assert frozen is not None
    assert str(frozen) == ("freezes w0, w1, w2, until 2026-11-24T06:00+01:00 (Europe/Berlin)")
    two = calendar('days = ["fri"]\nstart = "12:00"', 'days = ["sat"]')
    assert until(two, "2026-11-20T13:00+01:00") == "2026-11-21T23:00"


def test_windows_in_two_zones_are_one_freeze() -> None:
    text = f'[freeze.windows.a]\nzone = "{BERLIN}"\ndates = ["2026-11-20"]\n'
    text += '[freeze.windows.b]\nzone = "America/New_York"\ndates = ["2026-11-20"]\n'
    found = policy(text).freeze.calendar(Tier.LOW, "x")
    assert found is not None
    frozen = found.frozen(at("2026-11-20T00:00+01:00"))
    assert str(frozen).endswith("until 2026-11-21T00:00-05:00 (America/New_York)")


def test_nights_that_adjoin_days_have_no_end() -> None:
    found = calendar(NIGHTS, 'start = "06:00"\nend = "22:00"')
    frozen = found.frozen(at("2026-11-22T10:00Z"))
    assert str(frozen) == "freezes w1, w0, with no end within a year"


def test_tiers_and_formulas_that_a_window_covers() -> None:
    text = f'[freeze]\nzone = "{BERLIN}"\n'
    for name, keys in (
        ("high", 'min_tier = "medium"'),
        ("some", 'formulas = ["deploy"]'),
        ("others", 'exempt = ["deploy", "backup"]'),
    ):
        text += f'[freeze.windows.{name}]\ndates = ["2026-11-22"]\n{keys}\n'
    freeze = policy(text).freeze

    def names(tier: Tier, formula: str) -> list[str]:
        found = freeze.calendar(tier, formula)
        return [w.name for w in found.windows] if found else []

    assert names(Tier.LOW, "deploy") == ["some"]
    assert names(Tier.MEDIUM, "deploy") == ["high", "some"]
    assert names(Tier.HIGH, "backup") == ["high"]
    assert names(Tier.LOW, "backup") == []
    assert names(Tier.LOW, "any") == ["others"]
    assert freeze.calendar(Tier.HIGH, "x") is freeze.calendar(Tier.HIGH, "y")


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ('zone = "Berlin"', "2:8", 'Did you mean "Europe/Berlin"?'),
        ('zone = "localtime"', "2:8", "there is no time zone"),
        ('zone = "../../etc/passwd"', "2:8", "there is no time zone"),
        ('zone = "Europe/"', "2:8", "there is no time zone"),
        ('emergency_tier = "none"', "2:18", "must be low, medium or high"),
        ("until = 1", "2:1", "unknown key"),
        ('[freeze.windows.x]\ndays = ["fri"]', "2:17", "has no time zone"),
        ('[freeze.windows.x]\nzone = "UTC"', "2:17", "the window has no time"),
        ('[freeze.windows.x]\nzone = "UTC"\nday = ["fri"]', "4:1", 'Did you mean "days"?'),
        ('[freeze.windows.x]\nzone = "UTC"\ndays = ["Friday"]', "4:9", "must be mon, tue"),
        ('[freeze.windows.x]\nzone = "UTC"\nstart = "4 pm"', "4:9", "is not a time"),
        ('[freeze.windows.x]\nzone = "UTC"\nend = "25:00"', "4:7", "is not a time"),
        ('[freeze.windows.x]\nzone = "UTC"\nend = "00:00"', "4:7", "the same time"),
        ('[freeze.windows.x]\nzone = "UTC"\ndates = ["2026-02-29"]', "4:10", "neither a date"),
        ('[freeze.windows.x]\nzone = "UTC"\ndates = ["2999-12-31/9999-12-31"]', "4:10", "neither"),
        ('[freeze.windows.x]\nzone = "UTC"\ndates = ["2026-02-02/2026-02-01"]', "4:10", "Exchange"),
        ('[freeze.windows.x]\nzone = "UTC"\ndates = [2026-02-02]', "4:10", "in quotes"),
        ('[freeze.windows.x]\nzone = "UTC"\ndates = ["2026-02-02"]\nend = "08:00"', "5:7", "exclude"),
        (
            '[freeze.windows.x]\nzone = "UTC"\nend = "08:00"\nformulas = ["a"]\nexempt = ["b"]',
            "6:10",
            "exclude each other",
        ),
        ('[freeze.windows."X y"]\nzone = "UTC"\nend = "08:00"', "2:17", "name of a freeze"),
    ],
)  # fmt: skip
def test_a_bad_freeze_is_an_error_with_its_place(text: str, place: str, words: str) -> None:
    with pytest.raises(InvalidInput) as error:
        policy(f"[freeze]\n{text}\n")
    first = str(error.value).split("\n")[0]
    assert first.startswith(f"policy.toml:{place}: "), first
    assert words in first


def test_a_zone_is_found_without_the_systems_database(monkeypatch: pytest.MonkeyPatch) -> None:
    import zoneinfo

    monkeypatch.setattr(zoneinfo, "TZPATH", ())
    ZoneInfo.clear_cache()
    try:
        zoneinfo.reset_tzpath(to=[])
        assert zone_problem(BERLIN) is None
    finally:
        zoneinfo.reset_tzpath()
        ZoneInfo.clear_cache()


# -- any windows, any time ---------------------------------------------------------------------------

times = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30, 45]))
weekdays = st.sampled_from(["mon", "tue", "wed", "thu", "fri", "sat", "sun"])
zones = st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
starts = st.sampled_from(["2026-10-24", "2027-03-13", "2027-03-27", "2026-10-03", "2026-06-01"])


@st.composite
def daily(draw: st.DrawFn) -> tuple[list[str], str, str]:
    start, end = draw(times), draw(times)
    if start == end:
        end = "24:00" if start != "00:00" else "12:00"
    return draw(st.lists(weekdays, min_size=1, unique=True)), start, end


@settings(max_examples=tries(10, 25), deadline=None)
@given(st.lists(daily(), min_size=1, max_size=3), zones, starts)
@example([(["sun"], "02:30", "02:45")], BERLIN, "2026-10-24")
def test_it_is_in_force_whenever_the_clock_shows_a_time_in_a_window(
    windows: list[tuple[list[str], str, str]], zone: str, day: str
) -> None:
    """By the clock, minute by minute. Only around a change of the clock may it last longer."""
    found = calendar(
        *(f'days = {days}\nstart = "{s}"\nend = "{e}"' for days, s, e in windows), zone=zone
    )
    info, now = ZoneInfo(zone), at(f"{day}T00:00Z")
    for _ in range(3 * 24 * 4):
        local = datetime.fromtimestamp(now, UTC).astimezone(info)
        frozen = found.frozen(now)
        if any(_shows(local, *window) for window in windows):
            assert frozen is not None
        elif frozen is not None:
            assert _changes_near(now, info)
        if frozen is not None and frozen.until is not None:
            assert found.frozen(frozen.until) is None
            assert found.frozen(frozen.until - 60) is not None
        now += 15 * 60


def _shows(local: datetime, days: list[str], start: str, end: str) -> bool:
    clock = f"{local:%H:%M}"
    today, before = (f"{local - timedelta(days=back):%a}".lower() in days for back in (0, 1))
    if start < end:
        return today and start <= clock < end
    return (today and clock >= start) or (before and clock < end)


def _changes_near(now: float, zone: ZoneInfo) -> bool:
    """Whether the zone's offset changes within an hour."""
    offsets = {
        datetime.fromtimestamp(now + hours * 3_600, UTC).astimezone(zone).utcoffset()
        for hours in (-1, 0, 1)
    }
    return len(offsets) > 1
