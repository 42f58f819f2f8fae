"""What durable state on Faust costs over the least that Python can do: the same counting job, in turns, one topic."""

import json
import pickle
from collections import Counter
from statistics import median
from typing import Any

from benchmarks.rig import PARTITIONS, BenchmarkFailedError, Rig, produce, rig
from benchmarks.small_events import Counts, small_events
from pipeline.codec import Codec, LocalResolver
from pipeline.counting.epochs import FIRST_EPOCH, announce_epoch, begin_epoch
from pipeline.counting.state_values import load_value
from pipeline.domain.state import DAY, split_key
from pipeline.reconcile.state_log import read_state
from pipeline.topics import admin_client, apply_topics, changelog_spec

WARM_UP = 50_000
RUNS = 3
TARGET = 1.5


def run(events: int) -> dict[str, Any]:
    """Measure CPU per event of both, all threads of the process, imports and the first 50,000 events left out.

    Raises:
        BenchmarkFailedError: a count differs from the oracle's.
    """
    logs, expected = small_events(events)
    runs: dict[str, list[dict[str, float]]] = {"raw": [], "ours": []}
    with rig() as running:
        produce(running.bootstrap, logs)
        for number in range(RUNS):
            runs["raw"].append(_raw(running, events, expected))
            runs["ours"].append(_ours(running, FIRST_EPOCH + 1 + number, events, expected))
    cpu = {name: [round(one["cpu"] / one["events"] * 1e6, 2) for one in found] for name, found in runs.items()}
    per_second = {name: [round(one["events"] / one["seconds"]) for one in found] for name, found in runs.items()}
    medians = {name: median(values) for name, values in cpu.items()}
    return {
        "bytes_per_event": round(sum(len(value) for log in logs for _, value in log) / events, 1),
        "cpu_us_per_event": cpu,
        "events_per_second": per_second,
        "median_cpu_us_per_event": medians,
        "ratio_ours_over_raw": round(medians["ours"] / medians["raw"], 3),
        "target_ratio": TARGET,
    }


def _raw(running: Rig, events: int, expected: Counts) -> dict[str, float]:
    file = running.settings.state_dir / "counts.pickle"
    result = _result(running, "-m", "benchmarks.floor_raw", running.bootstrap, str(events), str(WARM_UP), str(file))
    _compare("raw", Counter(pickle.loads(file.read_bytes())), expected)
    return result


def _ours(running: Rig, epoch: int, events: int, expected: Counts) -> dict[str, float]:
    """Count in a new epoch, so that the state begins empty; read the counts back from the changelog."""
    bootstrap, codec = running.bootstrap, Codec(LocalResolver.load())
    admin = admin_client(bootstrap)
    apply_topics(admin, bootstrap, [changelog_spec(epoch, PARTITIONS)], 1)
    begin_epoch(admin, bootstrap, codec, epoch, PARTITIONS)
    announce_epoch(bootstrap, codec, epoch, {})
    result = _result(running, "-m", "benchmarks.floor_ours", str(events), str(WARM_UP))
    found: Counts = Counter()
    for partition in range(PARTITIONS):
        for key, data in read_state(bootstrap, epoch, partition).items():
            if key[:1] == DAY:
                organisation, day = split_key(key)
                for (cell, group), count in load_value(codec, key, data).items():
                    characteristic, stage = cell.split("/")
                    found[organisation, int(day), characteristic, group, stage] = count
    _compare("ours", found, expected)
    return result


def _result(running: Rig, *arguments: str) -> dict[str, float]:
    out, _ = running.start(*arguments).communicate(timeout=180)
    results = [line for line in out.splitlines() if line.startswith("{")]  # Faust prints its banner there too
    if not results:
        raise BenchmarkFailedError(f"{arguments[1]} gave no result:\n{running.log.read_text()[-2000:]}")
    found: dict[str, float] = json.loads(results[-1])
    return found


def _compare(name: str, found: Counts, expected: Counts) -> None:
    if found != expected:
        raise BenchmarkFailedError(f"{name}: the counts are not the oracle's")
