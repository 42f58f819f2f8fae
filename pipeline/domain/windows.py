"""Local days, and the windows and calendar periods made of them.

Inside the project a day is an integer, days since 1970-01-01 on the wall clock of the configured zone, and an
interval of days is half-open. Decisions are dated by that wall clock: an offer made in London at half past
midnight in July belongs to the new day although it is still the old one in UTC.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.errors import TerminalError

WINDOW_LENGTHS: Final = (1, 7, 28, 91, 365)
"""Days of the rolling windows; from 7 to 91 whole weeks, so that no window holds one weekend more than the
next."""

HOUR_MS: Final = 3_600_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_MILLISECOND: Final = timedelta(milliseconds=1)
_CACHED_HOURS: Final = 100_000  # eleven years of hours: far above what is folded at a time, and 10 MB at most
_WRES_START_MONTH: Final = 4


class UnknownTimezoneError(TerminalError):
    """The configured time zone does not exist on this machine."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"expected an IANA time zone such as Europe/London, found {name!r}; change PARITYFLOW_TIMEZONE"
        )


class TimeOutOfRangeError(TerminalError):
    """A time or day that no calendar date between the years 1 and 9999 can express."""

    def __init__(self, value: int, unit: str) -> None:
        self.value = value
        self.unit = unit
        super().__init__(f"expected {unit} since 1970 between the years 1 and 9999, found {value}")


class Period(NamedTuple):
    """A calendar period of local days, ``[start_day, end_day)``, and the name it is published under."""

    kind: str
    name: str
    start_day: int
    end_day: int


def day_to_date(day: int) -> date:
    """Return the calendar date of a day number.

    Raises:
        TimeOutOfRangeError: If the day lies outside the years 1 to 9999.

    Examples:
        >>> day_to_date(0), day_to_date(-1)
        (datetime.date(1970, 1, 1), datetime.date(1969, 12, 31))
    """
    try:
        return date.fromordinal(day + _EPOCH_ORDINAL)
    except (ValueError, OverflowError) as error:
        raise TimeOutOfRangeError(day, "days") from error


def date_to_day(day: date) -> int:
    """Return the day number of a calendar date.

    Examples:
        >>> date_to_day(date(2024, 4, 1))
        19814
    """
    return day.toordinal() - _EPOCH_ORDINAL


class LocalDays:
    """The wall clock of one time zone: which local day an instant belongs to.

    ``day_of`` is called for every event, so the answer is remembered per UTC hour; an hour in which the day
    or the offset from UTC changes is never remembered and asked of the zone each time.
    """

    __slots__ = ("_hours", "_zone", "timezone")

    def __init__(self, timezone: str) -> None:
        try:
            self._zone = ZoneInfo(timezone)
        except (KeyError, ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
            raise UnknownTimezoneError(timezone) from error
        self.timezone = timezone
        self._hours: dict[int, int] = {}

    def day_of(self, ms: int) -> int:
        """Return the local day of an instant.

        Args:
            ms: Milliseconds since 1970 in UTC; may be negative.

        Raises:
            TimeOutOfRangeError: If the instant lies outside the years 1 to 9999.

        Examples:
            >>> london = LocalDays("Europe/London")
            >>> late_on_30_june = 1_719_788_400_000 - 1
            >>> [str(day_to_date(london.day_of(ms))) for ms in (late_on_30_june, late_on_30_june + 1)]
            ['2024-06-30', '2024-07-01']
        """
        day = self._hours.get(ms // HOUR_MS)
        return self._look_up(ms) if day is None else day

    def start_of_day(self, day: int) -> int:
        """Return the first instant of a local day in milliseconds since 1970 in UTC.

        Where clocks jump over midnight it is the instant after the jump; a day that a zone skipped altogether
        starts where the next one does and is empty.

        Raises:
            TimeOutOfRangeError: If the day lies outside the years 1 to 9999.
        """
        at = day_to_date(day)
        candidates = [
            _milliseconds(datetime(at.year, at.month, at.day, fold=fold, tzinfo=self._zone)) for fold in (0, 1)
        ]
        before, after = min(candidates), max(candidates)
        if self.day_of(before) == day:
            return before
        while before + 1 < after:  # midnight lies in a gap: find the jump
            middle = (before + after) // 2
            if self.day_of(middle) < day:
                before = middle
            else:
                after = middle
        return after

    def _look_up(self, ms: int) -> int:
        hour = ms // HOUR_MS
        first, last = self._local(hour * HOUR_MS), self._local(hour * HOUR_MS + HOUR_MS - 1)
        day = date_to_day(first)
        if first.utcoffset() == last.utcoffset() and day == date_to_day(last):
            if len(self._hours) >= _CACHED_HOURS:
                self._hours.clear()
            self._hours[hour] = day
            return day
        return date_to_day(self._local(ms))

    def _local(self, ms: int) -> datetime:
        try:
            return (_EPOCH + timedelta(milliseconds=ms)).astimezone(self._zone)
        except (OverflowError, ValueError) as error:
            raise TimeOutOfRangeError(ms, "milliseconds") from error


def window_days(end_day: int, length: int) -> range:
    """Return the days of the window of ``length`` days that ends before ``end_day``.

    Examples:
        >>> list(window_days(end_day=10, length=3))
        [7, 8, 9]
    """
    return range(end_day - length, end_day)


def month_of(day: int) -> Period:
    """Return the calendar month of a day.

    Examples:
        >>> month_of(date_to_day(date(2024, 2, 29))).name
        '2024-02'
    """
    at = day_to_date(day)
    return Period("month", f"{at:%Y-%m}", *_months(at.year, at.month, 1))


def quarter_of(day: int) -> Period:
    """Return the quarter of a day, named by calendar year; its months also are a quarter of the WRES year.

    Examples:
        >>> quarter_of(date_to_day(date(2024, 4, 1))).name
        '2024-Q2'
    """
    at = day_to_date(day)
    index = (at.month - 1) // 3
    return Period("quarter", f"{at.year:04}-Q{index + 1}", *_months(at.year, index * 3 + 1, 3))


def wres_year_of(day: int) -> Period:
    """Return the reporting year of a day, 1 April to 31 March.

    Source: NHS England, Workforce Race Equality Standard, technical guidance: indicators 2 to 4 are for the
    year to 31 March.

    Examples:
        >>> wres_year_of(date_to_day(date(2024, 3, 31))).name
        '2023-24'
    """
    at = day_to_date(day)
    start = at.year if at.month >= _WRES_START_MONTH else at.year - 1
    return Period("wres_year", f"{start:04}-{(start + 1) % 100:02}", *_months(start, _WRES_START_MONTH, 12))


def months_in(start_day: int, end_day: int) -> Iterator[Period]:
    """Yield every calendar month that lies completely in ``[start_day, end_day)``, in order."""
    month = month_of(start_day)
    if month.start_day < start_day:
        month = month_of(month.end_day)
    while month.end_day <= end_day:
        yield month
        month = month_of(month.end_day)


def _months(year: int, month: int, count: int) -> tuple[int, int]:
    end = month - 1 + count
    return date_to_day(date(year, month, 1)), date_to_day(date(year + end // 12, end % 12 + 1, 1))


def _milliseconds(at: datetime) -> int:
    return (at.astimezone(UTC) - _EPOCH) // _MILLISECOND
