"""SIGTERM in the middle of work: the worker commits the chunk in hand and ends; the next one goes on after it."""

import pytest

from tests.fault.harness import Lab
from tests.fault.processes import wait_until
from tests.fault.streams import Wire

pytestmark = pytest.mark.broker


def test_worker_told_to_stop_under_load_drains_and_exits_0(lab: Lab, records: list[Wire]) -> None:
    watch = lab.watch()
    producer = lab.produce(records[:24_000], rate=2_000)
    for _ in range(2):
        worker, before = lab.start(), watch.total()
        wait_until(lambda before=before: watch.total() > before + 2_000, 30, "it counts")
        assert worker.stop() == 0, worker.tail()
        applied = lab.applied(watch)
        assert any(applied[number] < end - 1 for number, end in producer.ends.items())
    last = lab.start()
    lab.wait_applied(watch, producer.finish())
    assert last.stop() == 0
    found = lab.assert_exact()
    assert found.repeated == 0, "a chunk was committed by halves"
