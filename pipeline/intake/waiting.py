"""Waiting until what was sent is applied by the agent and stored in history: ``ingest --wait``.

The target is the last acknowledged offset of each partition. Waiting gives up only when nothing moves any
more, and then says which partition lags behind what.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.errors import PipelineError, TerminalError, TransientError

STALL_SECONDS = 120.0
"""Without any movement for so long nobody works: a session timeout and a reload of state take less than a minute."""

_POLL_SECONDS = 0.2


class PartitionProgress(NamedTuple):
    """How far one partition of the events topic is: last offsets, -1 for none yet."""

    archived: int
    applied: int


AskProgress = Callable[[], Mapping[int, PartitionProgress]]


@dataclass(frozen=True, slots=True)
class Lag:
    """A partition that is not there yet."""

    partition: int
    target: int
    archived: int
    applied: int

    @property
    def missing(self) -> int:
        """Return how many records are not through."""
        return self.target - min(self.archived, self.applied)

    def __str__(self) -> str:
        return (
            f"partition {self.partition}: waiting for offset {self.target}, history has stored {self.archived} and the "
            f"agent's results up to {self.applied}"
        )


class NotAppliedError(TransientError):
    """What was sent was not applied while somebody waited for it."""

    def __init__(self, lags: list[Lag], seconds: float, cause: str | None) -> None:
        self.lags = tuple(lags)
        doubt = f" The last question to history failed: {cause}." if cause else ""
        super().__init__(
            f"nothing moved for {seconds:.0f} s: {'; '.join(map(str, lags))}.{doubt} Everything is safe in Kafka; look "
            "at parityflow status (does a funnel worker run? does history run?) and wait again with the same command"
        )


def lags_of(targets: Mapping[int, int], progress: Mapping[int, PartitionProgress]) -> list[Lag]:
    """Return the partitions that have not reached their targets, by number."""
    lags = []
    for partition, target in sorted(targets.items()):
        archived, applied = progress.get(partition, (-1, -1))
        if min(archived, applied) < target:
            lags.append(Lag(partition, target, archived, applied))
    return lags


def wait_until_applied(
    targets: Mapping[int, int],
    ask: AskProgress,
    tell: Callable[[list[Lag]], None],
    *,
    stall_seconds: float = STALL_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when every partition is archived and applied up to its target.

    Args:
        targets: partition -> last offset that must be through.
        ask: asks history how far it is; once it has answered, an error means that it cannot answer now.
        tell: called after each question with what is missing.
        stall_seconds: give up when nothing moved for so long.
        clock: seconds that only grow.
        sleep: pauses between questions.

    Raises:
        NotAppliedError: nothing moves any more.
        TerminalError: history cannot be asked at all.
    """
    best: Mapping[int, PartitionProgress] = {}
    moved_at = clock()
    has_answered = False
    while True:
        cause = None
        try:
            progress = ask()
        except PipelineError as error:
            # History may restart while we wait; what fails at the very first question will not mend itself.
            if isinstance(error, TerminalError) and not has_answered:
                raise
            cause, progress = str(error), best
        else:
            has_answered = True
        lags = lags_of(targets, progress)
        tell(lags)
        if not lags:
            return
        if progress != best:
            best, moved_at = dict(progress), clock()
        elif clock() - moved_at >= stall_seconds:
            raise NotAppliedError(lags, stall_seconds, cause)
        sleep(_POLL_SECONDS)
