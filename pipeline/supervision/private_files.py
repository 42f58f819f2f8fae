"""Files of the state folder: only their owner reads them, readers never see half of one, and a lock says who lives."""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

_LOCK_ATTEMPTS = 5
_LARGE_LOG_BYTES = 16 * 1024 * 1024


class FolderLock:
    """An exclusive claim on a folder that ends with the processes that hold it, however they end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Take the lock, waiting for a look of ``is_held`` at most; False when a living process holds it."""
        make_private_folder(self.path.parent)
        file = self.path.open("ab")
        for _ in range(_LOCK_ATTEMPTS):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.02)
            else:
                self._file = file
                return True
        file.close()
        return False

    def fileno(self) -> int:
        """Return the descriptor to hand to a child that is to hold the lock as well."""
        assert self._file is not None, "acquire() comes first"
        return self._file.fileno()

    def release(self) -> None:
        """Give up this process's hold; a child that was handed the descriptor keeps its own."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def is_held(self) -> bool:
        """Say whether some living process holds the lock, without keeping it."""
        if self._file is not None:
            return True
        try:
            with self.path.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False


def make_private_folder(path: Path) -> Path:
    """Create a folder, and missing ones above it, that only its owner can enter."""
    for folder in (*reversed(path.parents), path):
        if not folder.exists():
            folder.mkdir(mode=0o700, exist_ok=True)
    return path


def open_private_log(path: Path) -> IO[bytes]:
    """Open a log that only its owner can read for appending; a large one is put aside as ``.1`` first."""
    make_private_folder(path.parent)
    if path.exists() and path.stat().st_size > _LARGE_LOG_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    path.touch(mode=0o600)
    return path.open("ab")


def write_json_atomically(path: Path, value: Mapping[str, object]) -> None:
    """Replace a file as a whole: a reader sees the old text or the new, never a part of one."""
    make_private_folder(path.parent)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def last_lines(path: Path, count: int = 20, longest_bytes: int = 16_384) -> list[str]:
    """Return the last lines of a log file; an empty list when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - longest_bytes))
            return file.read().decode("utf-8", "replace").splitlines()[-count:]
    except FileNotFoundError:
        return []
