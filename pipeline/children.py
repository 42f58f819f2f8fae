"""Child processes that cannot outlive this one, and the small files that say which of them run.

A child gets a process group of its own, so that Ctrl-C in a terminal reaches only the parent, which stops
its children in order. When the parent is gone without having stopped them, the kernel (Linux) or a watcher
process (elsewhere) kills them: every part of the pipeline recovers exactly from a sudden death, none from
living on unseen beside its own successor.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

OWNER_ONLY_UMASK = 0o077

_LOCK_ATTEMPTS = 5
_LARGE_LOG_BYTES = 16 * 1024 * 1024
_PR_SET_PDEATHSIG = 1
_WATCHER = """
import os, signal, sys
sys.stdin.buffer.read()
try:
    os.killpg(int(sys.argv[1]), signal.SIGKILL)
except (ProcessLookupError, PermissionError):
    pass
"""


class TetheredProcess(subprocess.Popen[bytes]):
    """A process in a group of its own that dies when this process does.

    On Linux the *thread* that starts it counts as the parent: start it from one that lives as long as needed.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        output: IO[bytes] | int = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        keep_open: Sequence[int] = (),
        use_kernel: bool = sys.platform == "linux",
    ) -> None:
        super().__init__(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            pass_fds=tuple(keep_open),
            start_new_session=True,
            umask=OWNER_ONLY_UMASK,
            preexec_fn=_die_with_parent() if use_kernel else None,
        )
        self._watcher = None if use_kernel else self._watch()

    def wait_for(self, seconds: float) -> bool:
        """Wait for the end; True when it has come within the time."""
        try:
            self.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill_group(self) -> None:
        """Kill the process and what it started in its group, and reap it; does nothing when all are gone."""
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a group of zombies
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()
        if self._watcher is not None:
            self._watcher.kill()
            self._watcher.wait()
            if self._watcher.stdin is not None:
                self._watcher.stdin.close()

    def _watch(self) -> "subprocess.Popen[bytes]":
        """Start a process that waits for the end of its input, which comes when we close it or die."""
        argv = [sys.executable, "-I", "-c", _WATCHER, str(self.pid)]
        return subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own text


def _die_with_parent() -> Callable[[], None]:
    """Return what the forked child runs before it becomes the program; everything it needs is loaded here."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent died between fork and prctl
            os._exit(1)

    return ask_kernel


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
