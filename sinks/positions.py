"""Positions in the outputs of an epoch, and the one rule by which a reader takes every output exactly once.

Agents may send an output again, cut into other batches; they never send a different one for the same position. So a
reader keeps the last position per epoch and partition, and judges transitions one by one.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from pipeline.domain.records import WHOLE_RECORD, Ignored, Transition, TransitionBatch
from sinks.errors import MissingOutputsError

_Output = TypeVar("_Output", Transition, Ignored)


class Position(NamedTuple):
    """Everything up to here is known: an input offset and the index of an output within that record."""

    offset: int
    output: int


def before_offset(offset: int) -> Position:
    """Return the position of a reader that has everything before an input offset.

    Examples:
        >>> before_offset(0) < Position(0, 0)
        True
    """
    return Position(offset - 1, WHOLE_RECORD)


def is_continued(batch: TransitionBatch, last: Position) -> bool:
    """Tell whether a batch brings something after what the reader has.

    Args:
        batch: Covers (from, to] of one partition in one epoch.
        last: What the reader has of that partition and epoch.

    Raises:
        MissingOutputsError: there is a gap between the two.

    Examples:
        >>> batch = TransitionBatch(1, 0, 4, WHOLE_RECORD, 9, WHOLE_RECORD, 0, 1, [], [])
        >>> is_continued(batch, before_offset(10)), is_continued(batch, before_offset(5))
        (False, True)
    """
    if Position(batch.to_offset, batch.to_index) <= last:
        return False
    start = Position(batch.from_offset, batch.from_index)
    if start > last:
        raise MissingOutputsError(batch.epoch, batch.partition, last, start)
    return True


def after(outputs: Sequence[_Output], last: Position) -> Sequence[_Output]:
    """Return the outputs that lie after a position."""
    return [output for output in outputs if (output.offset, output.index) > last]
