"""Requests to stop, for a loop that sleeps until one comes or a child process ends."""

import select
import signal
import socket
from types import FrameType
from typing import Self


class StopSignals:
    """Counts SIGTERM and SIGINT while it is entered, in the main thread."""

    def __init__(self) -> None:
        self.received = 0

    def __enter__(self) -> Self:
        self._sleeper, waker = socket.socketpair()
        self._sleeper.settimeout(0)
        waker.settimeout(0)  # a signal handler must never wait
        self._waker = waker
        self._old_waker = signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        handlers = {signal.SIGTERM: self._count, signal.SIGINT: self._count, signal.SIGCHLD: _ignore}
        self._old_handlers = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_waker)
        self._sleeper.close()
        self._waker.close()

    def wait(self, seconds: float) -> None:
        """Sleep until a signal arrives, at most so long."""
        if select.select([self._sleeper], [], [], seconds)[0]:
            self._sleeper.recv(4096)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.received += 1


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the signal's arrival has woken the loop."""
