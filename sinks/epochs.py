"""Which epoch is read, and when the next one takes its place.

A rebuild writes its outputs beside those of the running epoch and announces itself when it is done. History builds the
new epoch from its batches and swaps when it has reached the announced positions, so that a board never shows half.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

from pipeline.domain.records import Epoch
from sinks.positions import Position, before_offset


@dataclass(frozen=True, slots=True)
class Epochs:
    """The epoch that is read and the one announced after it; None before the first announcement."""

    current: int | None = None
    announced: Epoch | None = None

    @property
    def newest(self) -> int | None:
        """The highest epoch that was announced."""
        return self.announced.epoch if self.announced else self.current

    def announce(self, epoch: Epoch) -> Self:
        """Take in an announcement; one that is not newer than what is known changes nothing.

        Examples:
            >>> Epochs().announce(Epoch(1, {})).current
            1
            >>> Epochs(current=2).announce(Epoch(1, {})).newest
            2
        """
        if self.newest is not None and epoch.epoch <= self.newest:
            return self
        if self.current is None:
            return replace(self, current=epoch.epoch)
        return replace(self, announced=epoch)

    def advance(self, progress: Mapping[tuple[int, int], Position], first: Mapping[int, int]) -> Self:
        """Swap if the announced epoch has reached the positions of its announcement.

        A position is the last input offset that the rebuild folded: workers go on after it.

        Args:
            progress: Last position per epoch and partition.
            first: First input offset in the archive per partition: where every epoch begins.

        Examples:
            >>> waiting = Epochs(current=1).announce(Epoch(2, {"0": 7}))
            >>> waiting.advance({(2, 0): before_offset(7)}, {0: 0}).current
            1
            >>> waiting.advance({(2, 0): before_offset(8)}, {0: 0}).current
            2
        """
        if self.announced is None:
            return self
        epoch = self.announced.epoch
        for partition, offset in self.announced.positions.items():
            start = before_offset(first.get(int(partition), 0))
            if progress.get((epoch, int(partition)), start) < before_offset(offset + 1):
                return self
        return replace(self, current=epoch, announced=None)

    def is_outdated(self, epoch: int) -> bool:
        """Tell whether nobody reads the outputs of this epoch any more."""
        return self.current is not None and epoch < self.current

    def may_have_gaps(self, epoch: int) -> bool:
        """Tell whether a newer epoch is on its way, so that this one need not be complete."""
        return self.announced is not None and epoch < self.announced.epoch
