"""Reading the archive of inputs in order, without holding more than a page of it in memory."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

FIRST_PAGE: Final = 1_024
MAX_PAGE: Final = 8_192
PAGE_BYTES: Final = 8 * 1024 * 1024
"""A page that turned out larger makes the next one smaller: poison of 2 MB a record must not fill the memory."""

_BOUNDS: Final = 'SELECT partition, min("offset"), max("offset") + 1 FROM inputs GROUP BY partition ORDER BY partition'
_PAGE: Final = (
    'SELECT partition, "offset", append_ms, key, value FROM inputs '
    'WHERE partition = ? AND "offset" >= ? AND "offset" < ? ORDER BY "offset"'
)


class ArchivedInput(NamedTuple):
    """One record of the input log, as it was."""

    partition: int
    offset: int
    append_ms: int
    key: bytes | None
    value: bytes | None


def read_archive(cursor: Any, until: Mapping[int, int] | None = None) -> Iterator[list[ArchivedInput]]:
    """Yield the archive by pages, in the order of (partition, offset).

    Args:
        cursor: A cursor on the history file.
        until: Offset per partition before which to stop; the end of the archive when left out.
    """
    for partition, start, archived in cursor.execute(_BOUNDS).fetchall():
        end = archived if until is None else min(archived, until.get(partition, 0))
        size, begin = FIRST_PAGE, start
        while begin < end:
            stop = min(begin + size, end)
            page = [ArchivedInput(*row) for row in cursor.execute(_PAGE, [partition, begin, stop]).fetchall()]
            if page:
                yield page
            begin = stop
            size = _next_size(size, sum(len(record.value or b"") for record in page))


def _next_size(size: int, page_bytes: int) -> int:
    if page_bytes > PAGE_BYTES:
        return max(1, size // 4)
    return min(MAX_PAGE, size * 2) if page_bytes < PAGE_BYTES // 4 else size
