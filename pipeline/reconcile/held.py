"""What reconcile compares: the archived input, and everything that history and the agents hold because of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from pipeline.codec import Codec, Decoded
from pipeline.domain.records import Tick
from pipeline.reconcile.recount import Cell, InputRecord
from pipeline.topics import EVENTS

_ALL_DEAD_LETTERS: Final = 2**31 - 1


class HistoryReader(Protocol):
    """What is asked of history: named queries and the archived input."""

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """Return the rows of a named query."""

    def inputs(self, until: Mapping[int, int] | None = None) -> Iterator[Any]:
        """Yield the archived input by (partition, offset), up to an offset per partition."""


class AgentDay(NamedTuple):
    """Counts of one organisation and local day in the agents' state.

    ``cells`` holds people by (kind, name, outcome, characteristic, group); the last two are None for everybody.
    """

    organisation: str
    day: int
    cells: "Mapping[CellKey, int]"


CellKey = tuple[str, str, str, str | None, str | None]
"""A cell without organisation and day: kind, name, outcome, characteristic, group."""


class Window(NamedTuple):
    """A published window: its days, and the input offset after which its counts hold."""

    organisation: str
    window_days: int
    start_day: int
    end_day: int
    offset: int


@dataclass(frozen=True, slots=True)
class Held:
    """Everything that history and the agents hold.

    Attributes:
        history: Net transitions by cell.
        agents: The agents' day counts.
        published: Cells of each published window.
        dead_letters: Reason by source partition and offset.
    """

    history: dict[Cell, int]
    agents: tuple[AgentDay, ...]
    published: dict[Window, dict[CellKey, int]]
    dead_letters: dict[tuple[int, int], str]


def read_held(reader: HistoryReader, agent_days: Iterable[AgentDay]) -> Held:
    """Read all of it at once; the caller makes sure that nothing changed meanwhile."""
    return Held(
        history={Cell(*(row[key] for key in Cell._fields)): row["people"] for row in reader.query("day_cells")},
        agents=tuple(agent_days),
        published=_read_windows(reader),
        dead_letters={
            (row["partition"], row["offset"]): row["reason"]
            for row in reader.query("dead_letters", limit=_ALL_DEAD_LETTERS)
            if row["topic"] == EVENTS
        },
    )


def _read_windows(reader: HistoryReader) -> dict[Window, dict[CellKey, int]]:
    """Read the windows and their cells, again if a tick published others in between."""
    while True:
        before = reader.query("stage_windows")
        counts = reader.query("stage_counts")
        if reader.query("stage_windows") == before:
            break
    windows = {
        (row["organisation"], row["window_days"]): Window(*(row[key] for key in Window._fields)) for row in before
    }
    published: dict[Window, dict[CellKey, int]] = {window: {} for window in windows.values()}
    for row in counts:
        cells = published[windows[row["organisation"], row["window_days"]]]
        cells[row["kind"], row["name"], row["outcome"], row["characteristic"], row["group"]] = row["people"]
    return published


class Archive:
    """The archived input before the fixed ends; notes meanwhile what came after them, and gaps.

    Attributes:
        first: First archived offset of each partition.
        has_only_ticks_after: Whether nothing but ticks came after the ends.
        gaps: Offsets that are missing, in words.
    """

    def __init__(self, records: Iterable[InputRecord], ends: Mapping[int, int], codec: Codec) -> None:
        self._records = records
        self._ends = ends
        self._codec = codec
        self.first: dict[int, int] = {}
        self.has_only_ticks_after = True
        self.gaps: list[str] = []

    def __iter__(self) -> Iterator[InputRecord]:
        reached: dict[int, int] = {}
        for one in self._records:
            expected = reached.get(one.partition, one.offset)
            self.first.setdefault(one.partition, one.offset)
            if one.offset != expected:
                self.gaps.append(_gap(one.partition, expected, one.offset))
            reached[one.partition] = one.offset + 1
            if one.offset < self._ends.get(one.partition, 0):
                yield one
            elif not self._is_tick(one.value):
                self.has_only_ticks_after = False
        for partition, end in self._ends.items():
            if reached.get(partition, 0) < end:
                self.gaps.append(_gap(partition, reached.get(partition, 0), end))

    def unarchived(self) -> list[str]:
        """Return in words which partitions are no longer archived from their beginning."""
        return [
            f"organisations of partition {partition}: the archive begins at offset {first}, what came before is no "
            "longer kept"
            for partition, first in sorted(self.first.items())
            if first > 0
        ]

    def _is_tick(self, value: bytes | None) -> bool:
        decoded = self._codec.decode(value)
        return isinstance(decoded, Decoded) and isinstance(decoded.record, Tick)


def _gap(partition: int, expected: int, found: int) -> str:
    return f"archive: partition {partition}: expected offset {expected} next, found {found}"
