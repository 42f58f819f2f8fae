"""``parityflow report ratios``: exact selection ratios of one organisation, step and characteristic.

It reads history where the data lives and shows true numbers, so it is for authorised people on that machine; what may
be shown to anybody else passes disclosure control first. Decision form counts who was decided in the period; return
form (the statutory WRES and WDES figure) compares arrivals at two stages in the period and drops nobody.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, Final, Protocol

from pipeline.domain.codes import CodeLists, GroupSelector, is_unknown
from pipeline.domain.windows import day_to_date
from pipeline.errors import TerminalError
from pipeline.report.rows import Counts, RatioRow, arrived_people, compare, decided_people

NOTICE: Final = (
    "These figures are exact and not disclosure-controlled: for authorised use on this machine only, not for sharing."
)
FORMS: Final = ("decision", "return")
POPULATIONS: Final = ("all", "core", "bank")
STAGES: Final = ("applied", "longlisted", "shortlisted", "interviewed", "offered", "accepted", "started")
STEPS: Final[Mapping[str, tuple[str, str]]] = {
    "longlisting": ("applied", "longlisted"),
    "shortlisting": ("applied", "shortlisted"),
    "interview": ("shortlisted", "offered"),
    "offer": ("offered", "accepted"),
    "appointment": ("shortlisted", "accepted"),
    "onboarding": ("accepted", "started"),
    "overall": ("applied", "accepted"),
}
STATUTORY: Final[Mapping[str, tuple[str, str]]] = {
    "wres2": STEPS["appointment"],
    "wdes2": STEPS["appointment"],
}
"""Returns by name. **Source:** NHS England, WRES technical guidance, indicator 2; WDES, metric 2 (2023): relative
likelihood of appointment from shortlisting, over everybody who arrived there in the year."""


class HistoryQueries(Protocol):
    """Whatever answers history's named queries: the file itself, or its owner's socket."""

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """Return the rows of a named query."""


class UnknownStepError(TerminalError):
    """A word that names no step."""

    def __init__(self, step: str) -> None:
        self.step = step
        super().__init__(
            f"expected a step ({', '.join((*STEPS, *STATUTORY))}) or two stages in return form such as "
            f"applied-offered, found {step!r}"
        )


class UnknownChoiceError(TerminalError):
    """A word that is none of those an option accepts."""

    def __init__(self, option: str, found: str, accepted: Sequence[str]) -> None:
        self.option = option
        self.found = found
        super().__init__(f"expected --{option} to be one of {', '.join(accepted)}, found {found!r}")


class DecisionFormOnlyInReturnError(TerminalError):
    """A statutory return, or two free stages, asked for in decision form."""

    def __init__(self, step: str) -> None:
        self.step = step
        super().__init__(f"{step} compares arrivals: expected --form return, found decision")


@dataclass(frozen=True, slots=True)
class RatiosReport:
    """All groups of one organisation, step and characteristic, each compared with the same reference."""

    organisation: str
    step: str
    form: str
    characteristic: str
    reference: str
    from_date: date | None
    to_date: date | None
    rows: tuple[RatioRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON: intervals as [low, high], dates in ISO form, undefined as null."""
        rows = []
        for row in self.rows:
            fields = asdict(row)
            rows.append({k: list(v) if isinstance(v, tuple) else v for k, v in fields.items()})
        return {
            "organisation": self.organisation,
            "step": self.step,
            "form": self.form,
            "characteristic": self.characteristic,
            "reference": self.reference,
            "from": self.from_date.isoformat() if self.from_date else None,
            "to": self.to_date.isoformat() if self.to_date else None,
            "rows": rows,
        }


def report_ratios(
    reader: HistoryQueries,
    *,
    organisation: str,
    step: str,
    characteristic: str,
    reference: str,
    code_lists: CodeLists,
    form: str | None = None,
    population: str = "all",
    from_day: int | None = None,
    to_day: int | None = None,
    groups: Collection[str] = (),
) -> RatiosReport:
    """Compare every group with the reference.

    Args:
        reader: Answers history's queries.
        organisation: Employer.
        step: A step, ``wres2`` or ``wdes2``, or two stages such as ``applied-offered`` (return form).
        characteristic: Protected characteristic to part people by.
        reference: Group or pooled group to compare with, in any word that ``resolve_group`` takes.
        code_lists: Give the words and pooled groups.
        form: ``decision`` or ``return``; the step's own when left out.
        population: ``all``, ``core`` or ``bank``.
        from_day: First local day, from the beginning when left out.
        to_day: First local day after the period, up to the end when left out.
        groups: Further groups to show, pooled ones such as ``BME`` included.

    Returns:
        A row for each group that has people, for the reference, for pooled groups of the reference's kind, for the
        groups asked for, and for each kind of unknown answer.

    Raises:
        TerminalError: A word names no step, form, population, characteristic or group.
    """
    form = _form(step, form)
    if population not in POPULATIONS:
        raise UnknownChoiceError("population", population, POPULATIONS)
    compared_with = code_lists.resolve_group(characteristic, reference)
    asked = [code_lists.resolve_group(characteristic, word) for word in groups]
    parameters: dict[str, Any] = {
        "organisation": [organisation],
        "characteristic": characteristic,
        "population": population,
        "from_day": from_day,
        "to_day": to_day,
    }
    if form == "decision":
        counts = decided_people(reader.query("step_outcomes", step=step, **parameters))
    else:
        entered, reached = (reader.query("stage_arrivals", stage=stage, **parameters) for stage in _stages(step))
        counts = arrived_people(entered, reached)
    shown = _selectors(code_lists, characteristic, counts, compared_with, asked)
    return RatiosReport(
        organisation=organisation,
        step=step,
        form=form,
        characteristic=characteristic,
        reference=compared_with.name,
        from_date=None if from_day is None else day_to_date(from_day),
        to_date=None if to_day is None else day_to_date(to_day),
        rows=tuple(compare(one, compared_with, counts, is_return=form == "return") for one in shown),
    )


def _form(step: str, form: str | None) -> str:
    if step not in STEPS and _stages(step) and form not in (None, "return"):
        raise DecisionFormOnlyInReturnError(step)
    if form is not None and form not in FORMS:
        raise UnknownChoiceError("form", form, FORMS)
    return form or ("decision" if step in STEPS else "return")


def _stages(step: str) -> tuple[str, str]:
    """Return the stages that a step leads from and to."""
    known = STEPS.get(step) or STATUTORY.get(step)
    if known is not None:
        return known
    entered, _, reached = step.partition("-")
    if entered in STAGES and reached in STAGES and STAGES.index(entered) < STAGES.index(reached):
        return entered, reached
    raise UnknownStepError(step)


def _selectors(
    lists: CodeLists,
    characteristic: str,
    counts: Counts,
    reference: GroupSelector,
    asked: Sequence[GroupSelector],
) -> list[GroupSelector]:
    """Return what gets a row: groups in list order, then pooled groups, then the unknowns."""
    wanted = [_single(lists, characteristic, group) for group in counts]
    pooled = [s for s in (reference, *asked) if s.is_pooled]
    for level in dict.fromkeys(p.level for p in lists.pooled if p.characteristic == characteristic):
        names = [p.name for p in lists.level_of(characteristic, level)]
        if any(s.name in names for s in pooled):
            wanted += [lists.resolve_group(characteristic, name) for name in names]
    rows = {s.name: s for s in (*wanted, reference, *asked)}
    position = {group: i for i, group in enumerate(lists.groups_of(characteristic))}

    def place(selector: GroupSelector) -> tuple[bool, bool, int, str]:
        if selector.is_pooled:
            return _is_of_unknowns(selector), True, 0, ""  # they stay in the order of the lists
        return _is_of_unknowns(selector), False, position.get(selector.name, len(position)), selector.name

    return sorted(rows.values(), key=place)


def _is_of_unknowns(selector: GroupSelector) -> bool:
    return all(is_unknown(group) for group in selector.groups)


def _single(lists: CodeLists, characteristic: str, group: str) -> GroupSelector:
    return GroupSelector(characteristic, group, lists.label(group), frozenset((group,)))
