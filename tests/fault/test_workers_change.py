"""Workers that join, leave, pause past their session and come back: every record is counted once, whoever does it."""

import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.fault.faults import Freezer, WorkerEndedError
from tests.fault.harness import WORKER, Lab
from tests.fault.processes import Child, wait_until
from tests.fault.streams import PacedProducer, StateWatch, Wire

pytestmark = pytest.mark.broker

PAUSE_SECONDS = 8.0
"""Longer than the session of 6 seconds: the group gives the partitions of a paused worker away."""

PATIENCE_SECONDS = 6.0
"""How long a worker is stopped and let go until it is met between its outputs and its state."""


@dataclass(slots=True)
class Crew:
    """Workers of one group while records keep coming."""

    lab: Lab
    watch: StateWatch
    producer: PacedProducer
    freezer: Freezer
    workers: list[Child] = field(default_factory=list)

    def join(self) -> None:
        """Start one more worker and wait until it counts."""
        worker = self.lab.start(WORKER)
        self.workers.append(worker)
        worker.wait_for("partition_counting", 40)

    def leave(self) -> None:
        """Tell the youngest worker to end; another one takes its place."""
        self.supervise()
        self._wait_for_work()
        assert self.workers.pop().stop() == 0
        self._go_on()
        self.join()

    def kill(self) -> None:
        """Kill the youngest worker in the middle of work; another one takes its place."""
        worker = self._freeze(-1)
        self.workers.remove(worker)
        worker.kill()
        self.join()

    def pause(self) -> None:
        """Stop the oldest worker's time until others have its partitions, then let it go on as if nothing had been."""
        worker = self._freeze(0)
        time.sleep(PAUSE_SECONDS)
        self._go_on()
        worker.send(signal.SIGCONT)
        time.sleep(2)
        self._go_on()

    def _freeze(self, position: int) -> Child:
        """Stop a worker in the middle of work; one that another one's batch has ended meanwhile is replaced first."""
        while True:
            self.supervise()
            worker = self.workers[position]
            with suppress(WorkerEndedError):
                self.freezer.freeze(worker, PATIENCE_SECONDS)
                return worker

    def supervise(self) -> None:
        """Replace workers that found another one's batch in the state log, as ``parityflow up`` does."""
        for worker in [worker for worker in self.workers if worker.exit_code is not None]:
            assert "StateLogMovedError" in worker.text(), worker.tail()
            self.workers.remove(worker)
            self.join()

    def end(self) -> None:
        """Stop the workers; one that found another one's batch last has ended already."""
        for worker in self.workers:
            if worker.exit_code is None:
                assert worker.stop() == 0, worker.tail()
            else:
                assert "StateLogMovedError" in worker.text(), worker.tail()

    def _go_on(self) -> None:
        """Wait until new records of every partition are counted."""
        before, deadline = dict(self.watch.applied), time.monotonic() + 60
        while any(self.watch.applied[number] <= offset for number, offset in before.items()):
            self.supervise()
            assert time.monotonic() < deadline, "\n".join(worker.tail(1_000) for worker in self.workers)
            time.sleep(0.1)

    def _wait_for_work(self) -> None:
        wait_until(lambda: sum(self.producer.ends.values()) > self.watch.total(), 10, "input waits")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("size", [2, 3])
def test_workers_that_join_leave_pause_and_die_count_exactly(lab: Lab, records: list[Wire], size: int) -> None:
    watch = lab.watch()
    producer = lab.produce(records, rate=700)
    crew = Crew(lab, watch, producer, Freezer(lab, watch, producer, random.Random(size)))
    for _ in range(size):
        crew.join()
    crew.leave()
    crew.pause()
    crew.kill()
    crew.pause()
    lab.wait_applied(watch, producer.halt())
    crew.end()
    assert crew.freezer.between_outputs_and_state > 0
    assert lab.assert_exact().repeated > 0
    assert lab.kept_through_two_rebalances() > 0
