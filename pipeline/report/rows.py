"""Groups of people beside a reference: the counts of a period and every figure that compares two of them.

The figures themselves are in ``pipeline.domain.ratios``; here people are added up by group and round, and a
comparison that has no meaning is left undefined.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.domain import ratios
from pipeline.domain.codes import GroupSelector
from pipeline.domain.ratios import Interval, Table


@dataclass(frozen=True, slots=True)
class RatioRow:
    """One group compared with the reference; the fields are the keys of the JSON, in its order.

    ``withdrew`` is null in return form, which drops nobody. A comparison is null where it is undefined.
    ``shortfall`` and ``mantel_haenszel_ratio`` are over rounds (vacancies); without any vacancy the latter is null
    and the former over the whole.
    """

    group: str
    selected: int
    not_selected: int
    withdrew: int | None
    rate: float | None
    impact_ratio: float | None = None
    inverse_ratio: float | None = None
    katz: Interval | None = None
    koopman: Interval | None = None
    risk_difference: float | None = None
    wald_cc: Interval | None = None
    newcombe: Interval | None = None
    fisher_p: float | None = None
    mantel_haenszel_ratio: float | None = None
    shortfall: float | None = None


@dataclass(slots=True)
class People:
    """People of some groups, altogether or in one round."""

    selected: int = 0
    not_selected: int = 0
    withdrew: int = 0


Counts = dict[str, dict[str | None, People]]
"""People by group and round; the round is the vacancy, or None where there is none."""


def decided_people(rows: Iterable[Mapping[str, Any]]) -> Counts:
    """Collect people by outcome; void ones were not decided and are in no column."""
    counts: Counts = {}
    for row in rows:
        people = counts.setdefault(row["group"], {}).setdefault(row["vacancy_id"], People())
        if row["outcome"] == "selected":
            people.selected += row["people"]
        elif row["outcome"] == "not_selected":
            people.not_selected += row["people"]
        elif row["outcome"] == "withdrew":
            people.withdrew += row["people"]
    return counts


def arrived_people(entered: Iterable[Mapping[str, Any]], reached: Iterable[Mapping[str, Any]]) -> Counts:
    """Collect arrivals; in a short period more people may reach a stage than enter the one before it."""
    counts: Counts = {}
    for row in entered:
        people = counts.setdefault(row["group"], {}).setdefault(row["vacancy_id"], People())
        people.not_selected += row["people"]
    for row in reached:
        people = counts.setdefault(row["group"], {}).setdefault(row["vacancy_id"], People())
        people.selected += row["people"]
        people.not_selected -= row["people"]
    return counts


def compare(selector: GroupSelector, reference: GroupSelector, counts: Counts, *, is_return: bool) -> RatioRow:
    """Return the row of a group: its people, and how they fared beside the reference.

    A pooled reference leaves the group itself out: nobody is compared with themselves.
    """
    people = _total(counts, selector.groups)
    row = RatioRow(
        group=selector.name,
        selected=people.selected,
        not_selected=people.not_selected,
        withdrew=None if is_return else people.withdrew,
        rate=ratios.rate(people.selected, people.not_selected),
    )
    if selector.groups == reference.groups:
        return replace(row, **_with_itself(row.rate))
    return replace(row, **_compared(counts, selector.groups, reference.groups - selector.groups))


def _with_itself(rate: float | None) -> dict[str, Any]:
    """Return what is certain of the reference beside itself; chance has no part in it, so no interval."""
    if not rate:
        return {}
    return {"impact_ratio": 1.0, "inverse_ratio": 1.0, "risk_difference": 0.0}


def _compared(counts: Counts, focal: Collection[str], reference: Collection[str]) -> dict[str, Any]:
    theirs, others = _total(counts, focal), _total(counts, reference)
    if min(theirs.not_selected, others.not_selected) < 0:
        return _rates_only(theirs, others)
    table = _table(theirs, others)
    rounds = _rounds(counts, focal, reference)
    pooled = ratios.mantel_haenszel_ratio(rounds) if rounds else None
    both = bool(table.focal and table.reference)
    return {
        "impact_ratio": ratios.impact_ratio(table),
        "inverse_ratio": ratios.inverse_ratio(table),
        "katz": ratios.katz(table),
        "koopman": ratios.koopman(table),
        "risk_difference": ratios.risk_difference(table),
        "wald_cc": ratios.wald_with_correction(table),
        "newcombe": ratios.newcombe(table),
        "fisher_p": ratios.fisher_p(table) if both else None,
        "mantel_haenszel_ratio": pooled.ratio if pooled else None,
        "shortfall": ratios.shortfall(rounds or [table]),
    }


def _rates_only(focal: People, reference: People) -> dict[str, Any]:
    """Compare rates that may exceed 1 (return form of a short period); no interval describes them."""
    rates = [ratios.rate(people.selected, people.not_selected) for people in (focal, reference)]
    theirs, others = rates
    if theirs is None or others is None:
        return {}
    return {
        "impact_ratio": theirs / others if others else None,
        "inverse_ratio": others / theirs if theirs else None,
        "risk_difference": theirs - others,
    }


def _rounds(counts: Counts, focal: Collection[str], reference: Collection[str]) -> list[Table]:
    """Return the table of each vacancy; none at all if one cannot be a table (return form, short period)."""
    vacancies = {v for group in (*focal, *reference) for v in counts.get(group, {}) if v is not None}
    tables = []
    for vacancy in sorted(vacancies):
        theirs, others = (_in_round(counts, groups, vacancy) for groups in (focal, reference))
        if min(theirs.not_selected, others.not_selected) < 0:
            return []
        tables.append(_table(theirs, others))
    return tables


def _table(focal: People, reference: People) -> Table:
    return Table(focal.selected, focal.not_selected, reference.selected, reference.not_selected)


def _in_round(counts: Counts, groups: Iterable[str], vacancy: str) -> People:
    return _sum(people for group in groups if (people := counts.get(group, {}).get(vacancy)) is not None)


def _total(counts: Counts, groups: Iterable[str]) -> People:
    return _sum(people for group in groups for people in counts.get(group, {}).values())


def _sum(parts: Iterable[People]) -> People:
    total = People()
    for part in parts:
        total.selected += part.selected
        total.not_selected += part.not_selected
        total.withdrew += part.withdrew
    return total
