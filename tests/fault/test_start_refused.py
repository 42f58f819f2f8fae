"""What was lost under a worker's feet: it stops and names ``rebuild`` instead of counting on."""

import signal
import time

import pytest
from confluent_kafka import TopicPartition

from pipeline.topics import EVENTS, FUNNEL_APPLICATION, apply_topics, changelog_of, changelog_spec, topic_specs
from tests.fault.harness import Lab
from tests.fault.processes import Child
from tests.fault.streams import PARTITIONS, Wire

pytestmark = pytest.mark.broker


def _assert_names_rebuild(worker: Child, *words: str) -> None:
    assert worker.wait(60) != 0, worker.tail()
    text = worker.text()
    for word in ("parityflow rebuild", *words):
        assert word in text, worker.tail()


def _delete_topic(lab: Lab, topic: str) -> None:
    lab.admin.delete_topics([topic])[topic].result(30)
    deadline = time.monotonic() + 30
    while topic in lab.admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _remove_input(lab: Lab, ends: dict[int, int]) -> None:
    gone = [TopicPartition(EVENTS, number, end - 10) for number, end in ends.items()]
    for removed in lab.admin.delete_records(gone).values():
        removed.result(30)


def _count_some(lab: Lab, records: list[Wire]) -> None:
    watch, worker = lab.watch(), lab.start()
    lab.wait_applied(watch, lab.send(records))
    assert worker.stop() == 0
    watch.abandon()


def test_worker_stops_and_names_rebuild_when_its_state_log_was_deleted(lab: Lab, records: list[Wire]) -> None:
    _count_some(lab, records[:2_000])
    _delete_topic(lab, changelog_of(1))
    _assert_names_rebuild(lab.start(), FUNNEL_APPLICATION)

    # an empty one in its place is no better: a state without a beginning
    apply_topics(lab.admin, lab.bootstrap, [changelog_spec(1, PARTITIONS)], 1)
    _assert_names_rebuild(lab.start(), "genesis")


def test_worker_stops_and_names_rebuild_when_input_was_removed_before_it_counted(lab: Lab, records: list[Wire]) -> None:
    _count_some(lab, records[:2_000])
    ends = lab.send(records[2_000:4_000])
    _remove_input(lab, ends)
    _assert_names_rebuild(lab.start(), "a next offset within the log")


def test_running_worker_stops_when_input_is_removed_before_its_eyes(lab: Lab, records: list[Wire]) -> None:
    watch, worker = lab.watch(), lab.start()
    lab.wait_applied(watch, lab.send(records[:2_000]))
    worker.send(signal.SIGSTOP)
    _remove_input(lab, lab.send(records[2_000:4_000]))
    worker.send(signal.SIGCONT)
    _assert_names_rebuild(worker, "Retention removed records")


def test_worker_stops_and_names_rebuild_when_the_input_topic_was_made_anew(lab: Lab, records: list[Wire]) -> None:
    _count_some(lab, records[:2_000])
    _delete_topic(lab, EVENTS)
    specs = [spec for spec in topic_specs(PARTITIONS, 30) if spec.name == EVENTS]
    apply_topics(lab.admin, lab.bootstrap, specs, 1)
    lab.send(records[:4_000])  # as long as the old one: only its id tells
    _assert_names_rebuild(lab.start(), "input topic")
