"""What the history process says about itself: alive, ready, and why not. Shared between its threads."""

import threading
import time
from dataclasses import dataclass
from enum import StrEnum


class Condition(StrEnum):
    """What the writing thread is doing."""

    STARTING = "starting"
    READING = "reading"
    NOT_WRITING = "not_writing"
    NO_BROKER = "no_broker"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Status:
    """One moment: the condition, why, and when the last batch was committed (0: never)."""

    condition: Condition
    reason: str
    committed_ms: int

    @property
    def is_ready(self) -> bool:
        """Whether the boards may be relied on."""
        return self.condition is Condition.READING


class Health:
    """Holds the status; every thread may read it, the writing thread changes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._status = Status(Condition.STARTING, "reading the history file", 0)

    @property
    def status(self) -> Status:
        """The status now."""
        with self._lock:
            return self._status

    def become(self, condition: Condition, reason: str = "") -> None:
        """Change the condition."""
        with self._lock:
            self._status = Status(condition, reason, self._status.committed_ms)

    def committed(self, committed_ms: int) -> None:
        """Note a commit: the file is being written."""
        with self._lock:
            self._status = Status(Condition.READING, "", committed_ms)


def now_ms() -> int:
    """Return the time in milliseconds since 1970 in UTC: the one clock of this package."""
    return time.time_ns() // 1_000_000
