"""Input logs in memory: canonical records as history would have archived them."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from pipeline.codec import Codec, LocalResolver
from pipeline.domain.records import Tick
from pipeline.reconcile.recount import ArchivedInput
from pipeline.topics import partition_of

PARTITIONS = 4


class InputLog:
    """A log to which records, ticks and raw bytes are appended as a producer would."""

    def __init__(self, append_ms: int, partitions: int = PARTITIONS) -> None:
        self.codec = Codec(LocalResolver.load())
        self.append_ms = append_ms
        self.partitions = partitions
        self.inputs: list[ArchivedInput] = []
        self._ends: Counter[int] = Counter()

    def add(self, records: Iterable[Any], append_ms: int | None = None) -> "InputLog":
        """Append records under the key and in the partition of their organisation."""
        for record in records:
            key = record.organisation.encode()
            self.raw(partition_of(key, self.partitions), key, self.codec.encode(record), append_ms)
        return self

    def tick(self, at_ms: int) -> "InputLog":
        """Append the minute of a time to every partition, as the ticker does."""
        for partition in range(self.partitions):
            self.raw(partition, None, self.codec.encode(Tick(at_ms // 60_000)), at_ms)
        return self

    def raw(
        self, partition: int, key: bytes | None, value: bytes | None, append_ms: int | None = None
    ) -> ArchivedInput:
        """Append bytes as they are."""
        at = self.append_ms if append_ms is None else append_ms
        appended = ArchivedInput(partition, self._ends[partition], at, key, value)
        self._ends[partition] += 1
        self.inputs.append(appended)
        return appended
