"""Applications that were merged count as one; this module finds who that one is and what it adds to the counts."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from pipeline.domain.facts import (
    MERGED,
    ROUTES,
    ApplicationFacts,
    StageEvent,
    groups_at_any_time,
    groups_at_application,
    merge_answers,
)
from pipeline.domain.records import Contribution
from pipeline.domain.steps import NEGATIVE_RANKS, ONBOARDING_NAMES, VacancyFacts, contributions


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
        events = _valid(facts, facts.voided) if facts.voided else facts.events
        return _count_one(application_id, events, [facts], vacancy_of, day_of)
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
        total |= _count_one(root, events, [members[name] for name in component], vacancy_of, day_of)
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


def _count_one(
    application_id: str,
    events: tuple[StageEvent, ...],
    members: list[ApplicationFacts],
    vacancy_of: Callable[[str], VacancyFacts],
    day_of: Callable[[int], int],
) -> Counted:
    if not events:
        return {}
    answers = members[0].answers if len(members) == 1 else merge_answers(members)
    vacancy_id, route, flags_internal, flags_guaranteed = None, 0, None, None
    for event in events:
        vacancy_id = event.vacancy or vacancy_id
        route = event.route or route
        if event.flags:
            flags_internal = event.internal if event.internal is not None else flags_internal
            if event.guaranteed_interview is not None:
                flags_guaranteed = event.guaranteed_interview
    vacancy = vacancy_of(vacancy_id) if vacancy_id is not None else VacancyFacts()
    found = contributions(events, vacancy, day_of)
    early_groups, late_groups = groups_at_application(answers), groups_at_any_time(answers)
    labels = Labels(application_id, vacancy_id, ROUTES[route], flags_internal, flags_guaranteed, early_groups)
    if early_groups == late_groups:
        return {labels: frozenset(found)}
    late = frozenset(item for item in found if (item.kind, item.name) in ONBOARDING_NAMES)
    early = frozenset(found) - late
    result = {labels: early}
    if late:
        result[labels._replace(groups=late_groups)] = late
    return result
