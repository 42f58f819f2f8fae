"""Records whose effect is larger than a chunk may be: cut inside the record, killed there, gone on with exactly."""

import time

import pytest

from pipeline.domain.records import ApplicationEvent, VacancyEvent
from pipeline.topics import partition_of
from tests.fault.harness import Lab
from tests.fault.processes import wait_until
from tests.fault.streams import PARTITIONS, Wire, wire

pytestmark = pytest.mark.broker

DAY_MS = 86_400_000
ORGANISATION = "RX1"
HOME = partition_of(ORGANISATION.encode(), PARTITIONS)
APPLICANTS = 70_000
"""More than three chunks of 20,000 outputs: two of them are the last thing that a killed worker stored."""


def _applied(name: str, at: int, vacancy: str = "v1") -> ApplicationEvent:
    return ApplicationEvent(f"e-{name}", "applied", at, at, "test", ORGANISATION, name, vacancy)


@pytest.mark.timeout(240)
def test_worker_killed_inside_a_record_goes_on_inside_it(lab: Lab) -> None:
    now = int(time.time() * 1000) - 2 * DAY_MS
    watch, worker = lab.watch(), lab.start()
    lab.wait_applied(watch, lab.send([wire(_applied(f"a{number}", now)) for number in range(APPLICANTS)]), 90)
    before = lab.outputs()

    withdrawn = VacancyEvent("w", "withdrawn", now + DAY_MS, now + DAY_MS, "test", ORGANISATION, "v1")
    ends = lab.send([wire(withdrawn)])
    kills = 0
    while watch.applied[HOME] < ends[HOME] - 1:
        done = watch.steps[HOME]
        wait_until(lambda done=done: watch.steps[HOME] != done, 60, "steps of the record are done")
        if watch.steps[HOME] and kills < 2:
            worker.kill()
            inside = lab.partition_state(HOME)
            assert inside.applied_offset < ends[HOME] - 1
            assert inside.applied_steps > 0
            kills += 1
            worker = lab.start()
    assert kills == 2

    lab.wait_applied(watch, lab.send([wire(_applied("later", now))]), 60)
    assert worker.stop() == 0
    found = lab.assert_exact()
    voided = {cell.name: count for cell, count in found.cells.items() if cell.outcome == "void" and not cell.group}
    assert voided["shortlisting"] == voided["overall"] == APPLICANTS + 1
    assert found.sent - before.sent >= APPLICANTS


@pytest.mark.timeout(120)
def test_chunk_whose_state_exceeds_a_batch_is_halved(lab: Lab) -> None:
    now = int(time.time() * 1000) - 2 * DAY_MS
    padding = "x" * 12_000

    def long(number: int) -> Wire:
        return wire(_applied(f"{number:06d}-{padding}", now, f"v-{padding}"))

    watch = lab.watch()
    ends = lab.send([long(number) for number in range(1_500)])
    worker = lab.start()
    lab.wait_applied(watch, ends, 60)
    assert worker.stop() == 0
    assert worker.said("chunk_halved"), worker.tail()
    lab.assert_exact()
