"""Times as JSON has them, and durations as people read them."""

from __future__ import annotations

import pytest

from dispatcher.model.times import epoch, is_rfc3339, known_time, parse_duration, rfc3339, took


def test_a_time_is_rfc_3339_in_utc_with_milliseconds() -> None:
    assert rfc3339(1_772_366_400.0625) == "2026-03-01T12:00:00.062Z"
    assert known_time(0.0) is None
    assert epoch("2026-03-01T12:00:00.062Z") == pytest.approx(1_772_366_400.062)


def test_what_vault_writes_is_read() -> None:
    assert rfc3339(epoch("2026-03-01T13:00:00.062599999+01:00")) == "2026-03-01T12:00:00.062Z"


def test_a_time_without_a_zone_is_none() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        epoch("2026-03-01T12:00:00")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 ms"),
        (0.0341, "34 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7_530, "2 h 5 min"),
    ],
)
def test_a_duration_is_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert took(seconds) == words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1.5s", 1.5), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("0s", 0)],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "10 m", "-5m", "30m1h", "1.5h", "\u0661m", "10mm"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    "text", ["9999-12-31T23:59:59-00:01", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+00:01"]
)
def test_a_time_in_a_year_that_utc_does_not_have_is_none(text: str) -> None:
    assert not is_rfc3339(text)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_whatever_is_a_time_can_be_written(text: str) -> None:
    assert is_rfc3339(text)
    assert rfc3339(epoch(text)) == text.replace("Z", ".000Z")
