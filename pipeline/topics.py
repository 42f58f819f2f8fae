"""Topics: names, partitions, retention, compaction; ``parityflow topics apply|check``. Nothing is auto-created.

``partition_of`` is the only partitioner: librdkafka's and aiokafka's defaults disagree, so every producer passes the
partition.
"""

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from pipeline.errors import TerminalError
from pipeline.kafka_log import may_be_new

EVENTS = "recruitment.events.v1"
TRANSITIONS = "recruitment.transitions.v1"
STAGE_COUNTS = "recruitment.stage-counts.v1"
DEAD_LETTERS = "recruitment.dead-letters.v1"
EPOCHS = "recruitment.epochs.v1"
EPOCH_KEY = b"funnel"

FUNNEL_APPLICATION = "parityflow-funnel"
"""Faust application id: the consumer group, and the first part of the changelog's name."""
STATE_TABLE = "state"

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Largest record batch of a changelog: the state of one chunk is one closed batch."""
MAX_INPUT_BYTES = 1024 * 1024
"""Largest input value that is folded; longer ones are dead letters, so the topic itself must accept more."""
_TIMEOUT_SECONDS = 30.0
_LEADER_POLL_SECONDS = 0.1
_DAY_MS = 86_400_000


class TopicsDifferError(TerminalError):
    """A topic exists with another shape than this version needs."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(
            "topics are not as expected: " + "; ".join(problems) + ". Run `parityflow topics apply`; a number of "
            "partitions can only change with new topics"
        )


class BrokerUnreachableError(TerminalError):
    """No broker answered at the configured address."""

    def __init__(self, bootstrap: str, problem: str) -> None:
        self.bootstrap = bootstrap
        super().__init__(
            f"no Kafka broker answers at {bootstrap} ({problem}); start it, or set PARITYFLOW_BOOTSTRAP_SERVERS to one "
            "that runs"
        )


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it must be."""

    name: str
    partitions: int
    settings: dict[str, str]


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition of a key.

    >>> partition_of(b"R1H", 12)
    4
    """
    return zlib.crc32(key) % partitions


def changelog_of(epoch: int) -> str:
    """Return the changelog topic of the FUNNEL agent's state in an epoch."""
    return f"{FUNNEL_APPLICATION}-{STATE_TABLE}-{epoch}-changelog"


def topic_specs(partitions: int, input_retention_days: int) -> list[TopicSpec]:
    """Return every topic but the changelogs, which belong to an epoch."""
    appended = {"message.timestamp.type": "LogAppendTime"}
    large = {"max.message.bytes": str(MAX_BATCH_BYTES)}
    retained = {**appended, **large, "cleanup.policy": "delete"}
    compacted = {**appended, **large, "cleanup.policy": "compact"}
    return [
        TopicSpec(EVENTS, partitions, {**retained, "retention.ms": str(input_retention_days * _DAY_MS)}),
        TopicSpec(TRANSITIONS, partitions, {**retained, "retention.ms": str(7 * _DAY_MS)}),
        TopicSpec(DEAD_LETTERS, partitions, {**retained, "retention.ms": str(90 * _DAY_MS)}),
        TopicSpec(STAGE_COUNTS, partitions, compacted),
        TopicSpec(EPOCHS, 1, compacted),
    ]


def changelog_spec(epoch: int, partitions: int) -> TopicSpec:
    """Return the changelog of an epoch: compacted late, so that a stale batch is mended before it is compacted."""
    return TopicSpec(
        changelog_of(epoch),
        partitions,
        {
            "cleanup.policy": "compact",
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(MAX_BATCH_BYTES),
            "segment.bytes": str(64 * 1024 * 1024),
            "min.compaction.lag.ms": str(3_600_000),
        },
    )


def admin_client(bootstrap: str) -> AdminClient:
    """Return an admin client that keeps quiet about a broker that is down."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def apply_topics(admin: AdminClient, bootstrap: str, specs: Sequence[TopicSpec], replication: int) -> list[str]:
    """Create the topics that are missing and return their names.

    Raises:
        BrokerUnreachableError: no broker answers.
        TopicsDifferError: one exists with another number of partitions.
    """
    existing = _partitions_by_topic(admin, bootstrap)
    wrong = [
        f"{spec.name} has {existing[spec.name]} partitions, expected {spec.partitions}"
        for spec in specs
        if spec.name in existing and existing[spec.name] != spec.partitions
    ]
    if wrong:
        raise TopicsDifferError(wrong)
    missing = [spec for spec in specs if spec.name not in existing]
    new = [NewTopic(spec.name, spec.partitions, replication, config=spec.settings) for spec in missing]
    if new:
        for future in admin.create_topics(new, operation_timeout=_TIMEOUT_SECONDS).values():
            future.result(_TIMEOUT_SECONDS)
    for spec in missing:
        log_bounds(admin, spec.name, spec.partitions)  # returns when every partition has its leader
    return [spec.name for spec in missing]


def check_topics(admin: AdminClient, bootstrap: str, specs: Sequence[TopicSpec]) -> list[str]:
    """Return in words what differs from the expected topics; nothing when all is right."""
    existing = _partitions_by_topic(admin, bootstrap)
    problems = [f"{spec.name} does not exist" for spec in specs if spec.name not in existing]
    present = [spec for spec in specs if spec.name in existing]
    problems += [
        f"{spec.name} has {existing[spec.name]} partitions, expected {spec.partitions}"
        for spec in present
        if existing[spec.name] != spec.partitions
    ]
    resources = [ConfigResource(ResourceType.TOPIC, spec.name) for spec in present]
    found = {
        resource.name: future.result(_TIMEOUT_SECONDS)
        for resource, future in (admin.describe_configs(resources) if resources else {}).items()
    }
    for spec in present:
        problems += [
            f"{spec.name} has {name}={found[spec.name][name].value}, expected {value}"
            for name, value in spec.settings.items()
            if found[spec.name][name].value != value
        ]
    return problems


def topic_id(admin: AdminClient, topic: str) -> str:
    """Return the broker's own id of a topic: it changes when the topic is deleted and made anew."""
    description = admin.describe_topics(TopicCollection([topic]))[topic].result(_TIMEOUT_SECONDS)
    return str(description.topic_id)


def log_bounds(admin: AdminClient, topic: str, partitions: int) -> dict[int, tuple[int, int]]:
    """Return for each partition the log's first offset and the offset after its last record."""
    numbers = [TopicPartition(topic, number) for number in range(partitions)]
    starts = _offsets(admin, numbers, OffsetSpec.earliest())
    ends = _offsets(admin, numbers, OffsetSpec.latest())
    return {number: (starts[number], ends[number]) for number in range(partitions)}


def _offsets(admin: AdminClient, partitions: Sequence[TopicPartition], spec: Any) -> dict[int, int]:
    """Ask for offsets; a partition that has just been created may have no leader for a moment."""
    begun = time.monotonic()
    while True:
        futures = admin.list_offsets(dict.fromkeys(partitions, spec))
        try:
            return {item.partition: future.result(_TIMEOUT_SECONDS).offset for item, future in futures.items()}
        except KafkaException as error:
            if not may_be_new(error, begun):
                raise
            time.sleep(_LEADER_POLL_SECONDS)
            admin.list_topics(timeout=_TIMEOUT_SECONDS)  # the client would go on with the leaders it has cached


def _partitions_by_topic(admin: AdminClient, bootstrap: str) -> dict[str, int]:
    try:
        metadata = admin.list_topics(timeout=_TIMEOUT_SECONDS)
    except KafkaException as error:
        raise BrokerUnreachableError(bootstrap, error.args[0].str()) from None
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}
