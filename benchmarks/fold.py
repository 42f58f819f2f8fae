"""``PartitionFolder`` in memory, without Kafka: records a second, where the time goes, and what fastavro would cost.

The same input is folded with our compiled codec and with fastavro behind the same interface, in turns.
"""

import cProfile
import gc
import io
import pstats
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from agents.transport import INPUT_CHUNK
from benchmarks.fastavro_codec import FastavroCodec
from benchmarks.rig import PARTITIONS, BenchmarkFailedError
from benchmarks.year import as_raw_inputs, recounted, simulated_year, state_cells
from pipeline.codec import Codec, LocalResolver
from pipeline.counting.folding import PartitionFolder
from pipeline.counting.inputs import RawInput
from pipeline.domain.fold.partition import FOLD_VERSION
from pipeline.domain.state import PARTITION, PartitionState
from pipeline.domain.windows import LocalDays

RUNS = 2


def run(vacancies: int) -> dict[str, Any]:
    """Measure.

    Args:
        vacancies: how large the year is; 2,500 are some 143,000 records.

    Raises:
        BenchmarkFailedError: the folded counts are not the recount's.
    """
    logs = as_raw_inputs(simulated_year(vacancies))
    records = sum(map(len, logs))
    own, fast = Codec(LocalResolver.load()), FastavroCodec(LocalResolver.load())
    stored = _fold(logs, own)
    if state_cells(own, stored) != recounted(logs) or stored != _fold(logs, fast):
        raise BenchmarkFailedError("the counts in the folded state are not the recount's, or differ between codecs")
    gc.collect()
    gc.freeze()
    gc.disable()  # as in the worker, which collects once a minute
    runs: dict[str, list[float]] = {"own_codec": [], "fastavro": []}
    for _ in range(RUNS):
        for name, codec in (("own_codec", own), ("fastavro", fast)):
            runs[name].append(_cpu(lambda codec=codec: _fold(logs, codec)) / records * 1e6)
    decode = {name: _decode_cost(codec, logs) for name, codec in (("own_codec", own), ("fastavro", fast))}
    profile = _profile(logs, own)
    gc.enable()
    gc.unfreeze()
    medians = {name: median(values) for name, values in runs.items()}
    return {
        "records": records,
        "cpu_us_per_record": runs,
        "records_per_cpu_second": {name: round(1e6 / value) for name, value in medians.items()},
        "fastavro_over_own_codec": round(medians["fastavro"] / medians["own_codec"], 3),
        "decode_us_per_input_record": decode,
        "profile_by_own_time": profile,
    }


def _fold(logs: Sequence[Sequence[RawInput]], codec: Codec) -> list[dict[bytes, bytes]]:
    """Fold every partition in chunks as the worker does; return the stored state of each."""
    days, states = LocalDays("Europe/London"), []
    for partition, log in enumerate(logs):
        genesis = PartitionState(1, "benchmark", PARTITIONS, FOLD_VERSION, -1, 0, 0, 0)
        stored = {PARTITION: codec.encode(genesis)}
        folder = PartitionFolder(partition, stored.get, list(stored.items()), codec, days, {})
        for start in range(0, len(log), INPUT_CHUNK):
            rest = log[start : start + INPUT_CHUNK]
            while rest:
                rest = rest[folder.extend(rest) :]
                chunk = folder.finish()
                for key, value in chunk.changes:
                    if value is None:
                        stored.pop(key, None)
                    else:
                        stored[key] = value
                folder.accept(chunk)
        states.append(stored)
    return states


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _decode_cost(codec: Codec, logs: Sequence[Sequence[RawInput]]) -> float:
    """Return microseconds to decode an input record."""
    values = [item.value for log in logs for item in log]
    return round(_cpu(lambda: [codec.decode(value) for value in values]) / len(values) * 1e6, 2)


def _profile(logs: Sequence[Sequence[RawInput]], codec: Codec) -> list[str]:
    """Return the lines of a profile, the most expensive functions first (profiling itself doubles the time)."""
    profile = cProfile.Profile()
    profile.runcall(_fold, logs, codec)
    text = io.StringIO()
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(25)
    return [line for line in text.getvalue().splitlines() if line.strip()][3:]
