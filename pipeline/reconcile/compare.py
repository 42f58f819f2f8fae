"""Comparing what is held with what follows from the input, number by number, with every difference in words."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from pipeline.domain.windows import day_to_date
from pipeline.reconcile.held import CellKey, Held, Window
from pipeline.reconcile.recount import Cell, Recount

SHOWN_DIFFERENCES: Final = 20
"""Differences put into words; a wrong rule makes thousands of the same."""

CellsAt = dict[tuple[str, int], dict[Cell, int]]
"""Cells of an organisation after an input offset."""

_Key = TypeVar("_Key")


@dataclass(slots=True)
class Comparison:
    """Numbers compared so far."""

    is_recountable: Callable[[str], bool]
    compared: Counter[str] = field(default_factory=Counter)
    differences: int = 0
    shown: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def compare(
        self,
        place: str,
        expected: Mapping[_Key, Any],
        found: Mapping[_Key, Any],
        words: Callable[[_Key], str],
        absent: Any = 0,
    ) -> None:
        """Compare two mappings key by key; what only one of them has is ``absent`` in the other."""
        keys = expected.keys() | found.keys()
        self.compared[place] += len(keys)
        wrong = [key for key in keys if expected.get(key, absent) != found.get(key, absent)]
        for key in sorted(wrong, key=words):
            was, had = expected.get(key, absent), found.get(key, absent)
            self.differ(f"{place}: {words(key)}: expected {was}, found {had}")

    def differ(self, words: str) -> None:
        """Record a difference."""
        self.differences += 1
        if len(self.shown) < SHOWN_DIFFERENCES:
            self.shown.append(words)

    def only_recountable(self, cells: Mapping[Cell, int]) -> dict[Cell, int]:
        """Return the cells of organisations whose whole input is archived."""
        return {cell: people for cell, people in cells.items() if self.is_recountable(cell.organisation)}


def compare_history(comparison: Comparison, expected: Recount, held: Held) -> None:
    """Compare every count that the transitions in history add up to."""
    wanted, found = (comparison.only_recountable(cells) for cells in (expected.cells, held.history))
    comparison.compare("history", wanted, found, _cell_words)


def compare_agents(
    comparison: Comparison, expected: Recount, held: Held, keep_from: Callable[[str], int] | None
) -> None:
    """Compare every cell of the days that the agents still hold.

    Args:
        comparison: Takes the result.
        expected: What follows from the input.
        held: What the agents hold.
        keep_from: Gives the first day still held of an organisation; when left out, the first that is found.
    """
    first: dict[str, int] = {}
    found: dict[Cell, int] = {}
    for organisation, day, cells in held.agents:
        first[organisation] = min(day, first.get(organisation, day))
        found.update({Cell(organisation, day, *key): people for key, people in cells.items() if people})
    wanted: dict[Cell, int] = {}
    older: set[tuple[str, int]] = set()
    for cell, people in expected.cells.items():
        name = cell.organisation
        kept_from = keep_from(name) if keep_from is not None else first.get(name, cell.day)
        if cell.day >= kept_from:
            wanted[cell] = people
        else:
            older.add((name, cell.day))
    wanted, found = (comparison.only_recountable(cells) for cells in (wanted, found))
    comparison.compare("agents", wanted, found, _cell_words)
    if older:
        comparison.unchecked.append(f"{len(older)} days in the agents' state: older than what they keep")


def compare_published(
    comparison: Comparison,
    expected: Recount,
    held: Held,
    as_of: Callable[[Collection[tuple[str, int]]], CellsAt],
) -> None:
    """Compare every published window with its days as they stood at the record it was published after.

    Args:
        comparison: Takes the result.
        expected: What follows from the whole input.
        held: The windows.
        as_of: Counts organisations again at earlier offsets; asked only where something came later.
    """
    windows = {w: cells for w, cells in held.published.items() if comparison.is_recountable(w.organisation)}
    earlier = {(w.organisation, w.offset) for w in windows if w.offset < expected.last_offsets.get(w.organisation, -1)}
    cells_at = as_of(sorted(earlier)) if earlier else {}
    by_organisation: dict[str, dict[Cell, int]] = {}
    for cell, people in expected.cells.items():
        by_organisation.setdefault(cell.organisation, {})[cell] = people
    comparison.compared["published"] += 0
    for window, found in windows.items():
        now = by_organisation.get(window.organisation, {})
        cells = cells_at.get((window.organisation, window.offset), now)
        wanted: Counter[CellKey] = Counter()
        for cell, people in cells.items():
            if window.start_day <= cell.day < window.end_day:
                wanted[cell.kind, cell.name, cell.outcome, cell.characteristic, cell.group] += people
        comparison.compare("published", wanted, found, partial(_window_words, window))
    unpublished = by_organisation.keys() - {window.organisation for window in windows}
    unpublished = {name for name in unpublished if comparison.is_recountable(name)}
    if unpublished:
        comparison.unchecked.append(f"windows of {len(unpublished)} organisations: none is published yet")


def compare_dead_letters(comparison: Comparison, expected: Recount, held: Held, ends: Mapping[int, int]) -> None:
    """Compare place and reason of every input record that cannot be counted.

    Args:
        comparison: Takes the result.
        expected: What follows from the input.
        held: The dead letters in history.
        ends: The end of each partition to compare; later dead letters are of later input.
    """
    wanted = {(one.partition, one.offset): one.reason for one in expected.rejected if one.partition in ends}
    found = {place: reason for place, reason in held.dead_letters.items() if place[1] < ends.get(place[0], 0)}
    comparison.compare("dead letters", wanted, found, _place_words, absent="counted")


def _cell_words(cell: Cell) -> str:
    return f"{cell.organisation} {day_to_date(cell.day)} {_key_words(cell[2:])}"


def _window_words(window: Window, key: CellKey) -> str:
    days = f"{window.window_days} days before {day_to_date(window.end_day)}"
    return f"{window.organisation} {days} (as of offset {window.offset}) {_key_words(key)}"


def _place_words(place: tuple[int, int]) -> str:
    return f"partition {place[0]} offset {place[1]}"


def _key_words(key: tuple[Any, ...]) -> str:
    return " ".join(str(part) for part in key if part)
