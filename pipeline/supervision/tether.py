"""Child processes that cannot outlive this one.

A child gets a process group of its own, so that Ctrl-C in a terminal reaches only the parent, which stops its children
in order. When the parent is gone without having stopped them, the kernel (Linux) or a watcher process (elsewhere) kills
them: every part of the pipeline recovers exactly from a sudden death, none from living on beside its own successor.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_OWNER_ONLY = 0o077

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
            umask=_OWNER_ONLY,
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
