"""``parityflow dead-letters replay``: send the originals of dead letters once more, after mending what was wrong.

A record that counts already counts once: events carry their ids. Replaying twice changes nothing.
"""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.codec import Codec, Rejected
from pipeline.intake.sender import RecordSink
from pipeline.topics import EVENTS


@dataclass(slots=True)
class ReplayReport:
    """What was sent again, and why the rest was not."""

    sent: int = 0
    left: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """Return it in words."""
        said = [f"{self.sent:,} records sent again; what counts already is not counted twice"]
        return said + [f"{count:,} not sent: {why}" for why, count in sorted(self.left.items())]


def replay(letters: Iterable[Mapping[str, Any]], codec: Codec, sink: RecordSink) -> ReplayReport:
    """Send what can be read of dead letters, each to the partition of the organisation that it names.

    Args:
        letters: rows of history's query ``dead_letters``.
        codec: reads the originals.
        sink: takes the records.
    """
    report = ReplayReport()
    for letter in letters:
        reason = _why_not(letter)
        if reason is None:
            decoded = codec.decode(base64.b64decode(letter["original"]))
            if isinstance(decoded, Rejected):
                reason = f"still unreadable ({decoded.reason})"
            elif not hasattr(decoded.record, "organisation"):
                reason = "no input record"
            else:
                sink.send(decoded.record)
                report.sent += 1
                continue
        report.left[reason] += 1
    sink.finish()
    return report


def _why_not(letter: Mapping[str, Any]) -> str | None:
    if letter["topic"] != EVENTS:
        return "a line of a file: correct the file and ingest it again"
    if not letter["original"]:
        return "its original was not kept"
    if letter["length"] > len(base64.b64decode(letter["original"])):
        return "longer than the 64 kB that are kept"
    return None
