"""The period of a board: ``from`` and ``to`` as Grafana sends them, or as dates, turned into what a view binds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from pipeline.domain.windows import LocalDays, TimeOutOfRangeError, date_to_day
from sinks.errors import HistoryQueryError

DEFAULT_DAYS: Final = 28
"""What a board shows when it is not asked for a period: four whole weeks."""

_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open period: what the SQL binds, and what the answer shows (epoch milliseconds)."""

    bound: Mapping[str, int]
    shown: Mapping[str, int]


def read_period(kind: str, given: dict[str, Any], days: LocalDays, now: int) -> Period | None:
    """Take ``from`` and ``to`` out of the parameters of a request.

    Args:
        kind: What the view declares: ``days`` (whole local days), ``instants`` or ``none``.
        given: Parameters of the request; ``from`` and ``to`` are removed.
        days: The zone whose days are counted.
        now: End of the period when none is given.

    Returns:
        The period, or None for a view without one, which takes ``from`` and ``to`` for the state of now and ignores
        them: every panel of a board sends both.

    Raises:
        HistoryQueryError: a time cannot be read, or the period is empty.

    Examples:
        >>> period = read_period("days", {"from": "2024-03-30", "to": "2024-04-01"}, LocalDays("Europe/London"), 0)
        >>> period.bound, period.shown
        ({'from_day': 19812, 'to_day': 19814}, {'from': 1711756800000, 'to': 1711926000000})
    """
    end = _instant("to", given.pop("to", None), days, now)
    start = _instant("from", given.pop("from", None), days, end - DEFAULT_DAYS * _DAY_MS)
    if kind == "none":
        return None
    if start >= end:
        raise HistoryQueryError(f"parameters from and to: expected from before to, found {start} and {end}")
    if kind == "instants":
        return Period({"from_ms": start, "to_ms": end}, {"from": start, "to": end})
    from_day, to_day = days.day_of(start), days.day_of(end - 1) + 1
    shown = {"from": days.start_of_day(from_day), "to": days.start_of_day(to_day)}
    return Period({"from_day": from_day, "to_day": to_day}, shown)


def _instant(name: str, text: str | None, days: LocalDays, default: int) -> int:
    if not text:
        return default
    try:
        if "-" in text[1:]:
            return days.start_of_day(date_to_day(date.fromisoformat(text)))
        instant = int(text)
        days.day_of(instant)
    except (ValueError, TimeOutOfRangeError):
        raise HistoryQueryError(
            f"parameter {name}: expected epoch milliseconds or a date such as 2024-04-01, found {text!r}"
        ) from None
    return instant
