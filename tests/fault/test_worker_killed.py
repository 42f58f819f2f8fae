"""A worker that is killed again and again, at random moments and at chosen ones, counts every record exactly once."""

import random

import pytest

from pipeline.crashpoints import KILLED, CrashPoint
from tests.fault.conftest import NewLab
from tests.fault.faults import Freezer, Kills
from tests.fault.harness import HISTORY_CRASHES, WORKER_CRASHES, Lab
from tests.fault.streams import Wire

pytestmark = pytest.mark.broker


def test_every_crash_point_is_exercised_by_a_test_of_the_worker_or_of_history() -> None:
    assert {*WORKER_CRASHES, *HISTORY_CRASHES} == set(CrashPoint)


@pytest.mark.timeout(400)
def test_twenty_kills_in_a_hundred_thousand_events_change_no_count(new_lab: NewLab, records: list[Wire]) -> None:
    lab = new_lab(session_timeout=3)
    watch = lab.watch()
    producer = lab.produce(records, rate=1_500, allowed=0)
    kills = Kills(Freezer(lab, watch, producer, random.Random(1)))
    for number in range(1, 21):
        producer.allowed = max(producer.allowed, number * 4_500)
        kills.kill(lab.start())
    producer.allowed = len(records)
    assert kills.freezer.between_outputs_and_state > 0
    assert max(kills.recovery_seconds) < 30
    last = lab.start()
    lab.wait_applied(watch, producer.finish())
    assert last.stop() == 0
    assert lab.assert_exact().repeated > 0


def test_every_crash_point_of_the_worker_leaves_the_counts_exact(lab: Lab, records: list[Wire]) -> None:
    watch = lab.watch()
    producer = lab.produce(records[:20_000], rate=800)
    for point in WORKER_CRASHES:
        worker = lab.start(crash=f"{point}:3")
        assert worker.wait(40) == KILLED, worker.tail()
        applied = lab.applied(watch)
        assert any(applied[number] < end - 1 for number, end in producer.ends.items())
    last = lab.start()
    lab.wait_applied(watch, producer.finish())
    assert last.stop() == 0
    assert lab.assert_exact().repeated > 0
