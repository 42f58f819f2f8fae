"""The plain counting job on our transport, store and atomic chunk: a worker whose fold only counts."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import faust

from agents.app import collect_garbage_seldom, create_worker
from benchmarks.floor_raw import cpu
from benchmarks.small_events import DAY_MS, SCHEMA, SMALL_HEADER, SmallEvent
from pipeline.avro.decoder import compile_decoder
from pipeline.avro.definition import read_record
from pipeline.codec import Codec
from pipeline.counting.folding import FoldedChunk
from pipeline.counting.inputs import RawInput
from pipeline.counting.state_values import load_value
from pipeline.domain.state import PARTITION, DayCounts, PartitionState, day_key
from pipeline.settings import Settings

_SCHEMA = read_record(SCHEMA)
DECODE = compile_decoder(_SCHEMA, _SCHEMA, {"SmallEvent": SmallEvent})


class CountingFolder:
    """Stands in for ``PartitionFolder``: a day's cells are one stored value, written once a chunk."""

    def __init__(
        self,
        partition: int,
        read: Callable[[bytes], bytes | None],
        stored: Iterable[tuple[bytes, bytes]],
        codec: Codec,
        *_: Any,
    ) -> None:
        self.partition = partition
        self._codec = codec
        self._tables: dict[bytes, dict[tuple[str, str], int]] = {}
        for key, data in stored:
            if key != PARTITION:
                self._tables[key] = load_value(codec, key, data)
        self.state: PartitionState = load_value(codec, PARTITION, read(PARTITION))
        self._applied, self._counted = self.state.applied_offset, 0
        self._touched: set[bytes] = set()

    @property
    def next_offset(self) -> int:
        return self.state.applied_offset + 1

    def extend(self, records: Sequence[RawInput], max_steps: int | None = None) -> int:
        del max_steps
        tables, touched = self._tables, self._touched
        for _, _, _, value in records:
            if value is None or not value.startswith(SMALL_HEADER):
                continue  # a tick
            event = DECODE(value, 5)[0]
            key = day_key(event.organisation, event.event_time // DAY_MS)
            touched.add(key)
            table = tables.get(key)
            if table is None:
                table = tables[key] = {}
            stage = event.stage
            for characteristic, group in zip(("ethnicity", "disability", "sex"), event[5:], strict=True):
                cell = (characteristic + "/" + stage, group)
                table[cell] = table.get(cell, 0) + 1
            self._counted += 1
        self._applied = records[-1].offset
        return len(records)

    def finish(self) -> FoldedChunk:
        state = self.state._replace(applied_offset=self._applied)
        changes = [(key, self._dump(self._tables[key])) for key in self._touched]
        changes.append((PARTITION, self._codec.encode(state)))
        return FoldedChunk([], changes, state, self._counted)

    def accept(self, chunk: FoldedChunk) -> None:
        self.state = chunk.state
        METER.count(self._counted)
        self._touched.clear()
        self._counted = 0

    def discard(self) -> None:
        raise NotImplementedError  # a chunk of 1,000 small events always fits

    def _dump(self, table: dict[tuple[str, str], int]) -> bytes:
        names, groups = zip(*table, strict=True)
        return self._codec.encode(DayCounts(names, [1] * len(names), groups, list(table.values())))


class Meter:
    """Measures from the end of the warm-up to the last event, then ends the worker."""

    def __init__(self, total: int, warm_up: int) -> None:
        self._total = total
        self._warm_up = warm_up
        self._done = 0
        self._began: tuple[int, float, float] | None = None

    def count(self, events: int) -> None:
        self._done += events
        if self._began is None and self._done >= self._warm_up:
            self._began = self._done, cpu(), time.monotonic()
        elif self._began is not None and self._done >= self._total:
            done, used, since = self._began
            result = {"events": self._done - done, "cpu": cpu() - used, "seconds": time.monotonic() - since}
            os.write(1, (json.dumps(result) + "\n").encode())  # Faust takes print for a log line
            self._total = sys.maxsize
            os.kill(os.getpid(), signal.SIGTERM)


METER = Meter(int(sys.argv[1]), int(sys.argv[2]))


def main() -> None:
    """Run the worker until all events are counted and their counts are in the changelog."""
    worker = create_worker(Settings(), {}, CountingFolder)  # type: ignore[arg-type]  # it stands in
    collect_garbage_seldom(worker.app)
    sys.argv[1:] = []
    faust.Worker(worker.app, loglevel="warning").execute_from_commandline()


if __name__ == "__main__":
    main()
