"""The full FUNNEL agent over a simulated year that waits in the topic: one worker, its CPU and its rate."""

import time
from typing import Any

import psutil

from benchmarks.outputs import compare_with_recount
from benchmarks.rig import WORKER, Progress, Rig, cpu_seconds, produce, rig
from benchmarks.year import simulated_year

WARM_UP_SHARE = 0.1
TARGET, AIM = 15_000, 30_000
PATIENCE_SECONDS = 180


def run(vacancies: int) -> dict[str, Any]:
    """Measure events per CPU second of the worker (all threads; start and first tenth left out) and per second.

    Raises:
        BenchmarkFailedError: state or transitions are not the recount's.
    """
    logs = simulated_year(vacancies)
    with rig() as running:
        produce(running.bootstrap, logs)
        worker = running.start(*WORKER)
        measured = count_all(running, worker, sum(map(len, logs)))
        running.end(worker)
        compared = compare_with_recount(running.bootstrap)
    return {
        **measured,
        "cells_compared": len(compared.cells),
        "target_per_cpu_second": TARGET,
        "aim_per_cpu_second": AIM,
    }


def count_all(running: Rig, worker: psutil.Popen, total: int) -> dict[str, Any]:
    """Watch a worker until it has applied all input; return what that took."""
    progress = Progress(running.bootstrap)
    samples: list[tuple[int, float, float]] = []

    def is_done() -> bool:
        applied = progress.applied()
        if applied >= total * WARM_UP_SHARE:
            samples.append((applied, cpu_seconds(worker), time.monotonic()))
        return applied >= total

    running.wait_until(is_done, PATIENCE_SECONDS, "the worker has applied all input")
    progress.close()
    first, last = samples[0], samples[-1]
    records, cpu, seconds = (after - before for before, after in zip(first, last, strict=True))
    return {
        "records": total,
        "records_measured": records,
        "cpu_us_per_record": round(cpu / records * 1e6, 2),
        "records_per_cpu_second": round(records / cpu),
        "records_per_second": round(records / seconds),
        "worker_share_of_a_core": round(cpu / seconds, 2),
        "worker_rss_mb": round(worker.memory_info().rss / 2**20),
    }
