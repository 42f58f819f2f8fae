"""Epochs: which state log and outputs are current, how an epoch begins, and whether a worker may go on with a state."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient

from pipeline.codec import Codec, Decoded
from pipeline.domain.fold.partition import FOLD_VERSION
from pipeline.domain.records import Epoch
from pipeline.domain.state import PARTITION, PartitionState
from pipeline.errors import TerminalError
from pipeline.kafka_log import LogWriter, read_partition
from pipeline.topics import EPOCH_KEY, EPOCHS, EVENTS, changelog_of, log_bounds, topic_id

FIRST_EPOCH = 1
POSITION_HEADER = "c"
"""Header of every changelog record: how far the input was applied with it, as bytes that sort."""
GENESIS_POSITION = bytes(12)
_POSITION = struct.Struct(">QI")


class NoEpochError(TerminalError):
    """The epochs topic is empty: nothing was set up."""

    def __init__(self) -> None:
        super().__init__("no epoch has begun on this Kafka cluster: run `parityflow topics apply` first")


class StateUnfitError(TerminalError):
    """The state of a partition does not belong to the present input log."""

    def __init__(self, partition: int, expected: str, found: str) -> None:
        self.partition = partition
        super().__init__(
            f"the state of partition {partition} does not fit the input log: expected {expected}, found {found}. "
            "Counting on would lose or double events: run `parityflow rebuild`, which counts anew from the archive"
        )


def position_bytes(state: PartitionState) -> bytes:
    """Return a position as bytes that sort like it: offset applied wholly, steps done of the next record."""
    return _POSITION.pack(state.applied_offset + 1, state.applied_steps)


def current_epoch(bootstrap: str, codec: Codec) -> Epoch:
    """Return the last epoch that was announced.

    Raises:
        NoEpochError: none was.
    """
    last: Epoch | None = None
    for message in read_partition(bootstrap, EPOCHS, 0):
        decoded = codec.decode(message.value())
        if isinstance(decoded, Decoded):
            last = decoded.record
    if last is None:
        raise NoEpochError
    return last


def announce_epoch(bootstrap: str, codec: Codec, epoch: int, positions: Mapping[int, int]) -> None:
    """Make an epoch the current one.

    Args:
        bootstrap: Kafka addresses.
        codec: encodes the record.
        epoch: its number.
        positions: input offset per partition that its outputs cover already; readers swap when they hold all of that.

    Raises:
        LogWriteError: the broker has not taken it.
    """
    record = Epoch(epoch, {str(partition): offset for partition, offset in positions.items()})
    writer = LogWriter(bootstrap)
    writer.write(EPOCHS, 0, EPOCH_KEY, codec.encode(record))
    writer.finish()


def begin_epoch(admin: AdminClient, bootstrap: str, codec: Codec, epoch: int, partitions: int) -> None:
    """Write the genesis record into each changelog partition that is still empty.

    Raises:
        LogWriteError: the broker has not taken all of them.
    """
    input_id = topic_id(admin, EVENTS)
    starts = log_bounds(admin, EVENTS, partitions)
    ends = log_bounds(admin, changelog_of(epoch), partitions)
    writer = LogWriter(bootstrap)
    for partition in range(partitions):
        if ends[partition][1] > 0:
            continue
        state = PartitionState(epoch, input_id, partitions, FOLD_VERSION, starts[partition][0] - 1, 0, 0, 0)
        headers = [(POSITION_HEADER, GENESIS_POSITION)]
        writer.write(changelog_of(epoch), partition, PARTITION, codec.encode(state), headers)
    writer.finish()


@dataclass(frozen=True, slots=True)
class StartCheck:
    """What the state of every partition must agree with before its worker may go on."""

    admin: AdminClient
    epoch: int
    partitions: int
    input_id: str

    @classmethod
    def prepare(cls, admin: AdminClient, epoch: int, partitions: int) -> "StartCheck":
        """Look up the input topic."""
        return cls(admin, epoch, partitions, topic_id(admin, EVENTS))

    def verify(self, partition: int, state: PartitionState) -> None:
        """Compare a partition's state with the input log.

        Raises:
            StateUnfitError: topic, number of partitions, fold version or offsets disagree.
        """
        for expected, found in (
            (f"epoch {self.epoch}", f"epoch {state.epoch}"),
            (f"input topic {self.input_id}", f"input topic {state.topic_id}"),
            (f"{self.partitions} partitions", f"{state.partitions} partitions"),
            (f"fold version {FOLD_VERSION}", f"fold version {state.fold_version}"),
        ):
            if expected != found:
                raise StateUnfitError(partition, expected, found)
        start, end = log_bounds(self.admin, EVENTS, self.partitions)[partition]
        if not start <= state.applied_offset + 1 <= end:
            raise StateUnfitError(
                partition, f"a next offset within the log, {start} to {end}", str(state.applied_offset + 1)
            )
