"""From records of the five topics to the rows of one commit: the pure part of the history process.

Nothing here touches the file or Kafka, so a batch that could not be written is written again from the same plan.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pipeline.codec import Codec, Rejected
from pipeline.domain.codes import CHARACTERISTICS
from pipeline.domain.records import DeadLetter, Epoch, StageCounts, Transition, TransitionBatch, VacancyEvent
from pipeline.topics import DEAD_LETTERS, EPOCHS, EVENTS, STAGE_COUNTS, TRANSITIONS
from sinks.epochs import Epochs
from sinks.errors import ForeignRecordError, MissingOutputsError
from sinks.positions import Position, after, before_offset, is_continued

TOPICS: Final = (EVENTS, TRANSITIONS, STAGE_COUNTS, DEAD_LETTERS, EPOCHS)

_FRAME_BYTES: Final = 5
_ORGANISATION: Final = 2 + VacancyEvent._fields.index("organisation")
_VACANCY_ID: Final = 2 + VacancyEvent._fields.index("vacancy_id")
"""Where they are in a row of vacancy changes, which begins with partition and offset."""


class SourceRecord(NamedTuple):
    """One record as the broker holds it."""

    topic: str
    partition: int
    offset: int
    append_ms: int
    key: bytes | None
    value: bytes | None


class SourceOffset(NamedTuple):
    """How far one partition of one topic is read."""

    topic_id: str
    first: int
    next: int


@dataclass(frozen=True, slots=True)
class Known:
    """What the file holds: where each source stands, how far each epoch is, and what was ignored so far."""

    offsets: Mapping[tuple[str, int], SourceOffset] = field(default_factory=dict)
    progress: Mapping[tuple[int, int], Position] = field(default_factory=dict)
    appended_at: Mapping[tuple[int, int], int] = field(default_factory=dict)
    ignored: Mapping[tuple[int, int, str], int] = field(default_factory=dict)
    epochs: Epochs = field(default_factory=Epochs)

    def first_inputs(self) -> dict[int, int]:
        """Return the first archived input offset of each partition."""
        return {partition: offset.first for (topic, partition), offset in self.offsets.items() if topic == EVENTS}


@dataclass(slots=True)
class Batch:
    """The rows of one commit, table by table, and what is known once they are in the file."""

    after: Known
    inputs: list[tuple[Any, ...]] = field(default_factory=list)
    transitions: list[tuple[Any, ...]] = field(default_factory=list)
    vacancy_changes: list[tuple[Any, ...]] = field(default_factory=list)
    stage_counts: dict[tuple[int, str, int], tuple[Any, ...]] = field(default_factory=dict)
    dead_letters: dict[tuple[str, int, int], tuple[Any, ...]] = field(default_factory=dict)
    records: int = 0
    dropped: int = 0

    @property
    def rows(self) -> int:
        """How many rows the commit adds."""
        return (
            len(self.inputs)
            + len(self.transitions)
            + len(self.vacancy_changes)
            + len(self.stage_counts)
            + len(self.dead_letters)
        )

    def changed_vacancies(self) -> set[tuple[str, str]]:
        """Return organisation and id of the vacancies that the batch says something about."""
        return {(row[_ORGANISATION], row[_VACANCY_ID]) for row in self.vacancy_changes}


class Planner:
    """Collects the records of one commit on top of what is known."""

    def __init__(self, codec: Codec, vacancy_schema_ids: frozenset[int], known: Known) -> None:
        """Start an empty batch.

        Args:
            codec: Decodes the records of the output topics and vacancy events.
            vacancy_schema_ids: Ids of every version of ``VacancyEvent``: other inputs are archived undecoded.
            known: What the file holds.
        """
        self._codec = codec
        self._vacancy_schema_ids = vacancy_schema_ids
        self._offsets = dict(known.offsets)
        self._progress = dict(known.progress)
        self._appended_at = dict(known.appended_at)
        self._ignored = Counter(known.ignored)
        self._epochs = known.epochs
        self._first_inputs = known.first_inputs()
        self._batch = Batch(known)
        self._takers = {
            EVENTS: self._take_input,
            TRANSITIONS: self._take_transitions,
            STAGE_COUNTS: self._take_stage_counts,
            DEAD_LETTERS: self._take_dead_letter,
            EPOCHS: self._take_epoch,
        }

    @property
    def rows(self) -> int:
        """How many rows the batch has so far."""
        return self._batch.rows

    def take(self, record: SourceRecord) -> None:
        """Add a record; one that the file already holds is passed over.

        Raises:
            MissingOutputsError: a batch of transitions leaves a gap.
            ForeignRecordError: an output topic holds what no agent writes.
        """
        source = self._offsets[record.topic, record.partition]
        if record.offset < source.next:
            return
        self._takers[record.topic](record)
        self._offsets[record.topic, record.partition] = source._replace(next=record.offset + 1)
        self._batch.records += 1

    def finish(self) -> Batch:
        """Return the batch, with what is known after its commit."""
        epochs = self._epochs.advance(self._progress, self._first_inputs)
        self._batch.after = Known(
            self._offsets,
            {key: value for key, value in self._progress.items() if not epochs.is_outdated(key[0])},
            {key: value for key, value in self._appended_at.items() if not epochs.is_outdated(key[0])},
            {key: value for key, value in self._ignored.items() if not epochs.is_outdated(key[0])},
            epochs,
        )
        return self._batch

    def _take_input(self, record: SourceRecord) -> None:
        self._batch.inputs.append(record[1:])
        value = record.value
        if value is None or len(value) < _FRAME_BYTES or value[0] != 0:
            return
        if int.from_bytes(value[1:_FRAME_BYTES], "big") not in self._vacancy_schema_ids:
            return
        decoded = self._codec.decode(value)
        if isinstance(decoded, Rejected):
            return  # the funnel reports it as a dead letter
        event: VacancyEvent = decoded.record
        self._batch.vacancy_changes.append((record.partition, record.offset, *event))

    def _take_transitions(self, record: SourceRecord) -> None:
        batch: TransitionBatch = self._decode(record, TransitionBatch)
        if batch.partition != record.partition:
            raise ForeignRecordError(
                record.topic,
                record.partition,
                record.offset,
                "a batch of its own partition",
                f"one of {batch.partition}",
            )
        if self._epochs.is_outdated(batch.epoch):
            self._batch.dropped += 1
            return
        key = (batch.epoch, batch.partition)
        last = self._progress.get(key) or before_offset(self._first_inputs.get(batch.partition, 0))
        try:
            if not is_continued(batch, last):
                return
        except MissingOutputsError:
            if not self._epochs.may_have_gaps(batch.epoch):
                raise
            self._batch.dropped += 1
            return
        for transition in after(batch.transitions, last):
            self._add(record, batch, transition)
        for ignored in after(batch.ignored, last):
            self._ignored[*key, ignored.reason] += 1
        self._progress[key] = Position(batch.to_offset, batch.to_index)
        self._appended_at[key] = batch.appended_at

    def _add(self, record: SourceRecord, batch: TransitionBatch, transition: Transition) -> None:
        if len(transition.groups) != len(CHARACTERISTICS):
            raise ForeignRecordError(
                record.topic,
                record.partition,
                record.offset,
                f"transitions with {len(CHARACTERISTICS)} groups",
                f"one with {len(transition.groups)}",
            )
        head = (
            batch.epoch,
            batch.partition,
            transition.offset,
            transition.index,
            transition.sign,
            transition.organisation,
            transition.vacancy_id,
            transition.application_id,
        )
        tail = (transition.route, transition.internal, transition.guaranteed_interview, *transition.groups)
        self._batch.transitions.extend([(*head, *contribution, *tail) for contribution in transition.contributions])

    def _take_stage_counts(self, record: SourceRecord) -> None:
        if record.value is None:
            return  # a key given up by compaction; its row goes with its epoch
        counts: StageCounts = self._decode(record, StageCounts)
        if self._epochs.is_outdated(counts.epoch):
            self._batch.dropped += 1
            return
        key = (counts.epoch, counts.organisation, counts.window_days)
        row = self._batch.stage_counts.get(key)
        if row is None or row[5:7] <= (counts.offset, counts.index):
            cells = [cell._asdict() for cell in counts.counts]
            self._batch.stage_counts[key] = (
                *key,
                counts.start_day,
                counts.end_day,
                counts.offset,
                counts.index,
                cells,
            )

    def _take_dead_letter(self, record: SourceRecord) -> None:
        letter: DeadLetter = self._decode(record, DeadLetter)
        key = (letter.topic, letter.partition, letter.offset)
        self._batch.dead_letters.setdefault(key, (*letter, record.append_ms))

    def _take_epoch(self, record: SourceRecord) -> None:
        if record.value is None:
            return
        self._epochs = self._epochs.announce(self._decode(record, Epoch))

    def _decode(self, record: SourceRecord, expected: type[Any]) -> Any:
        decoded = self._codec.decode(record.value)
        if isinstance(decoded, Rejected):
            found = f"{decoded.reason} ({decoded.detail})"
        elif isinstance(decoded.record, expected):
            return decoded.record
        else:
            found = type(decoded.record).__name__
        raise ForeignRecordError(record.topic, record.partition, record.offset, expected.__name__, found)
