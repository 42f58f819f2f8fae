"""A broker that ends in order or is killed under load: nothing acknowledged is lost, nothing counts twice."""

import signal
import time

import pytest

from tests.fault.harness import Lab
from tests.fault.processes import wait_until
from tests.fault.streams import Wire

pytestmark = pytest.mark.broker


@pytest.mark.timeout(180)
def test_broker_restarts_under_load_lose_nothing(lab: Lab, records: list[Wire]) -> None:
    watch = lab.watch()
    producer = lab.produce(records[:24_000], rate=700)
    workers = [lab.start()]
    for how in (signal.SIGTERM, signal.SIGKILL):
        before = watch.total()
        wait_until(lambda before=before: watch.total() > before + 1_000, 60, "it counts")
        lab.kafka.stop(how)
        sent = producer.sent
        time.sleep(3)
        assert producer.sent > sent + 1_000, "no load"
        lab.kafka.start()
        before = watch.total()
        # a worker that gave up is started again by whoever supervises it
        wait_until(lambda: workers[-1].exit_code is not None or watch.total() > before + 1_000, 60, "it goes on")  # noqa: B023
        if workers[-1].exit_code is not None:
            workers.append(lab.start())
    lab.wait_applied(watch, producer.finish(), 90)
    assert workers[-1].stop() == 0
    lab.assert_exact()
