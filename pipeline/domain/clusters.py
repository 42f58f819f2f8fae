"""Applications that were merged count as one; this module finds who that one is and what it adds to the counts."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from pipeline.domain.facts import (
    MERGED,
    NOTHING_VOIDED,
    ROUTES,
    ApplicationFacts,
    KeptAnswer,
    StageEvent,
    groups_at_any_time,
    groups_at_application,
    merge_answers,
)
from pipeline.domain.records import Contribution, new
from pipeline.domain.steps import (
    IDLE_RANKS,
    NEGATIVE_RANKS,
    ONBOARDING_NAMES,
    Pathway,
    VacancyFacts,
    contributions,
    settled,
    walk,
)


class Labels(NamedTuple):
    """Under what a contribution is counted: a change of any of these moves it (-1 under the old, +1 under the new)."""

    application_id: str
    vacancy_id: str | None
    route: str | None
    internal: bool | None
    guaranteed_interview: bool | None
    groups: tuple[str, ...]


Counted = dict[Labels, frozenset[Contribution]]
"""What applications add to the counts, under the labels they carry."""


Groups = tuple[tuple[str, ...], tuple[str, ...]]
"""Groups by the answers given at application, and by those of any time."""

_NO_VACANCY = VacancyFacts()


class Traits(NamedTuple):
    """What the events of an application say of it beside its pathway; the last that says something holds."""

    vacancy_id: str | None = None
    route: int = 0
    internal: bool | None = None
    guaranteed_interview: bool | None = None


class CountedAs(NamedTuple):
    """How the facts of one application were counted; kept with them, so that the next event is counted from here."""

    events: tuple[StageEvent, ...]
    voided: frozenset[str]
    answers: dict[int, KeptAnswer]
    traits: Traits
    pathway: Pathway
    found: frozenset[Contribution]
    groups: Groups
    result: Counted


_NOT_COUNTED = CountedAs((), NOTHING_VOIDED, {}, Traits(), Pathway(_NO_VACANCY), frozenset(), ((), ()), {})


def counted(
    members: Mapping[str, ApplicationFacts],
    vacancy_of: Callable[[str], VacancyFacts],
    day_of: Callable[[int], int],
) -> Counted:
    """Return what a cluster of linked applications adds to the counts.

    Args:
        members: every application of the cluster by id; for an application that was never merged, that one alone.
        vacancy_of: what a vacancy decides, by vacancy id.
        day_of: the local day of a moment in milliseconds.
    """
    if len(members) == 1:
        ((application_id, facts),) = members.items()
        return _count_alone(application_id, facts, vacancy_of, day_of)
    voided = frozenset[str]().union(*(facts.voided for facts in members.values()))
    valid = {application_id: _valid(facts, voided) for application_id, facts in members.items()}
    total: Counted = {}
    for root, component in _components(valid):
        events = tuple(
            sorted(
                event
                for application_id in component
                for event in valid[application_id]
                if application_id == root or event.rank not in NEGATIVE_RANKS
            )
        )
        total |= _count_merged(root, events, [members[name] for name in component], vacancy_of, day_of)
    return total


def _valid(facts: ApplicationFacts, voided: frozenset[str]) -> tuple[StageEvent, ...]:
    return tuple(event for event in facts.events if event.event_id not in voided)


def _components(valid: Mapping[str, tuple[StageEvent, ...]]) -> list[tuple[str, list[str]]]:
    """Return (root, members) of each group that is joined now.

    The root is the only member that was not merged into another; where several or none are left over (forks, cycles),
    the smallest id among them, so that the order in which merges arrived does not matter.
    """
    targets = {
        application_id: {event.target for event in events if event.rank == MERGED and event.target in valid}
        for application_id, events in valid.items()
    }
    joined = {application_id: {application_id} for application_id in valid}
    for source, merged_into in targets.items():
        for target in merged_into:
            if joined[source] is not joined[target]:
                joined[source] |= joined[target]
                for name in joined[source]:
                    joined[name] = joined[source]
    distinct = {id(group): sorted(group) for group in joined.values()}
    found = []
    for group in sorted(distinct.values()):
        sinks = [name for name in group if not targets[name] - {name}]
        found.append((min(sinks or group), group))
    return found


def _count_alone(
    application_id: str,
    facts: ApplicationFacts,
    vacancy_of: Callable[[str], VacancyFacts],
    day_of: Callable[[int], int],
) -> Counted:
    """Count an application that was never merged, going on from what its earlier facts were counted as."""
    known: CountedAs = facts.counted_as or _NOT_COUNTED
    is_same = known.events is facts.events and known.voided is facts.voided
    if is_same and known.answers is facts.answers and known.pathway.vacancy is _vacancy(known.traits, vacancy_of):
        return known.result
    events = _valid(facts, facts.voided) if facts.voided else facts.events
    if not events:
        return {}
    is_later = not is_same and _is_one_later(known, facts)
    traits = known.traits
    if not is_same:
        traits = _traits(events[-1:], traits) if is_later else _traits(events, Traits())
    vacancy, pathway = _vacancy(traits, vacancy_of), known.pathway
    if not (is_same or is_later) or pathway.vacancy is not vacancy:
        pathway = walk(events, vacancy)
        found = frozenset(settled(pathway, events[0].time, day_of))
    elif is_same or events[-1].rank in IDLE_RANKS:
        found = known.found
    else:
        pathway = pathway.copy()
        pathway.add(events[-1])
        found = frozenset(settled(pathway, events[0].time, day_of))
    groups = known.groups if known.answers is facts.answers else _groups(facts.answers)
    if found is known.found and groups is known.groups and traits == known.traits:
        result = known.result
    else:
        result = _labelled(application_id, traits, groups, found)
    counted_as = (facts.events, facts.voided, facts.answers, traits, pathway, found, groups, result)
    facts.counted_as = new(CountedAs, counted_as)
    return result


def _is_one_later(known: CountedAs, facts: ApplicationFacts) -> bool:
    """Say whether facts are those that were counted and one event after all of theirs.

    Facts only grow, so the same number of events before the same last one are the same events.
    """
    before, after = known.events, facts.events
    if not before or facts.voided or len(after) != len(before) + 1:
        return False
    return after[-2] is before[-1] and not after[-1].action  # an action's first event may be among them


def _count_merged(
    application_id: str,
    events: tuple[StageEvent, ...],
    members: Iterable[ApplicationFacts],
    vacancy_of: Callable[[str], VacancyFacts],
    day_of: Callable[[int], int],
) -> Counted:
    if not events:
        return {}
    traits = _traits(events, Traits())
    found = frozenset(contributions(events, _vacancy(traits, vacancy_of), day_of))
    return _labelled(application_id, traits, _groups(merge_answers(members)), found)


def _traits(events: Iterable[StageEvent], traits: Traits) -> Traits:
    """Return traits with what further events say."""
    vacancy_id, route, internal, guaranteed = traits
    for event in events:
        vacancy_id = event.vacancy or vacancy_id
        route = event.route or route
        if event.flags:
            internal = internal if event.internal is None else event.internal
            guaranteed = guaranteed if event.guaranteed_interview is None else event.guaranteed_interview
    return new(Traits, (vacancy_id, route, internal, guaranteed))


def _vacancy(traits: Traits, vacancy_of: Callable[[str], VacancyFacts]) -> VacancyFacts:
    return _NO_VACANCY if traits.vacancy_id is None else vacancy_of(traits.vacancy_id)


def _groups(answers: Mapping[int, KeptAnswer]) -> Groups:
    return groups_at_application(answers), groups_at_any_time(answers)


def _labelled(application_id: str, traits: Traits, groups: Groups, found: frozenset[Contribution]) -> Counted:
    """Put contributions under their labels: those of the onboarding under the groups known at any time."""
    early_groups, late_groups = groups
    labels = Labels(
        application_id,
        traits.vacancy_id,
        ROUTES[traits.route],
        traits.internal,
        traits.guaranteed_interview,
        early_groups,
    )
    if early_groups == late_groups:
        return {labels: found}
    late = frozenset(item for item in found if (item.kind, item.name) in ONBOARDING_NAMES)
    result = {labels: found - late}
    if late:
        result[labels._replace(groups=late_groups)] = late
    return result
