"""The FUNNEL agent: takes chunks of the input log, folds them, commits each, acknowledges it."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog

from agents.chunk import ChunkCommitter
from agents.store import PartitionedStore
from pipeline.codec import Codec
from pipeline.counting.folding import NoPartitionStateError, PartitionFolder
from pipeline.counting.inputs import RawInput
from pipeline.crashpoints import CrashPoint, reach
from pipeline.domain.state import PARTITION, PartitionState
from pipeline.domain.windows import LocalDays
from pipeline.errors import TerminalError, TransientError

if TYPE_CHECKING:
    from agents.transport import ChunkConsumer

FOLD_SLICE = 250
"""Records folded before the event loop gets its turn: some 15 ms."""

OpenPartition = Callable[..., PartitionFolder]
"""Makes the fold of a partition; called with the arguments of ``PartitionFolder``."""

log = structlog.get_logger(__name__)


class GenerationMovedError(TransientError):
    """The group rebalanced while a chunk was being folded: its partition may belong to another worker now."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        super().__init__(f"the group rebalanced while a chunk of partition {partition} was folded; it is dropped")


class StepTooLargeError(TerminalError):
    """One step of one record changes more state than a record batch may hold."""

    def __init__(self, partition: int, offset: int) -> None:
        self.partition = partition
        self.offset = offset
        super().__init__(
            f"partition {partition}, after offset {offset}: one step changes more than 8 MiB of state. "
            "Raise max.message.bytes of the state log and report this record"
        )


class FunnelAgent:
    """Folds the assigned partitions, one chunk after the other."""

    def __init__(
        self,
        app: Any,
        store: PartitionedStore,
        committer: ChunkCommitter,
        codec: Codec,
        days: LocalDays,
        known_content: Mapping[str, str],
        verify: Callable[[int, PartitionState], None],
        open_partition: OpenPartition = PartitionFolder,
    ) -> None:
        self._app = app
        self._verify = verify
        self._store = store
        self._committer = committer
        self._codec = codec
        self._days = days
        self._known_content = known_content
        self._open_partition = open_partition
        self._folders: dict[int, PartitionFolder] = {}
        self._counting: set[int] = set()
        self._assignment = -1

    async def consume(self, stream: Any) -> None:
        """Process chunks for ever; stop the worker rather than go past one that could not be committed.

        An exception that left a Faust agent would acknowledge the chunk; so would cancellation without ``noack``.
        """
        async for event in stream.noack().events():
            try:
                await self.process(event.message)
                reach(CrashPoint.BEFORE_ACK)
                await stream.ack(event)
            except GenerationMovedError as moved:
                log.info("chunk_dropped", reason=str(moved))
                self._folders.clear()
            except Exception as error:
                log.exception("worker_stops", reason=str(error))
                await self._app.crash(error)
                await asyncio.Event().wait()

    def next_offset(self, partition: int) -> int:
        """Return where an input partition goes on, once its recovered state fits the input log."""
        folder = self.folder(partition)
        self._verify(partition, folder.state)
        log.info("partition_assigned", partition=partition, assignment=self._assignment, next_offset=folder.next_offset)
        return folder.next_offset

    def folder(self, partition: int) -> PartitionFolder:
        """Return the fold of a partition over the state of the present assignment.

        Raises:
            NoPartitionStateError: its changelog has no genesis record.
        """
        if self._assignment != self._store.assignments:
            self._folders.clear()
            self._counting.clear()
            self._assignment = self._store.assignments
        folder = self._folders.get(partition)
        if folder is None:
            if self._store.partition_state(partition) is None:
                raise NoPartitionStateError(partition)
            folder = self._folders[partition] = self._open_partition(
                partition,
                lambda key: self._store.value(partition, key),
                self._store.items(partition),
                self._codec,
                self._days,
                self._known_content,
            )
        return folder

    async def process(self, message: Any) -> None:
        """Fold and commit one message of the transport: a list of consecutive records of one partition."""
        tp, generation = message.tp, message.generation_id
        self._check_generation(generation, tp.partition)
        folder = self.folder(tp.partition)
        records = [RawInput(item.offset, item.timestamp, item.key, item.value) for item in message.value]
        wanted = folder.next_offset
        records = [item for item in records if item.offset >= wanted]
        if not records:
            return
        consumer: ChunkConsumer = self._app.consumer
        if records[0].offset > wanted and not consumer.is_gap_of_log(tp, wanted, records[0].offset):
            await consumer.redeliver(tp, wanted)
            return
        await self._repair(folder, tp.partition, generation)
        max_steps: int | None = None
        while records:
            folded, max_steps = await self._commit_some(folder, records, tp, generation, max_steps)
            records = records[folded:]

    async def _commit_some(
        self, folder: PartitionFolder, records: list[RawInput], tp: Any, generation: int, max_steps: int | None
    ) -> tuple[int, int | None]:
        """Commit as many records as fit; return how many were wholly folded and the limit to go on with."""
        folded = await self._fold(folder, records, max_steps)
        chunk = folder.finish()
        batch = await self._committer.build(tp.partition, chunk.changes, chunk.state)
        if batch is None:
            folder.discard()
            if chunk.steps <= 1:
                raise StepTooLargeError(tp.partition, folder.state.applied_offset)
            log.info("chunk_halved", partition=tp.partition, steps=chunk.steps)
            return 0, chunk.steps // 2
        self._check_generation(generation, tp.partition)
        await self._committer.send_outputs(tp.partition, chunk.outputs)
        self._check_generation(generation, tp.partition)
        await self._committer.commit(batch)
        folder.accept(chunk)
        if tp.partition not in self._counting:
            self._counting.add(tp.partition)
            applied = chunk.state.applied_offset
            log.info("partition_counting", partition=tp.partition, assignment=self._assignment, applied_offset=applied)
        return folded, max_steps

    async def _fold(self, folder: PartitionFolder, records: list[RawInput], max_steps: int | None) -> int:
        folded = 0
        while folded < len(records):
            part = records[folded : folded + FOLD_SLICE]
            done = folder.extend(part, max_steps)
            folded += done
            if done < len(part):
                break
            await asyncio.sleep(0)
        return folded

    async def _repair(self, folder: PartitionFolder, partition: int, generation: int) -> None:
        """Write once more what a stale batch has overlaid in the log, before compaction would make it the truth."""
        changes = self._store.stale_changes(partition)
        if not changes:
            return
        log.warning("state_log_repaired", partition=partition, keys=len(changes))
        own = self._store.value(partition, PARTITION)
        changes = [(key, value) for key, value in changes if key != PARTITION]
        batch = await self._committer.build(partition, [*changes, (PARTITION, own)], folder.state)
        if batch is None:
            raise StepTooLargeError(partition, folder.state.applied_offset)
        self._check_generation(generation, partition)
        await self._committer.commit(batch)

    def _check_generation(self, generation: int, partition: int) -> None:
        if generation != self._app.consumer_generation_id:
            raise GenerationMovedError(partition)
