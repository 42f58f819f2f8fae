"""What of a vacancy decides outcomes: the last write of each of two facts."""

from functools import lru_cache

from pipeline.domain.records import VacancyEvent
from pipeline.domain.state import VacancyState
from pipeline.domain.steps import VacancyFacts

NO_VACANCY = VacancyState(0, "", 0, "", None, 0, "")
_VACANCY_STATUS = {"opened": "open", "reopened": "open", "withdrawn": "withdrawn"}


@lru_cache(maxsize=4096)
def vacancy_facts(state: VacancyState | None) -> VacancyFacts:
    """Return what a vacancy decides."""
    if state is None:
        return VacancyFacts()
    return VacancyFacts(bool(state.longlisting_used), state.status_time if state.status == "withdrawn" else None)


def with_vacancy_event(old: VacancyState, event: VacancyEvent) -> VacancyState:
    """Return a vacancy's deciding facts with an event's: the last by (event time, event id) holds for each."""
    new = old._replace(last_event=max(old.last_event, event.event_time))
    written = event.event_time, event.event_id
    status = _VACANCY_STATUS.get(event.event_type)
    if status is not None and written >= (old.status_time, old.status_id):
        new = new._replace(status=status, status_time=event.event_time, status_id=event.event_id)
    if event.longlisting_used is not None and written >= (old.longlisting_time, old.longlisting_id):
        new = new._replace(
            longlisting_used=event.longlisting_used,
            longlisting_time=event.event_time,
            longlisting_id=event.event_id,
        )
    return new
