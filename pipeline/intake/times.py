"""Times at the edge: ISO-8601 text or epoch milliseconds in, integer milliseconds inside.

A time without an offset is refused, not guessed: at the end of October one hour of local time happens twice,
and a day that is wrong by one moves a decision into another month. The message says how to write it.
"""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)

LOOKS_LIKE_SECONDS = 10_000_000_000
"""A whole number below this is 26 April 1970 or earlier as milliseconds: an export that wrote seconds."""

LAST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999, the end of ISO-8601 with four digits."""

EXPECTED = "an ISO-8601 time with an offset (2026-03-29T14:30:00Z, 2026-03-29T15:30:00+01:00) or epoch milliseconds"
EXPECTED_OFFSET = "a time with an offset: add Z for UTC or for example +01:00, a local time alone is ambiguous"
EXPECTED_MS = "epoch milliseconds: this number looks like seconds, multiply it by 1000"


def parse_ms(value: object) -> int | str:  # noqa: PLR0911 - one return an answer
    """Return the milliseconds of an ISO-8601 text or a whole number of milliseconds, else what was expected.

    Args:
        value: what JSON gave for the field.

    Returns:
        Milliseconds since 1970 in UTC, or a sentence that says what was expected.

    Example:
        >>> parse_ms("1970-01-02T01:00:00.250+01:00")
        86400250
        >>> parse_ms("2026-03-29T01:30:00").startswith("a time with an offset")
        True
    """
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return EXPECTED
        if moment.tzinfo is None:
            return EXPECTED_OFFSET
        try:
            since = moment - EPOCH
        except OverflowError:
            return EXPECTED
        return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < LOOKS_LIKE_SECONDS:
            return EXPECTED_MS
        return value if 0 <= value <= LAST_MS else EXPECTED
    return EXPECTED


def format_ms(ms: int) -> str:
    """Write milliseconds as ISO-8601 in UTC.

    Args:
        ms: milliseconds since 1970 in UTC, years 1 to 9999.

    Returns:
        For example ``2026-03-29T14:30:00.250Z``; whole seconds carry no fraction.

    Example:
        >>> format_ms(86_400_250)
        '1970-01-02T00:00:00.250Z'
    """
    moment = EPOCH + ms * _MS
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds")[:-6] + "Z"


def at(year: int, month: int, day: int, hour: int = 0) -> int:
    """Return the milliseconds of an hour of a day in UTC.

    Example:
        >>> at(1970, 1, 2)
        86400000
    """
    return (datetime(year, month, day, hour, tzinfo=UTC) - EPOCH) // _MS
