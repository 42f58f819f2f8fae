"""What the fold must find without a key: a vacancy's applications, who leaves next, days and organisations.

Nothing here is state: it is rebuilt from the stored values when a partition is loaded and follows every accepted
change.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from pipeline.domain.state import APPLICATION, DAY, ORGANISATION, split_key, vacancy_key

_DAY_MS = 86_400_000


class FunnelIndex:
    """Look-ups over one partition's state."""

    __slots__ = ("_by_last_event", "applications_of", "days_of", "organisations")

    def __init__(self) -> None:
        self.applications_of: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self.days_of: defaultdict[str, set[int]] = defaultdict(set)
        self.organisations: set[str] = set()
        self._by_last_event: defaultdict[int, set[bytes]] = defaultdict(set)

    def load_application(self, key: bytes, last_event: int, vacancies: Iterable[str]) -> None:
        """Enter a stored application."""
        self._by_last_event[last_event // _DAY_MS].add(key)
        organisation = split_key(key)[0]
        for vacancy in vacancies:
            self.applications_of[vacancy_key(organisation, vacancy)].add(key)

    def load_key(self, key: bytes) -> None:
        """Enter a stored organisation or day, whose key says all that is needed."""
        self.changed(key, None, key)

    def changed(self, key: bytes, old: Any, new: Any) -> None:
        """Follow one accepted change of the state (or its taking back)."""
        prefix = key[:1]
        if prefix == APPLICATION:
            if old is None or new is None or old.last_event != new.last_event or old.vacancies is not new.vacancies:
                self._application_changed(key, old, new)
        elif old is not None and new is not None:
            return
        elif prefix == DAY:
            organisation, day = split_key(key)
            (self.days_of[organisation].discard if new is None else self.days_of[organisation].add)(int(day))
        elif prefix == ORGANISATION:
            (self.organisations.discard if new is None else self.organisations.add)(key[1:].decode())

    def due_before(self, cutoff_ms: int) -> Iterator[bytes]:
        """Yield the applications whose last event may lie before ``cutoff_ms`` (the caller looks at the exact time)."""
        last_day = cutoff_ms // _DAY_MS
        for day in sorted(day for day in self._by_last_event if day <= last_day):
            yield from sorted(self._by_last_event[day])

    def _application_changed(self, key: bytes, old: Any, new: Any) -> None:
        old_day = None if old is None else old.last_event // _DAY_MS
        new_day = None if new is None else new.last_event // _DAY_MS
        if old_day != new_day:
            if old_day is not None:
                self._by_last_event[old_day].discard(key)
                if not self._by_last_event[old_day]:
                    del self._by_last_event[old_day]
            if new_day is not None:
                self._by_last_event[new_day].add(key)
        old_vacancies = () if old is None else old.vacancies
        new_vacancies = () if new is None else new.vacancies
        if old_vacancies == new_vacancies:
            return
        organisation = split_key(key)[0]
        for vacancy in set(old_vacancies).difference(new_vacancies):
            applications = self.applications_of[vacancy_key(organisation, vacancy)]
            applications.discard(key)
            if not applications:
                del self.applications_of[vacancy_key(organisation, vacancy)]
        for vacancy in set(new_vacancies).difference(old_vacancies):
            self.applications_of[vacancy_key(organisation, vacancy)].add(key)
