"""The fold over one partition: which part folds a record, step by step, and what happens when one fails.

A record's effect is a sequence of steps; each touches a bounded number of keys and can be committed on its own. What
a record does depends on the log before it alone, never on how the log was cut into chunks.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from pipeline.domain.fold.applications import ApplicationFold
from pipeline.domain.fold.ledger import ONE_STEP, Ledger
from pipeline.domain.fold.ticks import TickFold
from pipeline.domain.fold.vacancies import VacancyFold
from pipeline.domain.records import (
    AlertAction,
    ApplicationEvent,
    Control,
    EqualityAnswers,
    Tick,
    VacancyEqualityTable,
    VacancyEvent,
)
from pipeline.domain.rejects import RejectReason
from pipeline.domain.state import organisation_key
from pipeline.errors import TerminalError

FOLD_VERSION = 1
"""Changes with the meaning of a fold: state of another version needs a drained stop marked compatible, or a rebuild."""


class UnknownContentError(TerminalError):
    """The log names reference data that this worker does not have."""

    def __init__(self, name: str | None, content_hash: str | None) -> None:
        self.name = name
        self.content_hash = content_hash
        super().__init__(
            f"the input log switches to {name!r} with content hash {content_hash}, which this worker does not have; "
            "install the version that ships it, then start again"
        )


class InputRecord(NamedTuple):
    """One record of the input log: where it is, when it was appended, what it says or why it says nothing."""

    offset: int
    appended_at: int
    record: Any
    reject: RejectReason | None = None
    detail: str = ""


class PartitionFold:
    """The fold over one partition; the caller drives its steps and commits what the ledger holds."""

    def __init__(self, ledger: Ledger, known_content: Mapping[str, str]) -> None:
        self._ledger = ledger
        self._known_content = known_content
        applications = ApplicationFold(ledger)
        self._handlers: dict[type, Callable[[Any, int, int], Iterable[bool]]] = {
            ApplicationEvent: applications.event,
            EqualityAnswers: applications.answers,
            VacancyEvent: VacancyFold(ledger, applications).event,
            Control: self._control,
            Tick: TickFold(ledger, applications).tick,
            VacancyEqualityTable: self._not_counted_yet,
            AlertAction: self._not_counted_yet,
        }

    def steps(self, item: InputRecord, done: int = 0, next_index: int = 0) -> Iterator[bool]:
        """Fold one record step by step; every ``next`` makes one step part of the overlay and says whether more follow.

        Args:
            item: the record.
            done: steps of this record that the state holds already (the worker stopped inside it).
            next_index: index of its first output that was not sent before.

        Raises:
            UnknownContentError: the record names reference data that is not here; the worker must stop.
        """
        self._ledger.begin(item.offset, next_index)
        mark = len(self._ledger.outputs), next_index
        try:
            for more in self._effects(item, done):
                self._ledger.count_changes()
                self._ledger.overlay.accept()
                yield more
                mark = len(self._ledger.outputs), self._ledger.next_index
        except TerminalError:
            raise
        except Exception as error:  # noqa: BLE001  the fold is pure: it would fail again, so the record goes aside
            self._fail(item, error, *mark)
            yield False

    def _effects(self, item: InputRecord, done: int) -> Iterable[bool]:
        """Do the steps of a record, or the only one at once; each value says whether more follow."""
        if item.reject is not None:
            self._ledger.reject(item.reject, item.detail)
            return ONE_STEP
        handler = self._handlers.get(type(item.record))
        if handler is None:
            self._ledger.reject(RejectReason.UNEXPECTED_RECORD, f"{type(item.record).__name__} is no input record")
            return ONE_STEP
        return handler(item.record, item.appended_at, done)

    def _control(self, control: Control, _appended_at: int, _done: int) -> Iterable[bool]:
        state = self._ledger.organisation(control.organisation)
        if control.kind == "content":
            if self._known_content.get(control.content_name or "") != control.content_hash:
                raise UnknownContentError(control.content_name, control.content_hash)
            content = {**state.content, str(control.content_name): str(control.content_hash)}
            self._ledger.put_organisation(control.organisation, state._replace(content=content))
        else:
            self._ledger.put_organisation(control.organisation, state._replace(loading=control.kind == "loading"))
        return ONE_STEP

    def _not_counted_yet(
        self, record: VacancyEqualityTable | AlertAction, _appended_at: int, _done: int
    ) -> Iterable[bool]:
        """Keep to the archive what no rule counts yet; a rebuild under a later fold version will find it there."""
        self._ledger.ignore("equality_table" if isinstance(record, VacancyEqualityTable) else "alert_action")
        return ONE_STEP

    def _fail(self, item: InputRecord, error: Exception, outputs: int, next_index: int) -> None:
        """Put a record aside whose fold raised: its step is undone, its organisation flagged."""
        self._ledger.drop_step(outputs, next_index)
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename.rsplit('/', 1)[-1]} line {last.lineno}"  # a value could name a person, a place cannot
        self._ledger.reject(RejectReason.FOLD_FAILED, f"{type(error).__name__} in {place}")
        organisation = getattr(item.record, "organisation", None)
        if organisation is not None:
            state = self._ledger.organisation(organisation)
            self._ledger.overlay.put(organisation_key(organisation), state._replace(failures=state.failures + 1))
        self._ledger.overlay.accept()
