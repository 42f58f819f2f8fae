"""What one merged application adds to the counts, worked out from its whole history at once.

The rules of the independent recount. Nothing here is shared with the agents, who keep a state and add to it;
this module takes everything known of the linked applications, sorts it once and walks through it once.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pipeline.domain.codes import CHARACTERISTICS, UNKNOWN_NOT_KNOWN, UNKNOWN_WITHDRAWN, group_of
from pipeline.reconcile.recount_walk import NEGATIVE, PATHWAY, Ending, Happening, Reached, Walk, order

ONBOARDING_HORIZON_DAYS: Final = 180
"""Who has neither started nor dropped out half a year after accepting is left out of onboarding."""


class Answered(NamedTuple):
    """One set of equality answers; ``groups`` is None for an objection, which covers every characteristic."""

    application_id: str
    event_time: int
    event_id: str
    at_application: bool
    groups: tuple[tuple[str, str], ...] | None


class VacancyHappening(NamedTuple):
    """The part of a vacancy event that can decide anything."""

    event_time: int
    event_id: str
    event_type: str
    longlisting_used: bool | None


class Counted(NamedTuple):
    """One person counted once: the arrival at a stage, or the outcome of a step, with the nine groups."""

    kind: str
    name: str
    outcome: str
    day: int
    entry_day: int
    is_implied: bool
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Vacancy:
    """What is known of a vacancy in the end: has it a longlist, and since which day is it withdrawn."""

    has_longlist: bool = False
    withdrawn_day: int | None = None


@dataclass(frozen=True, slots=True)
class Component:
    """Applications that are one: the root that owns the counts, and who belongs to it."""

    root: str
    members: frozenset[str]


def vacancy_at_the_end(happenings: Iterable[VacancyHappening], day_of: Callable[[int], int]) -> Vacancy:
    """Return the final state of a vacancy from everything said about it, in any order."""
    ordered = sorted(happenings, key=lambda h: (h.event_time, h.event_id))
    said = [h.longlisting_used for h in ordered if h.longlisting_used is not None]
    turns = [h for h in ordered if h.event_type in ("opened", "withdrawn", "reopened")]
    is_withdrawn = bool(turns) and turns[-1].event_type == "withdrawn"
    return Vacancy(
        has_longlist=bool(said) and said[-1],
        withdrawn_day=day_of(turns[-1].event_time) if is_withdrawn else None,
    )


def components(members: Iterable[str], happenings: Sequence[Happening]) -> list[Component]:
    """Part applications that were ever linked into those that still are, leaving voided merges out.

    Args:
        members: Every application id ever linked, with or without records of its own.
        happenings: All their events, voided ones included: they decide which merges are voided.

    Returns:
        The components, by the smallest id in each.
    """
    linked = set(members)
    voided = {event_id for h in happenings for event_id in h.voided}
    edges = {
        (h.application_id, h.merged_into)
        for h in happenings
        if h.event_type == "merged" and h.merged_into in linked and h.event_id not in voided
    }
    edges = {(source, target) for source, target in edges if target is not None and source != target}
    remaining, parted = set(linked), []
    while remaining:
        reached = {min(remaining)}
        while grown := {b for a, b in edges if a in reached} | {a for a, b in edges if b in reached}:
            if grown <= reached:
                break
            reached |= grown
        remaining -= reached
        ends = reached - {source for source, _ in edges}
        parted.append(Component(root=min(ends or reached), members=frozenset(reached)))
    return parted


def count_application(
    component: Component,
    happenings: Sequence[Happening],
    answers: Iterable[Answered],
    vacancy_of: Callable[[str | None], Vacancy],
    day_of: Callable[[int], int],
) -> list[Counted]:
    """Return everything one component adds to the counts.

    Args:
        component: The applications that are one.
        happenings: Events of everything *ever* linked with them: a void of a former member still holds.
        answers: Equality answers of the same applications.
        vacancy_of: Gives the final state of a vacancy.
        day_of: Gives the local day of a time in milliseconds.

    Returns:
        Arrivals first, then outcomes, each in the order of the pathway; empty if nothing is left that counts.
    """
    voided = {event_id for h in happenings for event_id in h.voided}
    own = [h for h in happenings if h.application_id in component.members]
    standing = sorted(
        (
            h
            for h in own
            if h.event_id not in voided and (h.application_id == component.root or h.event_type not in NEGATIVE)
        ),
        key=order,
    )
    if not standing:
        return []
    placed = [h for h in sorted(own, key=lambda h: (h.event_time, h.event_id)) if h.vacancy_id is not None]
    vacancy = vacancy_of(placed[-1].vacancy_id if placed else None)
    walk = Walk(day_of=day_of, has_longlist=vacancy.has_longlist)
    applied = [h for h in standing if h.event_type == "applied"]
    walk.reached["applied"] = Reached(day_of((applied or standing)[0].event_time), is_implied=False)
    done: set[tuple[str, str]] = set()
    for happening in standing:
        if happening.action_id is not None:
            action = (happening.action_id, happening.event_type)
            if action in done:
                continue
            done.add(action)
        walk.take(happening)
    theirs = [a for a in answers if a.application_id in component.members]
    at_application = _groups([a for a in theirs if a.at_application or a.groups is None])
    by_any = _groups(theirs)
    return [
        Counted(*fact, by_any if fact[1] in ("onboarding", "started") else at_application)
        for fact in (*_arrivals(walk), *_outcomes(walk, vacancy))
    ]


def _groups(answers: Iterable[Answered]) -> tuple[str, ...]:
    """Return the nine groups: the last answer of each characteristic, wherever the application was asked."""
    last = dict.fromkeys(CHARACTERISTICS, UNKNOWN_NOT_KNOWN)
    for answered in sorted(answers, key=lambda a: (a.event_time, a.event_id)):
        if answered.groups is None:
            last = dict.fromkeys(CHARACTERISTICS, UNKNOWN_WITHDRAWN)
        else:
            last.update(answered.groups)
    return tuple(last.values())


def groups_answered(
    answers: Iterable[tuple[str, str | None, str | None, str | None]],
) -> tuple[tuple[str, str], ...]:
    """Return (characteristic, group) of each answer of one record, in its order."""
    return tuple(
        (characteristic, group_of(codeset, code, unknown)) for characteristic, codeset, code, unknown in answers
    )


_Fact = tuple[str, str, str, int, int, bool]


def _arrivals(walk: Walk) -> Iterable[_Fact]:
    for stage in PATHWAY:
        if stage in walk.reached:
            day, is_implied = walk.reached[stage]
            yield ("arrival", stage, "", day, day, is_implied)


def _outcomes(walk: Walk, vacancy: Vacancy) -> Iterable[_Fact]:
    ending, applied_day = walk.ending, walk.reached["applied"].day
    refused = ending.refused if ending is not None else None
    is_past_longlist = any(stage in walk.reached for stage in ("shortlisted", "offered", "accepted", "started"))
    if vacancy.has_longlist or "longlisted" in walk.reached or refused == "longlisted":
        may_be_void = vacancy.has_longlist and not is_past_longlist
        yield from _decided(
            "longlisting",
            applied_day,
            walk.reached.get("longlisted"),
            ending,
            counts_ending=refused == "longlisted",
            void_day=vacancy.withdrawn_day if may_be_void else None,
        )
    shortlisted, offered = walk.reached.get("shortlisted"), walk.reached.get("offered")
    accepted, void_day = walk.reached.get("accepted"), vacancy.withdrawn_day
    yield from _decided("shortlisting", applied_day, shortlisted, ending, void_day=void_day)
    if shortlisted is not None and not shortlisted.is_implied:
        yield from _decided("interview", shortlisted.day, offered, ending, void_day=void_day)
    if offered is not None and not offered.is_implied:
        entry = walk.offer_day if walk.offer_day is not None else offered.day
        may_end = refused == "accepted"
        yield from _decided("offer", entry, accepted, ending, counts_ending=may_end, void_day=void_day)
    if shortlisted is not None and not shortlisted.is_implied:
        yield from _decided("appointment", shortlisted.day, accepted, ending, void_day=void_day)
    if accepted is not None:
        yield from _onboarding(accepted.day, walk, void_day)
    yield from _decided("overall", applied_day, accepted, ending, void_day=void_day)


def _decided(
    step: str,
    entry_day: int,
    target: Reached | None,
    ending: Ending | None,
    *,
    counts_ending: bool = True,
    void_day: int | None,
) -> Iterable[_Fact]:
    """Yield the outcome of a step that was entered, or nothing while it is pending or only implied."""
    if target is not None:
        if not target.is_implied:
            yield ("outcome", step, "selected", target.day, entry_day, False)
    elif ending is not None:
        if counts_ending:
            yield ("outcome", step, ending.outcome, ending.day, entry_day, False)
    elif void_day is not None:
        yield ("outcome", step, "void", max(void_day, entry_day), entry_day, False)


def _onboarding(accepted_day: int, walk: Walk, void_day: int | None) -> Iterable[_Fact]:
    """Yield the outcome of onboarding, if it came within the horizon; whatever comes later decides nothing."""
    started, dropped = walk.reached.get("started"), walk.onboarding_ending
    if started is not None:
        outcome, day = "selected", started.day
    elif dropped is not None:
        outcome, day = dropped.outcome, dropped.day
    elif void_day is not None:
        outcome, day = "void", max(void_day, accepted_day)
    else:
        return
    if day - accepted_day <= ONBOARDING_HORIZON_DAYS:
        yield ("outcome", "onboarding", outcome, day, accepted_day, False)
