"""A partition held in memory: what the agent does with a broker, without one."""

from collections import Counter
from collections.abc import Sequence

from pipeline.codec import Codec, Decoded, LocalResolver
from pipeline.counting.folding import OutputMessage, PartitionFolder
from pipeline.counting.inputs import RawInput
from pipeline.counting.state_values import load_value
from pipeline.domain.codes import CHARACTERISTICS
from pipeline.domain.fold.partition import FOLD_VERSION
from pipeline.domain.records import Transition, TransitionBatch
from pipeline.domain.state import DAY, PARTITION, PartitionState, split_key
from pipeline.domain.windows import LocalDays

CODEC = Codec(LocalResolver.load())
DAYS = LocalDays("Europe/London")
CellTuple = tuple[str, int, str, str, str, str | None, str | None]


class MemoryPartition:
    """State and outputs of partition 0; ``restart`` loses everything but the stored bytes, like a killed worker."""

    def __init__(self, partitions: int = 1) -> None:
        state = PartitionState(1, "test", partitions, FOLD_VERSION, -1, 0, 0, 0)
        self.stored: dict[bytes, bytes] = {PARTITION: CODEC.encode(state)}
        self.outputs: list[OutputMessage] = []
        self.restart()

    def restart(self) -> None:
        self.folder = PartitionFolder(0, self.stored.get, list(self.stored.items()), CODEC, DAYS, {})

    def feed(self, records: Sequence[RawInput], *, max_steps: int | None = None) -> None:
        """Fold and commit all records, in as many chunks as ``max_steps`` makes."""
        rest = [item for item in records if item.offset >= self.folder.next_offset]
        while rest:
            folded = self.folder.extend(rest, max_steps)
            chunk = self.folder.finish()
            self.outputs += chunk.outputs
            for key, value in chunk.changes:
                if value is None:
                    self.stored.pop(key, None)
                else:
                    self.stored[key] = value
            self.folder.accept(chunk)
            rest = rest[folded:]

    def fold_and_lose(self, records: Sequence[RawInput]) -> None:
        """Fold records, send their outputs, and lose the state: what a kill between the two writes leaves."""
        rest = [item for item in records if item.offset >= self.folder.next_offset]
        self.folder.extend(rest)
        self.outputs += self.folder.finish().outputs
        self.restart()

    def state_cells(self) -> dict[CellTuple, int]:
        """Return the day counts of the stored state."""
        cells: dict[CellTuple, int] = {}
        for key, data in self.stored.items():
            if key[:1] != DAY:
                continue
            organisation, day = split_key(key)
            for (cell, group), count in load_value(CODEC, key, data).items():
                kind, name, outcome = cell.split("/")
                characteristic = CHARACTERISTICS[int(group[0])] if group else None
                cells[organisation, int(day), kind, name, outcome, characteristic, group[2:] or None] = count
        return cells

    def transitions(self) -> list[Transition]:
        """Return the transitions as a reader takes them: each position once, none missing."""
        last, found = (-1, 2**31 - 1), []
        for batch in self.sent(TransitionBatch):
            assert (batch.from_offset, batch.from_index) <= last, "outputs are missing"
            found += [item for item in batch.transitions if (item.offset, item.index) > last]
            last = max(last, (batch.to_offset, batch.to_index))
        return found

    def transition_cells(self) -> dict[CellTuple, int]:
        """Return the net counts of all transitions."""
        cells: Counter[CellTuple] = Counter()
        for item in self.transitions():
            for one in item.contributions:
                cell = (item.organisation, one.day, one.kind, one.name, one.outcome)
                cells[*cell, None, None] += item.sign
                for characteristic, group in zip(CHARACTERISTICS, item.groups, strict=True):
                    cells[*cell, characteristic, group] += item.sign
        return {cell: count for cell, count in cells.items() if count}

    def sent(self, record_class: type) -> list:
        """Return the outputs of one class in the order of sending."""
        decoded = [CODEC.decode(output.value) for output in self.outputs]
        return [item.record for item in decoded if isinstance(item, Decoded) and isinstance(item.record, record_class)]


def raw_inputs(records: Sequence[tuple], appended_at: int, first_offset: int = 0) -> list[RawInput]:
    """Return records as the broker would give them."""
    return [
        RawInput(first_offset + number, appended_at, record.organisation.encode(), CODEC.encode(record))
        for number, record in enumerate(records)
    ]
