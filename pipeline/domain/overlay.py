"""Changes of one chunk on top of the stored state, and of one step on top of those."""

from collections.abc import Callable
from typing import Any

Change = Callable[[bytes, Any, Any], None]
"""Called with (key, old value, new value) when a change is accepted, or taken back."""


VALUES_KEPT = 20_000
"""Working objects that are kept from chunk to chunk: what was touched is likely touched again, and takes some 3 kB."""


class Overlay:
    """A view of the state that remembers what was changed, in two layers: the chunk's and the running step's.

    Values are working objects, never bytes; None stands for "no such key". A value that was put must not be changed
    in place afterwards, except by its owner within the same chunk.
    """

    __slots__ = ("_on_change", "_read", "_step", "_stored", "_view", "changes")

    def __init__(self, read: Callable[[bytes], Any], on_change: Change) -> None:
        self._read = read
        self._on_change = on_change
        self._view: dict[bytes, Any] = {}  # what was read, with the chunk's changes
        self._stored: dict[bytes, Any] = {}  # what the chunk's changes replaced
        self._step: dict[bytes, Any] = {}
        self.changes: dict[bytes, Any] = {}

    def get(self, key: bytes) -> Any:
        """Return the value of a key as this step sees it."""
        if key in self._step:
            return self._step[key]
        if key in self._view:
            return self._view[key]
        value = self._view[key] = self._read(key)
        return value

    def put(self, key: bytes, value: Any) -> None:
        """Change a key within the running step; None deletes it."""
        self._step[key] = value

    def accept(self) -> None:
        """Make the running step's changes part of the chunk."""
        for key, value in self._step.items():
            old = self._view[key] if key in self._view else self._read(key)
            if key not in self.changes:
                self._stored[key] = old
            self._on_change(key, old, value)
            self.changes[key] = self._view[key] = value
        self._step.clear()

    def drop_step(self) -> None:
        """Forget the running step."""
        self._step.clear()

    def settle(self) -> None:
        """The chunk's changes are stored: start the next chunk from there."""
        if len(self._view) > VALUES_KEPT:
            self._view = self.changes
        self.changes = {}
        self._stored.clear()

    def discard(self) -> None:
        """Take the whole chunk back, telling the listener so that what it derives returns to the stored state."""
        self._step.clear()
        for key, value in self.changes.items():
            self._view[key] = self._stored[key]
            self._on_change(key, value, self._stored[key])
        self.changes.clear()
        self._stored.clear()
