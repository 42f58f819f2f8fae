"""Claims about local days, windows and calendar periods."""

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.windows import (
    HOUR_MS,
    WINDOW_LENGTHS,
    LocalDays,
    TimeOutOfRangeError,
    UnknownTimezoneError,
    date_to_day,
    day_to_date,
    month_of,
    months_in,
    quarter_of,
    window_days,
    wres_year_of,
)

DAY_MS = 86_400_000
LONDON = LocalDays("Europe/London")
ZONES = [
    "Europe/London",
    "UTC",
    "Asia/Kolkata",
    "America/St_Johns",  # fell back at one minute past midnight until 2011
    "America/Sao_Paulo",  # sprang forward at midnight until 2018
    "Australia/Lord_Howe",  # half an hour of summer time
    "Pacific/Apia",  # skipped 30 December 2011
]


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def local_date(zone: str, at_ms: int) -> date:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).astimezone(ZoneInfo(zone)).date()


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2024-01-15T23:59:59.999", "2024-01-15"),  # winter: local time is UTC
        ("2024-07-01T22:59:59.999", "2024-07-01"),
        ("2024-07-01T23:00:00", "2024-07-02"),  # summer: midnight is 23:00 UTC
        ("2024-03-30T23:30:00", "2024-03-30"),  # the evening before the clocks go forward
        ("2024-03-31T23:00:00", "2024-04-01"),
        ("2024-10-26T23:00:00", "2024-10-27"),  # the night the clocks go back
        ("2024-10-27T23:00:00", "2024-10-27"),
        ("2024-10-28T00:00:00", "2024-10-28"),
        ("1970-01-01T00:00:00", "1970-01-01"),  # British Standard Time: one hour ahead all year, 1968 to 1971
        ("1969-12-31T23:00:00", "1970-01-01"),
        ("1969-12-31T22:59:59.999", "1969-12-31"),
        ("1971-12-31T23:30:00", "1971-12-31"),  # back on Greenwich time since October 1971
    ],
)
def test_a_london_day_follows_the_wall_clock(at: str, day: str) -> None:
    assert day_to_date(LONDON.day_of(ms(at))) == date.fromisoformat(day)


@pytest.mark.parametrize("zone", ZONES)
@given(at=st.integers(min_value=-2_000_000_000_000, max_value=4_000_000_000_000))
def test_the_remembered_day_is_that_of_the_calendar_in_every_zone(zone: str, at: int) -> None:
    days = LocalDays(zone)
    for moment in (at, at + 1, at - at % HOUR_MS, at):  # asked cold, in a remembered hour, and at its edge
        assert day_to_date(days.day_of(moment)) == local_date(zone, moment)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("year", [1968, 1987, 2011, 2018, 2024])
def test_every_minute_near_a_clock_change_is_on_the_right_day(zone: str, year: int) -> None:
    days = LocalDays(zone)
    moment, offset = datetime(year, 1, 1, tzinfo=UTC), None
    changes = []
    for hour in range(8784):
        now = (moment + timedelta(hours=hour)).astimezone(ZoneInfo(zone)).utcoffset()
        if offset is not None and now != offset:
            changes.append(int((moment + timedelta(hours=hour)).timestamp()) * 1000)
        offset = now
    for change in changes:
        for minute in range(-300, 120):
            at = change + minute * 60_000
            assert day_to_date(days.day_of(at)) == local_date(zone, at)


@pytest.mark.parametrize("zone", ZONES)
@given(day=st.integers(min_value=-20_000, max_value=40_000))
def test_a_day_starts_at_its_first_millisecond(zone: str, day: int) -> None:
    days = LocalDays(zone)
    start = days.start_of_day(day)
    assert days.day_of(start) >= day
    assert days.day_of(start - 1) < day


def test_a_day_starts_at_23_utc_in_summer_and_lasts_23_or_25_hours_when_the_clocks_change() -> None:
    spring, autumn = date_to_day(date(2024, 3, 31)), date_to_day(date(2024, 10, 27))
    assert LONDON.start_of_day(date_to_day(date(2024, 7, 2))) == ms("2024-07-01T23:00:00")
    assert LONDON.start_of_day(spring + 1) - LONDON.start_of_day(spring) == 23 * HOUR_MS
    assert LONDON.start_of_day(autumn + 1) - LONDON.start_of_day(autumn) == 25 * HOUR_MS


def test_a_day_without_midnight_starts_after_the_jump() -> None:
    sao_paulo = LocalDays("America/Sao_Paulo")
    assert sao_paulo.start_of_day(date_to_day(date(2018, 11, 4))) == ms("2018-11-04T03:00:00")


def test_a_skipped_day_is_empty() -> None:
    apia, skipped = LocalDays("Pacific/Apia"), date_to_day(date(2011, 12, 30))
    assert apia.start_of_day(skipped) == apia.start_of_day(skipped + 1)


def test_the_memory_of_hours_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.domain.windows._CACHED_HOURS", 10)
    days = LocalDays("UTC")
    assert [days.day_of(hour * HOUR_MS) for hour in range(48)] == [0] * 24 + [1] * 24
    assert len(days._hours) <= 10


@pytest.mark.parametrize("name", ["Europe/Londn", "", "../etc", "Europe"])
def test_a_zone_that_does_not_exist_names_the_setting(name: str) -> None:
    with pytest.raises(UnknownTimezoneError, match="PARITYFLOW_TIMEZONE"):
        LocalDays(name)


@pytest.mark.parametrize("at", [10**18, -(10**18)])
def test_an_instant_outside_the_calendar_is_a_terminal_error(at: int) -> None:
    with pytest.raises(TimeOutOfRangeError, match="between the years 1 and 9999"):
        LONDON.day_of(at)
    with pytest.raises(TimeOutOfRangeError):
        day_to_date(at)


@given(day=st.integers(min_value=-700_000, max_value=2_900_000))
def test_days_and_dates_are_the_same_thing(day: int) -> None:
    assert date_to_day(day_to_date(day)) == day


@pytest.mark.parametrize("length", WINDOW_LENGTHS)
def test_a_window_is_half_open_and_has_its_length(length: int) -> None:
    days = window_days(19_814, length)
    assert len(days) == length
    assert 19_813 in days
    assert 19_814 not in days


@given(day=st.integers(min_value=-20_000, max_value=40_000))
def test_a_month_lies_within_its_quarter_within_its_reporting_year(day: int) -> None:
    month, quarter, year = month_of(day), quarter_of(day), wres_year_of(day)
    assert year.start_day <= quarter.start_day <= month.start_day <= day
    assert day < month.end_day <= quarter.end_day <= year.end_day
    months = list(months_in(year.start_day, year.end_day))
    assert len(months) == 12
    assert months[0].start_day == year.start_day
    assert all(a.end_day == b.start_day for a, b in itertools.pairwise(months))
    assert months[-1].end_day == year.end_day


def test_the_reporting_year_is_april_to_march() -> None:
    year = wres_year_of(date_to_day(date(2024, 2, 29)))
    assert (year.name, day_to_date(year.start_day), day_to_date(year.end_day)) == (
        "2023-24",
        date(2023, 4, 1),
        date(2024, 4, 1),
    )
    assert wres_year_of(date_to_day(date(2099, 12, 1))).name == "2099-00"


def test_only_whole_months_are_months_of_an_interval() -> None:
    start, end = date_to_day(date(2024, 1, 2)), date_to_day(date(2024, 4, 15))
    assert [month.name for month in months_in(start, end)] == ["2024-02", "2024-03"]
