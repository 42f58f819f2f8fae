"""Places where a test may kill a process, so that every order of "written here, not yet there" is tried.

Off unless ``PARITYFLOW_CRASH_POINT`` names a point: ``after_outputs`` dies at the first time the point is reached,
``after_outputs:3`` at the third. The process ends like after SIGKILL: no cleanup, exit code 137.
"""

import os
from collections import Counter
from enum import StrEnum
from typing import Final

from pipeline.errors import TerminalError

VARIABLE: Final = "PARITYFLOW_CRASH_POINT"
KILLED: Final = 137
"""128 + SIGKILL: what a shell reports for a killed process."""


class CrashPoint(StrEnum):
    """Where a process can be told to die; the first four are in the funnel worker, the last two in history."""

    BEFORE_OUTPUTS = "before_outputs"
    AFTER_OUTPUTS = "after_outputs"
    AFTER_STATE_BATCH = "after_state_batch"
    BEFORE_ACK = "before_ack"
    HISTORY_BEFORE_COMMIT = "history_before_commit"
    HISTORY_AFTER_COMMIT = "history_after_commit"


class UnknownCrashPointError(TerminalError):
    """The variable names no point, so the test that set it would test nothing."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(
            f"expected {VARIABLE} to be one of {', '.join(CrashPoint)}, with :N for the Nth time, found {text!r}"
        )


_reached: Counter[CrashPoint] = Counter()


def reach(point: CrashPoint) -> None:
    """End the process here if the variable says so; otherwise do nothing.

    Raises:
        UnknownCrashPointError: the variable is set to something else than a point.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return
    name, _, times = text.partition(":")
    if name not in set(CrashPoint) or (times and not times.isdecimal()):
        raise UnknownCrashPointError(text)
    if name == point:
        _reached[point] += 1
        if _reached[point] == int(times or 1):
            os._exit(KILLED)
