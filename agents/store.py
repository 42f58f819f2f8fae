"""Our store behind Faust's table: a dictionary a partition, loaded from the changelog, written chunk by chunk."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import structlog
from faust.stores import base
from faust.types.tuples import TP

from pipeline.counting.epochs import POSITION_HEADER
from pipeline.domain.state import PARTITION
from pipeline.errors import TerminalError

log = structlog.get_logger(__name__)


class ChangelogForeignError(TerminalError):
    """The changelog holds a record that no chunk of ours wrote."""

    def __init__(self, partition: int, offset: int) -> None:
        self.partition = partition
        self.offset = offset
        super().__init__(
            f"the state log of partition {partition} holds at offset {offset} a record without our position header: "
            "something else wrote into it. Run `parityflow rebuild`"
        )


class PartitionedStore(base.Store):  # type: ignore[misc]
    """State of the assigned partitions, in memory; the changelog is its only durable form.

    All partitions are forgotten together at each assignment. ``persisted_offset`` answers -1: with None Faust would
    keep its recovery offsets for partitions that the worker retains, read nothing, and go on with empty state.
    """

    def __post_init__(self) -> None:
        self._values: dict[int, dict[bytes, bytes | None]] = {}
        self._positions: dict[int, dict[bytes, bytes]] = {}
        self._ends: dict[int, int] = {}
        self._stale: dict[int, set[bytes]] = {}
        self.loading_error: Exception | None = None
        self.assignments = 0

    # -- loading, called by Faust ------------------------------------------------------------------------------------

    def apply_changelog_batch(
        self, batch: Iterable[Any], to_key: Callable[[Any], Any], to_value: Callable[[Any], Any]
    ) -> None:
        """Load chunks of changelog records: of each key the value with the highest position holds.

        Faust logs what is raised here and goes on; so an error is kept and raised before the first chunk is folded.
        """
        del to_key, to_value
        try:
            for event in batch:
                self._load(event.message.partition, event.message.value)
                self._ends[event.message.partition] = event.message.offset + 1
        except Exception as error:
            self.loading_error = error
            raise

    def _load(self, partition: int, records: Iterable[Any]) -> None:
        values = self._values.setdefault(partition, {})
        positions = self._positions.setdefault(partition, {})
        stale = self._stale.setdefault(partition, set())
        for record in records:
            headers = record.headers
            if not headers or headers[0][0] != POSITION_HEADER:
                raise ChangelogForeignError(partition, record.offset)
            position, key = headers[0][1], record.key
            known = positions.get(key)
            if known is not None and known > position:
                stale.add(key)
                continue
            positions[key] = position
            values[key] = record.value
            stale.discard(key)  # a later record has mended it already

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Forget everything: recovery reads each assigned changelog anew."""
        del assigned, revoked, newly_assigned, generation_id
        for kept in (self._values, self._positions, self._ends, self._stale):
            kept.clear()
        self.loading_error = None
        self.assignments += 1

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Drop what only loading needs."""
        del active_tps, standby_tps
        self._positions.clear()
        for partition, keys in self._stale.items():
            if keys:
                log.warning("stale_state_met", partition=partition, keys=len(keys))
        for partition, values in self._values.items():
            stale = self._stale.get(partition, set())
            for key in [key for key, value in values.items() if value is None and key not in stale]:
                del values[key]

    def persisted_offset(self, tp: TP) -> int:
        """Say that nothing is on disk, so that the whole changelog is read."""
        del tp
        return -1

    def set_persisted_offset(self, tp: TP, offset: int) -> None:
        """Keep nothing: see ``persisted_offset``."""

    async def need_active_standby_for(self, tp: TP) -> bool:
        """Ask for no standby: memory is not handed over."""
        del tp
        return False

    def reset_state(self) -> None:
        """Keep the state: Faust calls this at start, before anything was loaded."""

    async def backup_partition(self, *_args: Any, **_kwargs: Any) -> None:
        """Do nothing: the changelog is the backup."""

    def restore_backup(self, *_args: Any, **_kwargs: Any) -> None:
        """Do nothing: the changelog is the backup."""

    # -- reading and writing, called by the chunk commit -------------------------------------------------------------

    def value(self, partition: int, key: bytes) -> bytes | None:
        """Return the stored value of a key."""
        return self._values.get(partition, {}).get(key)

    def items(self, partition: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key of a partition with its value."""
        for key, value in self._values.get(partition, {}).items():
            if value is not None:
                yield key, value

    def partition_state(self, partition: int) -> bytes | None:
        """Return the stored partition state, or None when the changelog has no genesis record.

        Raises:
            Exception: whatever went wrong while the changelog was loaded.
        """
        if self.loading_error is not None:
            raise self.loading_error
        return self.value(partition, PARTITION)

    def end(self, partition: int) -> int:
        """Return the offset that the next changelog record of this partition must get if nobody else writes."""
        return self._ends.get(partition, 0)

    def stale_changes(self, partition: int) -> list[tuple[bytes, bytes | None]]:
        """Return the keys whose last record in the log is older than their value, to be written once more."""
        values = self._values.get(partition, {})
        return [(key, values.get(key)) for key in sorted(self._stale.get(partition, ()))]

    def written(self, partition: int, changes: Iterable[tuple[bytes, bytes | None]], end: int) -> None:
        """Take over changes that the changelog has acknowledged."""
        values = self._values.setdefault(partition, {})
        for key, value in changes:
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
        self._ends[partition] = end
        self._stale.pop(partition, None)

    # -- Faust's mapping interface is closed: state changes only chunk by chunk --------------------------------------

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError

    def __delitem__(self, key: Any) -> None:
        raise TypeError

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return sum(len(values) for values in self._values.values())
