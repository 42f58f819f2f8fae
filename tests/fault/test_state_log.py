"""The state log itself: batches of a worker that was replaced are mended, and compaction leaves the right state."""

import time
from collections import defaultdict

import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pipeline.domain.records import ApplicationEvent
from pipeline.domain.state import DAY, PARTITION
from pipeline.kafka_log import read_partition
from pipeline.reconcile.state_log import read_state
from pipeline.topics import changelog_of
from tests.fault.conftest import NewLab
from tests.fault.faults import append_stale
from tests.fault.harness import Lab
from tests.fault.processes import wait_until
from tests.fault.streams import CODEC, PARTITIONS, Wire, wire

pytestmark = pytest.mark.broker

QUICK_CLEANER = {"log.cleaner.backoff.ms": "300", "log.retention.check.interval.ms": "1000"}
COMPACT_AT_ONCE = {
    "min.compaction.lag.ms": "0",
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
}


def _compact_at_once(lab: Lab) -> None:
    resource = ConfigResource(
        ResourceType.TOPIC,
        changelog_of(1),
        incremental_configs=[
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in COMPACT_AT_ONCE.items()
        ],
    )
    for changed in lab.admin.incremental_alter_configs([resource]).values():
        changed.result(30)


def _log(lab: Lab, partition: int) -> list[Message]:
    return list(read_partition(lab.bootstrap, changelog_of(1), partition))


def _wait_until_compacted(lab: Lab, before: dict[int, int]) -> None:
    """Wait until the broker has dropped most of the records that it held."""

    def is_compacted() -> bool:
        time.sleep(0.5)
        return all(len(_log(lab, number)) < before[number] * 0.8 for number in range(PARTITIONS))

    wait_until(is_compacted, 60, "the state log is compacted")


def _stale_batch(lab: Lab, partition: int) -> list[Message]:
    """Return the records that an earlier chunk wrote and that later chunks have overwritten since."""
    by_key = defaultdict(list)
    for message in _log(lab, partition):
        by_key[message.key()].append(message)
    overwritten = [messages[0] for messages in by_key.values() if len(messages) > 2]
    position = max(message.headers() for message in overwritten if message.key()[:1] == DAY)
    batch = [message for message in overwritten if message.headers() <= position]
    own = [message for message in by_key[PARTITION] if message.headers() == position]
    return [*batch, *own]


@pytest.mark.timeout(180)
def test_batch_of_a_replaced_worker_stops_the_owner_and_is_mended_before_compaction(
    new_lab: NewLab, records: list[Wire]
) -> None:
    lab = new_lab(overrides=QUICK_CLEANER)
    watch, worker = lab.watch(), lab.start()
    for start in range(0, 8_000, 2_000):
        lab.wait_applied(watch, lab.send(records[start : start + 2_000]))

    stale = _stale_batch(lab, 0)
    assert len(stale) > 5
    append_stale(lab.bootstrap, 1, 0, [(one.key(), one.value(), one.headers()) for one in stale])
    ends = lab.send(records[8_000:10_000])
    assert worker.wait(30) != 0
    assert "StateLogMovedError" in worker.text()

    second = lab.start()
    lab.wait_applied(watch, ends)
    met, repaired = second.wait_for("stale_state_met"), second.wait_for("state_log_repaired")
    assert met["partition"] == repaired["partition"] == 0
    assert repaired["keys"] > 5
    lab.assert_exact()
    last_wins = {message.key(): message.value() for message in _log(lab, 0)}
    assert {key: value for key, value in last_wins.items() if value is not None} == read_state(lab.bootstrap, 1, 0)

    before = {number: len(_log(lab, number)) for number in range(PARTITIONS)}
    _compact_at_once(lab)
    time.sleep(1)
    lab.wait_applied(watch, lab.send(records[10_000:12_000]))  # an append closes the old segments
    _wait_until_compacted(lab, before)
    assert second.stop() == 0
    third = lab.start()
    lab.wait_applied(watch, lab.send(records[12_000:14_000]))
    assert third.stop() == 0
    assert not third.said("stale_state_met")
    lab.assert_exact()


def _with_erasures(records: list[Wire]) -> list[Wire]:
    """Return records in which every thirtieth applicant has the application erased a thousand records later."""
    found: list[Wire] = []
    erasures: list[Wire] = []
    for number, record in enumerate(records):
        found.append(record)
        event = CODEC.decode(record.value).record
        if number % 30 == 0 and isinstance(event, ApplicationEvent):
            erased = event._replace(event_id=f"erase-{number}", event_type="erased", merged_into=None)
            erasures.append(wire(erased))
        if number > 1_000 and erasures and number % 30 == 0:
            found.append(erasures.pop(0))
    return found


@pytest.mark.timeout(180)
def test_worker_killed_over_a_compacted_state_log_with_deletions_recovers_exactly(
    new_lab: NewLab, records: list[Wire]
) -> None:
    lab = new_lab(overrides=QUICK_CLEANER)
    _compact_at_once(lab)
    watch, worker = lab.watch(), lab.start()
    producer = lab.produce(_with_erasures(records[:30_000]), rate=1_500)
    wait_until(lambda: watch.total() > 20_000, 60, "it counts")
    ends = dict(producer.ends)
    worker.kill()
    applied = lab.applied(watch)
    assert any(applied[number] < end - 1 for number, end in ends.items())
    written = {number: watch.read_to[changelog_of(1), number] for number in range(PARTITIONS)}
    _wait_until_compacted(lab, written)
    deleted = sum(message.value() is None for number in range(PARTITIONS) for message in _log(lab, number))
    second = lab.start()
    lab.wait_applied(watch, producer.finish())
    assert second.stop() == 0
    assert watch.deletions > 500
    assert deleted < watch.deletions, "compaction removed no deletion"
    lab.assert_exact()
