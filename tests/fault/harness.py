"""A laboratory for faults: a broker, real workers and history as processes, a paced producer, and the oracle.

Nothing here shares code with the agents but the codec and the record types; what is counted again comes from
``pipeline.reconcile.recount``, which reads the input log back from the broker.
"""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.codec import Decoded
from pipeline.crashpoints import VARIABLE, CrashPoint
from pipeline.domain.state import PARTITION, PartitionState
from pipeline.kafka_log import read_partition
from pipeline.reconcile.recount import ArchivedInput, Cell, Recount, recount
from pipeline.reconcile.state_log import agent_days, read_state
from pipeline.settings import Settings
from pipeline.setup_topics import apply_all
from pipeline.topics import EVENTS, admin_client, log_bounds
from tests.broker_provider import Kafka
from tests.fault.outputs import Outputs, assert_same, read_outputs
from tests.fault.processes import Child, wait_until
from tests.fault.streams import CODEC, PARTITIONS, PacedProducer, StateWatch, Wire

WORKER = ("worker", "funnel")
HISTORY = ("history",)
WORKER_CRASHES = (
    CrashPoint.BEFORE_OUTPUTS,
    CrashPoint.AFTER_OUTPUTS,
    CrashPoint.AFTER_STATE_BATCH,
    CrashPoint.BEFORE_ACK,
)
HISTORY_CRASHES = (CrashPoint.HISTORY_BEFORE_COMMIT, CrashPoint.HISTORY_AFTER_COMMIT)


@dataclass(slots=True)
class Lab:
    """A broker with topics, and what runs on it."""

    kafka: Kafka
    folder: Path
    session_timeout: float = 6.0
    children: list[Child] = field(default_factory=list)
    threads: list[StateWatch | PacedProducer] = field(default_factory=list)
    admin: Any = field(init=False)

    @property
    def bootstrap(self) -> str:
        return self.kafka.bootstrap

    @property
    def settings(self) -> Settings:
        return Settings(
            state_dir=self.folder,
            bootstrap_servers=self.bootstrap,
            partitions=PARTITIONS,
            session_timeout_seconds=self.session_timeout,
        )

    def __post_init__(self) -> None:
        self.admin = admin_client(self.bootstrap)

    def apply_topics(self) -> None:
        apply_all(self.settings)

    def start(self, command: Sequence[str] = WORKER, crash: str | None = None) -> Child:
        """Start a worker or history."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("PARITYFLOW_")}
        env |= {
            "PARITYFLOW_STATE_DIR": str(self.folder),
            "PARITYFLOW_BOOTSTRAP_SERVERS": self.bootstrap,
            "PARITYFLOW_PARTITIONS": str(PARTITIONS),
            "PARITYFLOW_SESSION_TIMEOUT_SECONDS": str(self.session_timeout),
            "PARITYFLOW_BOARDS_PORT": "0",
        }
        if crash is not None:
            env[VARIABLE] = crash
        log = self.folder / f"{len(self.children):02d}-{command[-1]}.log"
        child = Child(command, env, log)
        self.children.append(child)
        return child

    def produce(self, records: Sequence[Wire], rate: float, allowed: int | None = None) -> PacedProducer:
        """Begin to send records at a steady rate, all of them or as many as are allowed for now."""
        producer = PacedProducer(self.bootstrap, records, rate, len(records) if allowed is None else allowed)
        self.threads.append(producer)
        producer.start()
        return producer

    def send(self, records: Sequence[Wire]) -> dict[int, int]:
        """Send records at once; return the input ends after them."""
        return self.produce(records, 1e9).finish()

    def watch(self, epoch: int = 1) -> StateWatch:
        """Begin to follow the state log."""
        watch = StateWatch(self.bootstrap, epoch)
        self.threads.append(watch)
        return watch

    def input_ends(self) -> dict[int, int]:
        return {number: end for number, (_, end) in log_bounds(self.admin, EVENTS, PARTITIONS).items()}

    def applied(self, watch: StateWatch) -> dict[int, int]:
        """Return the last applied offsets of the state log as it is now."""
        watch.catch_up(self.admin)
        return dict(watch.applied)

    def partition_state(self, partition: int, epoch: int = 1) -> PartitionState:
        """Return what the state log says of a partition."""
        decoded = CODEC.decode(read_state(self.bootstrap, epoch, partition)[PARTITION])
        assert isinstance(decoded, Decoded)
        state = decoded.record
        assert isinstance(state, PartitionState)
        return state

    def wait_applied(self, watch: StateWatch, ends: dict[int, int], seconds: float = 60) -> None:
        """Return when the input before ``ends`` is applied."""

        def is_applied() -> bool:
            return all(watch.applied.get(number, -1) >= end - 1 for number, end in ends.items())

        running = [child for child in self.children if child.exit_code is None]
        wait_until(
            is_applied,
            seconds,
            f"input {ends} is applied, found {watch.applied}; " + "\n".join(child.tail(1500) for child in running),
        )

    def close(self) -> None:
        """End everything, whatever state it is in."""
        for child in self.children:
            child.kill()
        for thread in self.threads:
            thread.abandon()

    # -- the comparison ----------------------------------------------------------------------------------------------

    def outputs(self, epoch: int = 1) -> Outputs:
        """Read the output topics to their ends."""
        return read_outputs(self.bootstrap, epoch)

    def inputs(self) -> Iterator[ArchivedInput]:
        """Yield the input log as the broker holds it."""
        for partition in range(PARTITIONS):
            for message in read_partition(self.bootstrap, EVENTS, partition):
                appended_at = message.timestamp()[1]
                yield ArchivedInput(partition, message.offset(), appended_at, message.key(), message.value())

    def recount(self) -> Recount:
        """Count everything again, independently."""
        return recount(
            self.inputs(), CODEC, partitions=PARTITIONS, timezone=self.settings.timezone, keep_contributions=False
        )

    def state_cells(self, epoch: int = 1) -> dict[Cell, int]:
        """Return the day counts of the agents' state."""
        return {
            Cell(day.organisation, day.day, *cell): count
            for day in agent_days(self.bootstrap, CODEC, epoch, PARTITIONS)
            for cell, count in day.cells.items()
        }

    def assert_exact(self, epoch: int = 1) -> Outputs:
        """Compare outputs, state and dead letters with the oracle: equal, not close."""
        right, found = self.recount(), self.outputs(epoch)
        assert right.cells, "nothing was counted"
        assert_same("transitions", found.cells, right.cells)
        assert_same("state", self.state_cells(epoch), right.cells)
        expected = {(one.partition, one.offset): one.reason for one in right.rejected}
        assert_same("dead letters", found.dead_letters, expected)
        return found

    # -- what happened -----------------------------------------------------------------------------------------------

    def kept_through_two_rebalances(self) -> int:
        """Count partitions that a worker kept through two rebalances in a row and then counted new records of."""
        kept = 0
        for child in self.children:
            next_offsets: defaultdict[int, dict[int, int]] = defaultdict(dict)
            for line in child.said("partition_assigned"):
                next_offsets[line["partition"]][line["assignment"]] = line["next_offset"]
            for line in child.said("partition_counting"):
                before = next_offsets[line["partition"]]
                number = line["assignment"]
                if {number - 2, number - 1, number} <= before.keys() and line["applied_offset"] >= before[number]:
                    kept += 1
        return kept
