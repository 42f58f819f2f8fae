"""History: the outputs of a whole simulated year from Kafka into DuckDB, beside the archive of its input."""

import json
import re
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

from benchmarks.funnel import count_all
from benchmarks.outputs import Compared, compare_with_recount
from benchmarks.rig import HISTORY, PARTITIONS, WORKER, BenchmarkFailedError, Rig, cpu_seconds, produce, rig
from benchmarks.year import simulated_year
from pipeline.kafka_log import read_partition
from pipeline.reconcile.recount import Cell
from pipeline.topics import TRANSITIONS
from sinks.reader import open_history

TARGET = 40_000
PATIENCE_SECONDS = 120
_ROWS = re.compile(r'parityflow_history_rows_total\{table="(\w+)"\} (\S+)')


def run(vacancies: int) -> dict[str, Any]:
    """Measure rows a second, from the first committed batch to the last: with the archive of the input, and without.

    Raises:
        BenchmarkFailedError: the history's counts are not the recount's.
    """
    logs = simulated_year(vacancies)
    records = sum(map(len, logs))
    with rig() as running:
        produce(running.bootstrap, logs)
        worker = running.start(*WORKER)
        count_all(running, worker, records)
        running.end(worker)
        compared = compare_with_recount(running.bootstrap)
        with_archive = _record(running, compared, records)
        outputs = [
            [(item.key(), item.value()) for item in read_partition(running.bootstrap, TRANSITIONS, partition)]
            for partition in range(PARTITIONS)
        ]
    with rig() as running:
        produce(running.bootstrap, outputs, TRANSITIONS)
        alone = _record(running, compared, 0)
    return {
        "input_records": records,
        "with_archive": with_archive,
        "transitions_alone": alone,
        "target_transition_rows_per_second": TARGET,
    }


def _record(running: Rig, compared: Compared, inputs: int) -> dict[str, Any]:
    """Let history record everything that waits in Kafka; return what that took."""
    history = running.start(*HISTORY)
    boards = running.settings.state_dir / "boards.json"
    running.wait_until(boards.exists, PATIENCE_SECONDS, "history has started")
    url = json.loads(boards.read_text())["url"]
    samples: list[tuple[dict[str, int], float, float]] = []

    def is_done() -> bool:
        found = rows(url)
        if found.get("transitions"):
            samples.append((found, cpu_seconds(history), time.monotonic()))
        return found.get("transitions", 0) >= compared.contributions and found.get("inputs", 0) >= inputs

    running.wait_until(is_done, PATIENCE_SECONDS, "history has recorded all outputs")
    _check(running, compared.cells)
    running.end(history)
    (first, cpu_before, began), (last, cpu_after, ended) = samples[0], samples[-1]
    of_transitions = last["transitions"] - first["transitions"]
    of_all = sum(last.values()) - sum(first.values())
    return {
        "rows": last,
        "rows_measured": of_all,
        "transition_rows_per_second": round(of_transitions / (ended - began)),
        "all_rows_per_second": round(of_all / (ended - began)),
        "transition_rows_per_cpu_second": round(of_transitions / (cpu_after - cpu_before)),
        "all_rows_per_cpu_second": round(of_all / (cpu_after - cpu_before)),
    }


def rows(url: str) -> dict[str, int]:
    """Return the rows that history has committed, by table."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        return {name: int(float(value)) for name, value in _ROWS.findall(answer.read().decode())}


def _check(running: Rig, expected: Mapping[Cell, int]) -> None:
    with open_history(running.settings) as reader:
        found = {Cell(*(row[name] for name in Cell._fields)): row["people"] for row in reader.query("day_cells")}
    if found != expected:
        raise BenchmarkFailedError("the counts of the history are not the recount's")
