"""Counts of people: one local day of an organisation, and the sums of days that make its windows."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add

from pipeline.domain.codes import CHARACTERISTICS
from pipeline.domain.records import Contribution, StageCount
from pipeline.domain.state import DayCounts
from pipeline.domain.windows import WINDOW_LENGTHS

DAYS_KEPT = 400
"""Days whose counts stay in the agent's state: the longest window and the delay after which applications leave."""

CellKey = tuple[str, str]
"""(cell, group): the cell is kind, name and outcome joined by ``/``; the group is empty for everybody."""

Cells = dict[CellKey, int]

_PREFIXES = tuple(f"{number}:" for number in range(len(CHARACTERISTICS)))


def labels_of(groups: Sequence[str]) -> list[str]:
    """Return the groups under which a person with these nine is counted: everybody first."""
    return ["", *map(add, _PREFIXES, groups)]


def cells_of(contribution: Contribution, labels: Iterable[str]) -> list[CellKey]:
    """Return every cell that a contribution counts in.

    >>> arrival = Contribution("arrival", "applied", "", day=3, entry_day=3, at=0)
    >>> cells_of(arrival, labels_of(("nhs_disability:yes",)))
    [('arrival/applied/', ''), ('arrival/applied/', '0:nhs_disability:yes')]
    """
    cell = f"{contribution.kind}/{contribution.name}/{contribution.outcome}"
    return [(cell, label) for label in labels]


def add_people(total: Cells, keys: Iterable[CellKey], sign: int) -> None:
    """Count one person more (or, with -1, less) in cells, in place; cells that became zero are forgotten."""
    for key in keys:
        count = total.get(key, 0) + sign
        if count:
            total[key] = count
        else:
            total.pop(key, None)


def add_cells(total: Cells, delta: Mapping[CellKey, int], sign: int = 1) -> None:
    """Add ``delta`` to ``total`` in place and forget cells that became zero."""
    for key, count in delta.items():
        new = total.get(key, 0) + sign * count
        if new:
            total[key] = new
        else:
            total.pop(key, None)


def to_state(cells: Cells) -> DayCounts:
    """Return the stored form of a day's cells: sorted, so that equal counts are equal bytes."""
    names: list[str] = []
    sizes: list[int] = []
    ordered = sorted(cells)
    for name, _ in ordered:
        if names and names[-1] == name:
            sizes[-1] += 1
        else:
            names.append(name)
            sizes.append(1)
    return DayCounts(names, sizes, [group for _, group in ordered], [cells[key] for key in ordered])


def from_state(state: DayCounts) -> Cells:
    """Return the cells of a stored day."""
    cells: Cells = {}
    position = 0
    for name, size in zip(state.cells, state.sizes, strict=True):
        for at in range(position, position + size):
            cells[name, state.groups[at]] = state.counts[at]
        position += size
    return cells


def stage_counts(cells: Mapping[CellKey, int]) -> list[StageCount]:
    """Return cells as published: one row a cell, characteristic and group, in a fixed order."""
    rows = []
    for cell, group in sorted(cells):
        kind, name, outcome = cell.split("/")
        characteristic = CHARACTERISTICS[int(group[0])] if group else None
        rows.append(StageCount(kind, name, outcome, characteristic, group[2:] or None, cells[cell, group]))
    return rows


class WindowSums:
    """Sums over 1, 7, 28, 91 and 365 local days that end with one day; kept up to date count by count.

    It is derived from the day counts alone: it may be dropped at any moment and built again.
    """

    __slots__ = ("end_day", "sums")

    def __init__(self, end_day: int, cells_of_day: Callable[[int], Mapping[CellKey, int]], days: Iterable[int]) -> None:
        """Sum the given days, as far as they lie in a window that ends before ``end_day``."""
        self.end_day = end_day
        self.sums: dict[int, Cells] = {length: {} for length in WINDOW_LENGTHS}
        for day in days:
            if end_day - WINDOW_LENGTHS[-1] <= day < end_day:
                for length, cells in self.sums.items():
                    if end_day - length <= day:
                        add_cells(cells, cells_of_day(day))

    def add_people(self, day: int, keys: Iterable[CellKey], sign: int) -> None:
        """Count one person more or less on a day, in every window that holds it."""
        if day < self.end_day:
            for length, cells in self.sums.items():
                if self.end_day - length <= day:
                    add_people(cells, keys, sign)

    def advance(self, end_day: int, cells_of_day: Callable[[int], Mapping[CellKey, int]]) -> None:
        """Move the windows so that they end before ``end_day``: days come in at one end and leave at the other."""
        for length, cells in self.sums.items():
            old, new = range(self.end_day - length, self.end_day), range(end_day - length, end_day)
            for day in old:
                if day not in new:
                    add_cells(cells, cells_of_day(day), -1)
            for day in new:
                if day not in old:
                    add_cells(cells, cells_of_day(day))
        self.end_day = end_day
