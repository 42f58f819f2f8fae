"""Input: the simulated year of an ICB as the broker would hold it, one log a partition, and its recount."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from benchmarks.rig import PARTITIONS
from pipeline.codec import Codec, LocalResolver
from pipeline.counting.inputs import RawInput
from pipeline.counting.state_values import load_value
from pipeline.domain.codes import CHARACTERISTICS
from pipeline.domain.state import DAY, split_key
from pipeline.reconcile.recount import ArchivedInput, Cell, recount
from pipeline.settings import Settings
from pipeline.simulation.simulate import a_year_until, run_simulation
from pipeline.topics import partition_of

VACANCIES = 2500
"""Some 143,000 records in a year."""
SEED = 7


class _Logs:
    """Takes simulated records in place of Kafka."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.logs: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTITIONS)]

    def send(self, record: Any) -> None:
        key = record.organisation.encode()
        self.logs[partition_of(key, PARTITIONS)].append((key, self._codec.encode(record)))

    def poll(self) -> None:
        pass

    def finish(self) -> None:
        pass


def simulated_year(vacancies: int = VACANCIES, seed: int = SEED) -> list[list[tuple[bytes, bytes]]]:
    """Return (key, value) of every record by partition, bracketed as a backfill."""
    logs = _Logs(Codec(LocalResolver.load()))
    year = replace(a_year_until(datetime.now(UTC), seed=seed), vacancies=vacancies)
    run_simulation(Settings(), year, sink=logs)
    return logs.logs


def as_raw_inputs(logs: Sequence[Sequence[tuple[bytes, bytes]]]) -> list[list[RawInput]]:
    """Return logs as the transport would hand them out."""
    now = int(time.time() * 1000)
    return [[RawInput(offset, now, key, value) for offset, (key, value) in enumerate(log)] for log in logs]


def recounted(logs: Sequence[Sequence[RawInput]]) -> dict[Cell, int]:
    """Return the counts that follow from logs, by the independent recount."""
    archived = (
        ArchivedInput(partition, item.offset, item.appended_at, item.key, item.value)
        for partition, log in enumerate(logs)
        for item in log
    )
    codec = Codec(LocalResolver.load())
    counted = recount(archived, codec, partitions=PARTITIONS, timezone="Europe/London", keep_contributions=False)
    return counted.cells


def state_cells(codec: Codec, states: Sequence[Mapping[bytes, bytes]]) -> dict[Cell, int]:
    """Return the day counts that stored states hold, one state a partition."""
    cells = {}
    for state in states:
        for key, data in state.items():
            if key[:1] != DAY:
                continue
            organisation, day = split_key(key)
            for (cell, group), count in load_value(codec, key, data).items():
                kind, name, outcome = cell.split("/")
                characteristic = CHARACTERISTICS[int(group[0])] if group else None
                place = (organisation, int(day), kind, name, outcome, characteristic, group[2:] or None)
                cells[Cell(*place)] = count
    return cells
