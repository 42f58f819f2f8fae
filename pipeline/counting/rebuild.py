"""``parityflow rebuild``: count everything anew from the archive into a new epoch, with the same fold as the agents.

History builds the new epoch beside the old one and swaps when it holds all of it; workers then go on at its end.
Published tables, cases, deliveries and the audit log are no part of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from confluent_kafka.admin import AdminClient

from pipeline.codec import Codec, LocalResolver
from pipeline.counting.epochs import POSITION_HEADER, announce_epoch, current_epoch, position_bytes
from pipeline.counting.folding import PartitionFolder
from pipeline.counting.inputs import RawInput
from pipeline.domain.fold.partition import FOLD_VERSION
from pipeline.domain.state import PARTITION, PartitionState
from pipeline.domain.windows import LocalDays
from pipeline.errors import TerminalError, TransientError
from pipeline.kafka_log import LogWriter
from pipeline.settings import Settings
from pipeline.topics import (
    EVENTS,
    FUNNEL_APPLICATION,
    admin_client,
    apply_topics,
    changelog_of,
    changelog_spec,
    log_bounds,
    topic_id,
)

RECORDS_PER_CHUNK = 5_000
"""The state stays in memory until a partition ends, so a chunk only bounds the outputs that wait to be sent."""
_ANSWER_SECONDS = 30.0


class Archive(Protocol):
    """History, as far as a rebuild reads it."""

    def inputs(self) -> Iterator[Any]:
        """Yield every archived record (partition, offset, append_ms, key, value) by (partition, offset)."""


class WorkersRunningError(TransientError):
    """Workers still count into the epoch that is to be replaced."""

    def __init__(self, members: int) -> None:
        self.members = members
        super().__init__(
            f"{members} funnel workers are running: stop them first (parityflow up: stop it and run "
            "`parityflow history` alone), then run rebuild again"
        )


class ArchiveGapError(TerminalError):
    """The archive ends before the input log begins: records in between are lost to both."""

    def __init__(self, partition: int, archived_to: int, log_start: int) -> None:
        self.partition = partition
        super().__init__(
            f"{EVENTS} partition {partition}: the archive holds records up to offset {archived_to - 1}, the log begins "
            f"at {log_start}; what lay between is gone. Restore the history file from a backup that reaches further"
        )


def rebuild(archive: Archive, settings: Settings, known_content: Mapping[str, str]) -> Iterator[str]:
    """Count anew and make the result the current epoch; yields what it does, in words.

    A rebuild that is interrupted leaves a topic of a number that is never announced; the next one takes the number
    after.

    Raises:
        WorkersRunningError: a worker is a member of the group.
        ArchiveGapError: archive and log together do not hold every record.
        LogWriteError: the broker has not taken all of the new epoch; nothing was announced.
    """
    bootstrap, partitions = settings.bootstrap(), settings.partitions
    admin, codec = admin_client(bootstrap), Codec(LocalResolver.load())
    _refuse_running_workers(admin)
    epoch = _next_epoch(admin, current_epoch(bootstrap, codec).epoch)
    apply_topics(admin, bootstrap, [changelog_spec(epoch, partitions)], settings.replication)
    yield f"counting anew into epoch {epoch}"
    writer = _EpochWriter(bootstrap, epoch, topic_id(admin, EVENTS), partitions, codec, LocalDays(settings.timezone))
    bounds = log_bounds(admin, EVENTS, partitions)
    ends: dict[int, int] = {}
    for partition, records in _by_partition(archive.inputs(), partitions):
        state, count = writer.write(partition, records, known_content)
        ends[partition] = state.applied_offset
        if state.applied_offset + 1 < bounds[partition][0]:
            raise ArchiveGapError(partition, state.applied_offset + 1, bounds[partition][0])
        yield f"partition {partition}: {count:,} records, applied to offset {state.applied_offset}"
    announce_epoch(bootstrap, codec, epoch, ends)
    yield f"epoch {epoch} is current; history swaps to it as soon as it holds all of it. Start the workers again"


class _EpochWriter:
    """Writes outputs and state of a new epoch."""

    def __init__(
        self, bootstrap: str, epoch: int, input_id: str, partitions: int, codec: Codec, days: LocalDays
    ) -> None:
        self._log = LogWriter(bootstrap)
        self._epoch = epoch
        self._input_id = input_id
        self._partitions = partitions
        self._codec = codec
        self._days = days

    def write(
        self, partition: int, records: Iterable[RawInput], known_content: Mapping[str, str]
    ) -> tuple[PartitionState, int]:
        """Fold a partition from its beginning; return its state at the end and how many records there were."""
        pending: list[RawInput] = []
        stored: dict[bytes, bytes] = {}
        folder: PartitionFolder | None = None
        count = 0
        for record in records:
            if folder is None:
                folder = self._begin(partition, record.offset, stored, known_content)
            pending.append(record)
            count += 1
            if len(pending) == RECORDS_PER_CHUNK:
                self._fold(folder, pending, stored)
                pending = []
        if folder is None:
            folder = self._begin(partition, 0, stored, known_content)
        self._fold(folder, pending, stored)
        headers = [(POSITION_HEADER, position_bytes(folder.state))]
        for key, value in stored.items():
            self._log.write(changelog_of(self._epoch), partition, key, value, headers)
        self._log.finish()
        return folder.state, count

    def _begin(
        self, partition: int, first: int, stored: dict[bytes, bytes], known_content: Mapping[str, str]
    ) -> PartitionFolder:
        state = PartitionState(self._epoch, self._input_id, self._partitions, FOLD_VERSION, first - 1, 0, 0, 0)
        stored[PARTITION] = self._codec.encode(state)
        return PartitionFolder(partition, stored.get, list(stored.items()), self._codec, self._days, known_content)

    def _fold(self, folder: PartitionFolder, records: list[RawInput], stored: dict[bytes, bytes]) -> None:
        while records:
            folded = folder.extend(records)
            chunk = folder.finish()
            for output in chunk.outputs:
                self._log.write(output.topic, folder.partition, output.key, output.value, output.headers)
            for key, value in chunk.changes:
                if value is None:
                    stored.pop(key, None)
                else:
                    stored[key] = value
            folder.accept(chunk)
            records = records[folded:]


def _by_partition(inputs: Iterator[Any], partitions: int) -> Iterator[tuple[int, Iterator[RawInput]]]:
    """Cut the archive, which comes by (partition, offset), into its partitions; an empty one comes empty."""
    ahead: list[Any] = []

    def records_of(partition: int) -> Iterator[RawInput]:
        while True:
            record = ahead.pop() if ahead else next(inputs, None)
            if record is None:
                return
            if record.partition != partition:
                ahead.append(record)
                return
            yield RawInput(record.offset, record.append_ms, record.key, record.value)

    for partition in range(partitions):
        yield partition, records_of(partition)


def _refuse_running_workers(admin: AdminClient) -> None:
    group = admin.describe_consumer_groups([FUNNEL_APPLICATION])[FUNNEL_APPLICATION].result(_ANSWER_SECONDS)
    if group.members:
        raise WorkersRunningError(len(group.members))


def _next_epoch(admin: AdminClient, current: int) -> int:
    """Return the first number after the current one that no interrupted rebuild has used."""
    topics = admin.list_topics(timeout=30).topics
    epoch = current + 1
    while changelog_of(epoch) in topics:
        epoch += 1
    return epoch
