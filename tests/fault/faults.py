"""Faults on purpose: a worker stopped or killed in the middle of work, a batch of one that was replaced."""

import random
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.kafka_log import plain_producer
from pipeline.topics import changelog_of
from tests.fault.harness import Lab
from tests.fault.processes import Child, wait_until
from tests.fault.streams import PacedProducer, StateWatch


class WorkerEndedError(AssertionError):
    """The worker that was to be met at work has ended by itself."""


@dataclass(slots=True)
class Freezer:
    """Stops the time of a worker in the middle of work, for others to kill it or take its place.

    It is stopped at random moments, until input is found unapplied that only it could have applied, and preferably
    where outputs are sent of which the state knows nothing; at other moments it goes on.
    """

    lab: Lab
    watch: StateWatch
    producer: PacedProducer
    random: random.Random
    between_outputs_and_state: int = 0

    def freeze(self, worker: Child, patience: float, seconds: float = 30) -> None:
        """Stop a worker; after ``patience`` seconds any unapplied input will do."""
        begun = time.monotonic()
        while True:
            time.sleep(self.random.random() * 0.1)
            if worker.exit_code is not None:
                raise WorkerEndedError(worker.tail())
            partitions = worker.partitions()
            ends = {number: self.producer.ends[number] for number in partitions}
            worker.send(signal.SIGSTOP)
            self._let_arrive(partitions)
            is_between = any(self.watch.said.get(n, -1) > self.watch.applied[n] for n in partitions)
            is_unapplied = any(self.watch.applied[number] < end - 1 for number, end in ends.items())
            waited = time.monotonic() - begun
            if is_unapplied and (is_between or waited > patience):
                self.between_outputs_and_state += is_between
                return
            assert waited < seconds, "input was never found unapplied"
            worker.send(signal.SIGCONT)
            if not is_unapplied:
                self.producer.allowed += 200

    def _let_arrive(self, partitions: set[int]) -> None:
        """Wait until the broker has what a worker had sent before its time was stopped."""

        def state() -> list[Any]:
            self.watch.catch_up(self.lab.admin)
            return [(self.watch.said.get(number), self.watch.applied[number]) for number in sorted(partitions)]

        known = None
        while known != (known := state()):
            time.sleep(0.05)


@dataclass(slots=True)
class Kills:
    """Kills of one worker after another, each in the middle of work."""

    freezer: Freezer
    recovery_seconds: list[float] = field(default_factory=list)

    def kill(self, worker: Child, seconds: float = 30) -> None:
        """Wait until the worker counts again, let it count a random part of what waits, kill it in the middle."""
        watch, producer = self.freezer.watch, self.freezer.producer
        before, begun = watch.total(), time.monotonic()
        wait_until(
            lambda: watch.total() > before or worker.exit_code is not None, seconds, f"counting again\n{worker.tail()}"
        )
        assert worker.exit_code is None, worker.tail()
        self.recovery_seconds.append(time.monotonic() - begun)
        counted = watch.total()
        goal = counted + self.freezer.random.random() * 0.5 * (sum(producer.ends.values()) - counted)
        wait_until(lambda: watch.total() >= goal, seconds, "what waits is counted")
        self.freezer.freeze(worker, patience=1.5)
        worker.kill()


def append_stale(
    bootstrap: str, epoch: int, partition: int, records: Sequence[tuple[bytes, bytes | None, Any]]
) -> None:
    """Append (key, value, headers) to a state log like a worker that does not know that it was replaced."""
    producer = plain_producer(bootstrap)
    for key, value, headers in records:
        producer.produce(changelog_of(epoch), key=key, value=value, partition=partition, headers=headers)
    assert producer.flush(30) == 0
