"""The rig: a broker of its own in a temporary folder, processes of the project on it, and how far they are."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition

from pipeline.codec import Codec, Decoded, LocalResolver
from pipeline.domain.records import WHOLE_RECORD, TransitionBatch
from pipeline.embedded_kafka.broker import EmbeddedBroker
from pipeline.settings import Settings
from pipeline.setup_topics import apply_all
from pipeline.topics import EVENTS, TRANSITIONS, admin_client, log_bounds

PARTITIONS = 4
WORKER = ("-m", "pipeline.cli", "worker", "funnel")
HISTORY = ("-m", "pipeline.cli", "history")
POLL_SECONDS = 0.05
ROOT = Path(__file__).parents[1]


class BenchmarkFailedError(Exception):
    """A run that counts for nothing: its output differs from the oracle's, or a process ended."""


@dataclass
class Rig:
    """A running broker with the project's topics."""

    settings: Settings
    log: Path
    processes: list[psutil.Popen] = field(default_factory=list)

    @property
    def bootstrap(self) -> str:
        return self.settings.bootstrap()

    def start(self, *arguments: str) -> psutil.Popen:
        """Start a Python process of the project on this rig."""
        environment = os.environ | {
            "PARITYFLOW_STATE_DIR": str(self.settings.state_dir),
            "PARITYFLOW_BOOTSTRAP_SERVERS": self.bootstrap,
            "PARITYFLOW_PARTITIONS": str(PARTITIONS),
            "PARITYFLOW_BOARDS_PORT": "0",
            "PARITYFLOW_LOG_LEVEL": "warning",
            "PYTHONPATH": str(ROOT),
        }
        with self.log.open("ab") as log:
            process = psutil.Popen(
                [sys.executable, *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.processes.append(process)
        return process

    def end(self, process: psutil.Popen, how: signal.Signals = signal.SIGTERM) -> None:
        """End a process and wait until it is gone."""
        if process.poll() is None:
            process.send_signal(how)
        try:
            process.wait(60)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(10)

    def wait_until(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Return when something holds.

        Raises:
            BenchmarkFailedError: it does not within the time, or a process has ended.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            ended = [process for process in self.processes if process.poll() not in (None, 0, -signal.SIGKILL)]
            if ended or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-2000:]
                raise BenchmarkFailedError(f"{what}: not within {seconds:.0f} s, or a process ended:\n{tail}")
            time.sleep(POLL_SECONDS)


@contextmanager
def rig() -> Iterator[Rig]:
    """Start a broker with all topics; stop it and every process at the end."""
    with tempfile.TemporaryDirectory(prefix="parityflow-bench-") as folder:
        broker = EmbeddedBroker(Path(folder))
        broker.start()
        running = None
        try:
            settings = Settings(
                state_dir=Path(folder), bootstrap_servers=broker.bootstrap_servers, partitions=PARTITIONS
            )
            apply_all(settings)
            running = Rig(settings, Path(folder) / "bench.log")
            yield running
        finally:
            for process in running.processes if running else ():
                running.end(process, signal.SIGKILL)
            broker.stop()


def produce(bootstrap: str, logs: Sequence[Sequence[tuple[bytes, bytes]]], topic: str = EVENTS) -> None:
    """Send one list of (key, value) a partition, in order."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 20,
            "queue.buffering.max.messages": 200_000,
            "log_level": 0,
        }
    )
    for partition, log in enumerate(logs):
        for number, (key, value) in enumerate(log):
            while True:
                try:
                    producer.produce(topic, value, key, partition)
                    break
                except BufferError:
                    producer.poll(0.2)
            if number % 1000 == 0:
                producer.poll(0)
    if producer.flush(120):
        raise BenchmarkFailedError("the broker did not take all of the input")


class Progress:
    """How many input records the agents have applied, by the last output of each partition."""

    def __init__(self, bootstrap: str) -> None:
        self._codec = Codec(LocalResolver.load())
        self._admin = admin_client(bootstrap)
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "benchmark.progress",
                "enable.auto.commit": False,
                "fetch.wait.max.ms": 10,
                "log_level": 0,
            }
        )
        self._seen = dict.fromkeys(range(PARTITIONS), 0)
        self._applied = dict.fromkeys(range(PARTITIONS), 0)

    def applied(self) -> int:
        """Return the number of records that are wholly applied, over all partitions."""
        moved = []
        for partition, (_, end) in log_bounds(self._admin, TRANSITIONS, PARTITIONS).items():
            if end > self._seen[partition]:
                moved.append(TopicPartition(TRANSITIONS, partition, end - 1))
                self._seen[partition] = end
        if moved:
            self._consumer.assign(moved)
            waiting = {place.partition for place in moved}
            while waiting:
                for message in self._consumer.consume(len(waiting), 5):
                    decoded = self._codec.decode(message.value())
                    if isinstance(decoded, Decoded) and isinstance(decoded.record, TransitionBatch):
                        batch = decoded.record
                        whole = batch.to_offset + (1 if batch.to_index == WHOLE_RECORD else 0)
                        self._applied[message.partition()] = whole
                    waiting.discard(message.partition())
        return sum(self._applied.values())

    def close(self) -> None:
        self._consumer.close()


def cpu_seconds(process: psutil.Popen) -> float:
    """Return the CPU time of a process so far, all its threads, user and system."""
    times = process.cpu_times()
    return float(times.user + times.system)
