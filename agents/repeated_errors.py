"""Log lines that a library repeats thousands of times while the broker is away: one of each kind a second is enough."""

import logging
import time
from typing import Final

_LIBRARY: Final = "aiokafka"
_SECONDS: Final = 1.0
"""An outage stays visible as it lasts, and costs a line a second and kind instead of 5,000."""


class RepeatedErrors(logging.Filter):
    """Lets pass, of the same message of aiokafka with whatever arguments, one a second."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record is to be written."""
        if not record.name.startswith(_LIBRARY):
            return True
        kind, now = (record.name, str(record.msg)), time.monotonic()
        if now < self._passed.get(kind, -_SECONDS) + _SECONDS:
            return False
        self._passed[kind] = now
        return True
