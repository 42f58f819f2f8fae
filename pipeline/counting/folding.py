"""Chunks of one partition's input into outputs and state changes: the same code for the agent and for a rebuild.

The caller drives it: ``extend`` folds records, ``finish`` gives what to send and to store, then ``accept`` or
``discard``.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipeline.codec import Codec
from pipeline.counting.inputs import InputReader, RawInput
from pipeline.counting.state_values import dump_value, load_value
from pipeline.deadletters import dead_letter
from pipeline.domain.fold.ledger import Ledger, Output, Rejection
from pipeline.domain.fold.partition import FOLD_VERSION, InputRecord, PartitionFold
from pipeline.domain.funnel_index import FunnelIndex
from pipeline.domain.overlay import Overlay
from pipeline.domain.records import WHOLE_RECORD, Ignored, StageCounts, Transition, TransitionBatch
from pipeline.domain.state import (
    APPLICATION,
    DAY,
    ORGANISATION,
    PARTITION,
    ApplicationHead,
    ApplicationState,
    PartitionState,
)
from pipeline.domain.windows import LocalDays
from pipeline.errors import TerminalError
from pipeline.topics import DEAD_LETTERS, EVENTS, STAGE_COUNTS, TRANSITIONS

TRANSITIONS_PER_BATCH = 1000
"""A transition is some 250 bytes: a batch of a thousand stays well under the broker's usual megabyte."""
OUTPUTS_PER_CHUNK = 20_000
"""Outputs after which a chunk is closed even inside a record, so that a vacancy of any size fits in memory."""
KEYS_PER_CHUNK = 10_000
"""Changed keys after which it is closed: some 4 MB of state, so that a chunk rarely has to be cut again."""


class NoPartitionStateError(TerminalError):
    """The changelog of a partition has no genesis record."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        super().__init__(
            f"the state of partition {partition} has no beginning: its changelog holds no genesis record. "
            "Run `parityflow topics apply` (a first start) or `parityflow rebuild` (its changelog was deleted)"
        )


class OutputMessage(NamedTuple):
    """One record to be sent to the partition of the same number as its input's."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class FoldedChunk:
    """What a chunk said and changed: outputs in order, changed keys (None deletes), and the state after it."""

    outputs: list[OutputMessage]
    changes: list[tuple[bytes, bytes | None]]
    state: PartitionState
    steps: int


class PartitionFolder:
    """Folds the input of one partition over its stored state."""

    def __init__(
        self,
        partition: int,
        read: Callable[[bytes], bytes | None],
        stored: Iterable[tuple[bytes, bytes]],
        codec: Codec,
        days: LocalDays,
        known_content: Mapping[str, str],
    ) -> None:
        """Load a partition.

        Args:
            partition: its number.
            read: the stored value of a key.
            stored: every stored key and value, once, to build the index from.
            codec: of inputs, outputs and state values.
            days: the local days to count by.
            known_content: hash of each reference data set of this version.

        Raises:
            NoPartitionStateError: there is no genesis record.
        """

        def load(key: bytes) -> Any:
            data = read(key)
            return None if data is None else load_value(codec, key, data)

        self.partition = partition
        self._codec = codec
        index = FunnelIndex()
        head_of = codec.head_decoder(ApplicationState, ApplicationHead)
        for key, data in stored:
            prefix = key[:1]
            if prefix == APPLICATION:
                index.load_application(key, *head_of(data))
            elif prefix in (DAY, ORGANISATION):
                index.load_key(key)
        self._overlay = Overlay(load, index.changed)
        state = self._overlay.get(PARTITION)
        if state is None:
            raise NoPartitionStateError(partition)
        self.state: PartitionState = state
        self._reader = InputReader(codec, partition, state.partitions)
        self._ledger = Ledger(self._overlay, index, {}, days, state.epoch)
        self._fold = PartitionFold(self._ledger, known_content)
        self._queue: deque[RawInput] = deque()
        self._applied = _applied(state)
        self._steps = 0
        self._raw_by_offset: dict[int, RawInput] = {}
        self._appended_at = 0

    @property
    def next_offset(self) -> int:
        """The first input offset that is not wholly applied."""
        return self.state.applied_offset + 1

    def extend(self, records: Sequence[RawInput], max_steps: int | None = None) -> int:
        """Fold records, in order and without a gap after what is applied, until one limit is reached.

        Returns:
            How many records were folded wholly.
        """
        for number, raw in enumerate(records):
            item = self._reader.read(raw)
            if not self._fold_record(raw, item, max_steps):
                return number
        return len(records)

    def _fold_record(self, raw: RawInput, item: InputRecord, max_steps: int | None) -> bool:
        """Fold one record; say whether all of it fitted."""
        if self._is_full(max_steps):
            return False
        self._appended_at = raw.appended_at
        outputs_before = len(self._ledger.outputs)
        offset, done, index = self._applied
        for more in self._fold.steps(item, done, index):
            done += 1
            self._steps += 1
            if more and self._is_full(max_steps):
                self._applied = offset, done, self._ledger.next_index
                self._remember(raw, outputs_before)
                return False
        self._applied = raw.offset, 0, 0
        self._remember(raw, outputs_before)
        return True

    def _is_full(self, max_steps: int | None) -> bool:
        return (
            len(self._ledger.outputs) >= OUTPUTS_PER_CHUNK
            or len(self._overlay.changes) >= KEYS_PER_CHUNK
            or (max_steps is not None and self._steps >= max_steps)
        )

    def _remember(self, raw: RawInput, outputs_before: int) -> None:
        """Keep the bytes of a record that was rejected: its dead letter shows them."""
        for output in self._ledger.outputs[outputs_before:]:
            if isinstance(output, Rejection):
                self._raw_by_offset[output.offset] = raw

    def finish(self) -> FoldedChunk:
        """Return what has to be sent and stored for all records folded since the last chunk."""
        folded = self._overlay.get(PARTITION)
        offset, steps, index = self._applied
        state = self.state._replace(
            applied_offset=offset, applied_steps=steps, applied_index=index, tick_minute=folded.tick_minute
        )
        changes = [
            (key, None if value is None else dump_value(self._codec, key, value))
            for key, value in self._overlay.changes.items()
            if key != PARTITION
        ]
        changes.append((PARTITION, dump_value(self._codec, PARTITION, state)))
        return FoldedChunk(self._messages(self._ledger.outputs, state), changes, state, self._steps)

    def accept(self, chunk: FoldedChunk) -> None:
        """The chunk is stored: go on from there."""
        self.state, self._applied = chunk.state, _applied(chunk.state)
        self._overlay.settle()
        self._clear()

    def discard(self) -> None:
        """The chunk was not stored: return to what is."""
        self._overlay.discard()
        self._applied = _applied(self.state)
        self._ledger.sums.clear()
        self._clear()

    def _clear(self) -> None:
        self._ledger.outputs = []
        self._raw_by_offset.clear()
        self._steps = 0

    def _messages(self, outputs: Sequence[Output], state: PartitionState) -> list[OutputMessage]:
        messages: list[OutputMessage] = []
        run: list[Transition | Ignored] = []
        position = _position(self.state)
        for output in outputs:
            if isinstance(output, (Transition, Ignored)):
                run.append(output)
                if len(run) == TRANSITIONS_PER_BATCH:
                    reached = output.offset, output.index
                    messages.append(self._batch(run, position, reached))
                    position, run = reached, []
            elif isinstance(output, StageCounts):
                key = f"{output.epoch}|{output.organisation}|{output.window_days}".encode()
                messages.append(OutputMessage(STAGE_COUNTS, key, self._codec.encode(output), ()))
            else:
                raw = self._raw_by_offset[output.offset]
                letter = dead_letter(
                    self._codec,
                    topic=EVENTS,
                    partition=self.partition,
                    offset=output.offset,
                    reason=output.reason,
                    detail=output.detail,
                    key=raw.key,
                    value=raw.value,
                )
                messages.append(OutputMessage(DEAD_LETTERS, *letter))
        messages.append(self._batch(run, position, _position(state)))
        return messages

    def _batch(
        self, run: Sequence[Transition | Ignored], start: tuple[int, int], end: tuple[int, int]
    ) -> OutputMessage:
        batch = TransitionBatch(
            self.state.epoch,
            self.partition,
            *start,
            *end,
            self._appended_at,
            FOLD_VERSION,
            [item for item in run if isinstance(item, Ignored)],
            [item for item in run if isinstance(item, Transition)],
        )
        return OutputMessage(TRANSITIONS, str(self.partition).encode(), self._codec.encode(batch), ())


def _applied(state: PartitionState) -> tuple[int, int, int]:
    """Return how far a state is: the last record applied wholly, steps of the next one, index of its next output."""
    return state.applied_offset, state.applied_steps, state.applied_index


def _position(state: PartitionState) -> tuple[int, int]:
    """Return the output position that a state stands for."""
    if state.applied_steps:
        return state.applied_offset + 1, state.applied_index - 1
    return state.applied_offset, WHOLE_RECORD
