"""Many open applications: the worker's memory, and how long after a SIGKILL a new one counts again."""

import signal
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.outputs import compare_with_recount
from benchmarks.rig import PARTITIONS, WORKER, Progress, cpu_seconds, produce, rig
from pipeline.codec import Codec, LocalResolver
from pipeline.domain.codes import CHARACTERISTICS
from pipeline.domain.records import Answer, ApplicationEvent, EqualityAnswers
from pipeline.topics import partition_of

ORGANISATIONS = 16
PER_VACANCY = 50
SHORTLISTED_SHARE = 4
"""Every fourth application is shortlisted and waits for its interview; the others wait for the sift."""
TARGET_MB, TARGET_SECONDS = 1200, 30
PATIENCE_SECONDS = 900
FILL_SECONDS = 30 * 86_400


def run(applications: int) -> dict[str, Any]:
    """Measure.

    Raises:
        BenchmarkFailedError: the counts are not the recount's.
    """
    with rig() as running:
        logs = _open_applications(applications)
        total = sum(map(len, logs))
        worker = running.start(*WORKER)
        progress = Progress(running.bootstrap)
        produce(running.bootstrap, logs)
        del logs
        peak = _Peak(worker)
        running.wait_until(
            lambda: peak.look() and progress.applied() >= total, PATIENCE_SECONDS, "all applications are open"
        )
        rss, filled_cpu = worker.memory_info().rss, cpu_seconds(worker)
        killed = time.monotonic()
        running.end(worker, signal.SIGKILL)
        again = running.start(*WORKER)
        produce(running.bootstrap, _open_applications(ORGANISATIONS, name="after"))
        reloaded = _Peak(again)
        total += 2 * ORGANISATIONS + ORGANISATIONS // SHORTLISTED_SHARE
        running.wait_until(
            lambda: reloaded.look() and progress.applied() >= total, PATIENCE_SECONDS, "the new worker counts"
        )
        seconds = time.monotonic() - killed
        loading_cpu = cpu_seconds(again)
        running.end(again)
        progress.close()
        compared = compare_with_recount(running.bootstrap)
    return {
        "open_applications": applications,
        "records": total,
        "worker_rss_mb": round(rss / 2**20),
        "worker_peak_rss_mb": peak.mb,
        "worker_peak_rss_mb_after_restart": reloaded.mb,
        "seconds_from_kill_to_counting": round(seconds, 1),
        "session_timeout_seconds": running.settings.session_timeout_seconds,
        "cpu_seconds_to_load": round(loading_cpu, 1),
        "cpu_us_per_record_while_filling": round(filled_cpu / total * 1e6, 1),
        "target_rss_mb": TARGET_MB,
        "target_seconds": TARGET_SECONDS,
        "cells_compared": len(compared.cells),
    }


class _Peak:
    """The largest resident memory of a process that was seen."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self.mb = 0

    def look(self) -> bool:
        self.mb = max(self.mb, round(self._process.memory_info().rss / 2**20))
        return True


def _open_applications(count: int, name: str = "open") -> list[list[tuple[bytes, bytes]]]:
    """Return the records of applications that are still undecided, by partition."""
    codec = Codec(LocalResolver.load())
    logs: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTITIONS)]
    start = int(time.time() - FILL_SECONDS - 3600) * 1000
    for number in range(count):
        organisation = f"BENCH-{number % ORGANISATIONS:02d}"
        key = organisation.encode()
        log = logs[partition_of(key, PARTITIONS)]
        moment = start + FILL_SECONDS * 1000 * number // count
        log += [(key, codec.encode(record)) for record in _records(number, name, organisation, moment)]
    return logs


def _records(number: int, name: str, organisation: str, moment: int) -> Iterator[Any]:
    """Yield the records of one application: applied, answers, some shortlisted."""
    application, vacancy = f"{name}-{number:09d}", f"vacancy-{number // PER_VACANCY:06d}"

    def event(kind: str, at: int) -> ApplicationEvent:
        return ApplicationEvent(f"{application}:{kind}", kind, at, at, "bench", organisation, application, vacancy)

    answers = [Answer(characteristic, None, None, "declined") for characteristic in CHARACTERISTICS]
    yield event("applied", moment)
    yield EqualityAnswers(f"{application}:answers", moment, organisation, application, "given", "application", answers)
    if number % SHORTLISTED_SHARE == 0:
        yield event("shortlisted", moment + 60_000)
