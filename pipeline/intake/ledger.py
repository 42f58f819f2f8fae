"""The ledger of ingested files: a file that went in completely is not sent again by accident.

It saves time, not correctness: sending a file again changes no count, because its events keep their ids. A
file is known by its hash and by the topic it went to, so that a new cluster starts with an empty ledger.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

LEDGER_FILE = "ingested.jsonl"


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One file that went in completely."""

    sha256: str
    topic_id: str
    name: str
    lines: int
    accepted: int
    rejected: int
    backfill: bool
    at: str


class Ledger:
    """The entries of one state folder; appended to, never rewritten."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / LEDGER_FILE
        self._entries: dict[tuple[str, str], LedgerEntry] = {}
        if self._path.exists():
            for line in self._path.read_text(encoding="utf-8").splitlines():
                entry = _entry(line)
                if entry is not None:
                    self._entries[entry.sha256, entry.topic_id] = entry

    def find(self, sha256: str, topic_id: str) -> LedgerEntry | None:
        """Return when the file went into this topic, or None."""
        return self._entries.get((sha256, topic_id))

    def add(self, entry: LedgerEntry) -> None:
        """Note a file that went in completely; the line is on disk when this returns."""
        self._entries[entry.sha256, entry.topic_id] = entry
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(asdict(entry), separators=(",", ":")) + "\n")
            out.flush()
            os.fsync(out.fileno())


def _entry(line: str) -> LedgerEntry | None:
    """Return the entry of a line; a torn last line (power cut) only means that its file is sent again."""
    try:
        return LedgerEntry(**json.loads(line))
    except (ValueError, TypeError):
        return None
