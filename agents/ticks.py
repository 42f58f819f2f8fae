"""Ticks: once a minute one record into every assigned input partition, so that clocks move where no event comes."""

import time
from typing import Any

import structlog

from agents.chunk import ChunkCommitter
from pipeline.codec import Codec
from pipeline.domain.fold.ticks import MINUTE_MS
from pipeline.domain.records import Tick
from pipeline.topics import EVENTS

log = structlog.get_logger(__name__)


class TickWriter:
    """Writes the current minute once into each partition; the fold ignores one that another worker wrote too."""

    def __init__(self, app: Any, committer: ChunkCommitter, codec: Codec) -> None:
        self._app = app
        self._committer = committer
        self._codec = codec
        self._written: dict[int, int] = {}

    async def write_due(self) -> None:
        """Write what is due; a failure is logged and tried again, for a timer that raises kills its worker."""
        if self._app.in_recovery or self._app.rebalancing:
            return
        minute = int(time.time() * 1000) // MINUTE_MS
        assigned = {tp.partition for tp in self._app.consumer.assignment() if tp.topic == EVENTS}
        value = self._codec.encode(Tick(minute))
        try:
            producer = await self._committer.producer()
            for partition in sorted(assigned):
                if self._written.get(partition) != minute:
                    await producer.send_and_wait(EVENTS, value, partition=partition)
                    self._written[partition] = minute
        except Exception as error:  # noqa: BLE001  the broker may be away; the next second tries again
            log.warning("tick_failed", reason=type(error).__name__)
