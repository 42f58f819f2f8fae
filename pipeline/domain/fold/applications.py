"""The fold of what happens to applications: their facts grow, and the difference of what they count is said."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from pipeline.domain.clusters import Counted, counted
from pipeline.domain.facts import ApplicationFacts, with_answers, with_event
from pipeline.domain.fold.ledger import ONE_STEP, Ledger
from pipeline.domain.records import ApplicationEvent, EqualityAnswers
from pipeline.domain.rejects import RejectReason
from pipeline.domain.state import Departure, application_key, departure_key, vacancy_key
from pipeline.domain.steps import VacancyFacts
from pipeline.domain.vacancies import vacancy_facts


class ApplicationFold:
    """Folds application events and equality answers."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def event(self, event: ApplicationEvent, appended_at: int, _done: int) -> Iterable[bool]:
        """Fold an event: add it to the facts, erase, or say why neither."""
        organisation, application_id, target = event.organisation, event.application_id, event.merged_into
        if event.event_type == "erased":
            self._erase(organisation, application_id)
        elif event.event_type == "merged" and target and self._is_erased(organisation, application_id):
            self._erase(organisation, target)
        else:
            facts = self._countable_facts(organisation, application_id, event.event_time, appended_at)
            if facts is not None:
                self._change(organisation, application_id, facts, with_event(facts, event), target)
                self._ledger.advance(organisation, event.event_time, appended_at)
        return ONE_STEP

    def answers(self, record: EqualityAnswers, appended_at: int, _done: int) -> Iterable[bool]:
        """Fold equality answers: every count of the application moves to the groups that hold now."""
        organisation, application_id = record.organisation, record.application_id
        facts = self._countable_facts(organisation, application_id, record.event_time, appended_at)
        if facts is not None:
            self._change(organisation, application_id, facts, with_answers(facts, record), None)
            self._ledger.advance(organisation, record.event_time, appended_at)
        return ONE_STEP

    def _facts(self, organisation: str, application_id: str) -> ApplicationFacts:
        return self._ledger.overlay.get(application_key(organisation, application_id)) or ApplicationFacts()

    def _change(
        self,
        organisation: str,
        application_id: str,
        old: ApplicationFacts,
        new: ApplicationFacts,
        target: str | None,
    ) -> None:
        """Replace the facts of an application and count the difference, over all applications it is linked with."""
        if new is old:
            self._ledger.ignore("repeated")
            return
        before = self.members(organisation, application_id, old)
        counted_before = self.count(organisation, before)
        after = {**before, application_id: new}
        if target and target not in before and any(event.target == target for event in new.events):
            if self._is_erased(organisation, target):
                self._erase(organisation, application_id)
                return
            if self._ledger.overlay.get(departure_key(organisation, target)) is None:
                other = self.members(organisation, target, self._facts(organisation, target))
                counted_before = counted_before | self.count(organisation, other)
                before, after = {**before, **other}, _linked({**after, **other})
        for member, facts in after.items():
            if before[member] is not facts:
                self._ledger.overlay.put(application_key(organisation, member), facts)
        self._ledger.emit(organisation, counted_before, self.count(organisation, after))

    def _is_erased(self, organisation: str, application_id: str) -> bool:
        return bool(self._ledger.overlay.get(departure_key(organisation, application_id)) == Departure("erased"))

    def members(self, organisation: str, application_id: str, facts: ApplicationFacts) -> dict[str, ApplicationFacts]:
        """Return an application and all that were ever linked with it."""
        members = {application_id: facts}
        for member in facts.cluster:
            if member != application_id:
                members[member] = self._facts(organisation, member)
        return members

    def count(
        self,
        organisation: str,
        members: Mapping[str, ApplicationFacts],
        vacancy_of: Callable[[str], VacancyFacts] | None = None,
    ) -> Counted:
        """Return what linked applications add to the counts, by stored facts of vacancies unless others are given."""

        def stored(vacancy_id: str) -> VacancyFacts:
            return vacancy_facts(self._ledger.overlay.get(vacancy_key(organisation, vacancy_id)))

        return counted(members, vacancy_of or stored, self._ledger.days.day_of)

    def _erase(self, organisation: str, application_id: str) -> None:
        """Forget a person: all linked applications go, a hash of each id stays so that nothing revives them."""
        if self._is_erased(organisation, application_id):
            self._ledger.ignore("erased")
            return
        members = self.members(organisation, application_id, self._facts(organisation, application_id))
        for member in members:
            if self._ledger.overlay.get(application_key(organisation, member)) is not None:
                self._ledger.overlay.put(application_key(organisation, member), None)
            self._ledger.overlay.put(departure_key(organisation, member), Departure("erased"))
        self._ledger.emit(organisation, self.count(organisation, members), {})

    def _countable_facts(
        self, organisation: str, application_id: str, event_time: int, appended_at: int
    ) -> ApplicationFacts | None:
        """Return the facts that a record adds to, or None when it may not be counted: the reason is said then.

        An application is stored or departed, never both.
        """
        facts: ApplicationFacts | None = self._ledger.overlay.get(application_key(organisation, application_id))
        departure = None
        if facts is None:
            departure = self._ledger.overlay.get(departure_key(organisation, application_id))
        if departure is not None and departure.reason == "erased":
            self._ledger.ignore("erased")
        elif self._ledger.is_time_countable(organisation, event_time, appended_at):
            if departure is None:
                return facts or ApplicationFacts()
            self._ledger.reject(RejectReason.TOO_LATE, "the application left 400 days after its last event")
        return None


def _linked(members: Mapping[str, ApplicationFacts]) -> dict[str, ApplicationFacts]:
    """Return applications each of which knows all of them from now on."""
    cluster = tuple(sorted(members))
    return {name: replace(facts, cluster=cluster) for name, facts in members.items()}
