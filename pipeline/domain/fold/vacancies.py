"""The fold of what happens to vacancies: what decides outcomes changes for all of their applications."""

from collections.abc import Callable, Iterator

from pipeline.domain.fold.applications import ApplicationFold
from pipeline.domain.fold.ledger import APPLICATIONS_PER_STEP, Ledger
from pipeline.domain.records import VacancyEvent
from pipeline.domain.state import application_key, split_key, vacancy_key
from pipeline.domain.steps import VacancyFacts
from pipeline.domain.vacancies import NO_VACANCY, vacancy_facts, with_vacancy_event


class VacancyFold:
    """Folds vacancy events."""

    def __init__(self, ledger: Ledger, applications: ApplicationFold) -> None:
        self._ledger = ledger
        self._applications = applications

    def event(self, event: VacancyEvent, appended_at: int, done: int) -> Iterator[bool]:
        """Fold an event; what changes for the vacancy's applications is counted step by step."""
        if not self._ledger.is_time_countable(event.organisation, event.event_time, appended_at):
            yield False
            return
        key = vacancy_key(event.organisation, event.vacancy_id)
        old = self._ledger.overlay.get(key) or NO_VACANCY
        new = with_vacancy_event(old, event)
        facts_before, facts_after = vacancy_facts(old), vacancy_facts(new)
        if facts_before != facts_after:
            applications = sorted(self._ledger.index.applications_of.get(key, ()))
            for start in range(done * APPLICATIONS_PER_STEP, len(applications), APPLICATIONS_PER_STEP):
                for application in applications[start : start + APPLICATIONS_PER_STEP]:
                    self._recount(event, application, facts_before, facts_after)
                yield True
        if new == old:
            self._ledger.ignore("repeated")
        else:
            self._ledger.overlay.put(key, new)
        self._ledger.advance(event.organisation, event.event_time, appended_at)
        yield False

    def _recount(self, event: VacancyEvent, key: bytes, before: VacancyFacts, after: VacancyFacts) -> None:
        """Count one application (once for all that are linked with it) under the vacancy's new facts."""
        application_id = split_key(key)[1]
        members = self._applications.members(event.organisation, application_id, self._ledger.overlay.get(key))
        if len(members) > 1:
            vacancy = vacancy_key(event.organisation, event.vacancy_id)
            here = self._ledger.index.applications_of[vacancy]
            if application_id != min(name for name in members if application_key(event.organisation, name) in here):
                return

        def vacancy_of(changed: VacancyFacts) -> Callable[[str], VacancyFacts]:
            return lambda vacancy_id: (
                changed
                if vacancy_id == event.vacancy_id
                else vacancy_facts(self._ledger.overlay.get(vacancy_key(event.organisation, vacancy_id)))
            )

        self._ledger.emit(
            event.organisation,
            self._applications.count(event.organisation, members, vacancy_of(before)),
            self._applications.count(event.organisation, members, vacancy_of(after)),
        )
