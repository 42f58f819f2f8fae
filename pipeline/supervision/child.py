"""One supervised process: what it is, and where in its life it is."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.supervision.private_files import open_private_log
from pipeline.supervision.tether import TetheredProcess
from pipeline.supervision.up_status import ChildState, ChildStatus

_WORKER_GRACE_SECONDS = 60.0  # a worker finishes its chunk, history its transaction
REMIND_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A process to supervise.

    Attributes:
        name: unique; names the log file ``logs/<name>.log``.
        argv: the command.
        env: variables on top of the supervisor's own.
        ready: asked until it says yes, then those who depend on it start; it must answer at once. None: ready when
            started.
        depends_on: names of processes that must be ready, or done, first, and that are stopped after this one.
        is_one_shot: it must end with exit code 0, once.
        grace_seconds: time between SIGTERM and SIGKILL.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    depends_on: tuple[str, ...] = ()
    is_one_shot: bool = False
    grace_seconds: float = _WORKER_GRACE_SECONDS


class Child:
    """One supervised process and what is known of its past; the supervisor decides, this does."""

    def __init__(self, spec: ChildSpec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.process: TetheredProcess | None = None
        self.state = ChildState.WAITING
        self.entered = self.started = time.monotonic()
        self.entered_wall = time.time()
        self.next_start = 0.0
        self.starts = 0
        self.failures = 0  # in a row
        self.exit_code: int | None = None
        self._was_reminded = False

    def start(self) -> None:
        """Start the process; its output goes to the end of its log."""
        with open_private_log(self.log) as log:
            self.process = TetheredProcess(self.spec.argv, output=log, env={**os.environ, **self.spec.env})
        self.starts += 1
        self.started = time.monotonic()
        self._was_reminded = False
        self.enter(ChildState.STARTING)

    def enter(self, state: ChildState) -> None:
        """Take note of a new state and of the time."""
        self.state = state
        self.entered = time.monotonic()
        self.entered_wall = time.time()

    def reap(self) -> int:
        """Forget a process that has ended, and end what it may have left in its group; return its exit code."""
        assert self.process is not None
        self.process.kill_group()
        self.exit_code = self.process.returncode
        self.process = None
        return self.exit_code

    def kill(self) -> None:
        """End the process, if there is one, without asking."""
        if self.process is not None:
            self.reap()

    def is_overdue(self) -> bool:
        """Say, once a start, that it has been starting for long."""
        if self._was_reminded or time.monotonic() - self.started < REMIND_SECONDS:
            return False
        self._was_reminded = True
        return True

    def grace_is_over(self) -> bool:
        """Say whether the time to stop, counted from the state's begin, is used up."""
        return time.monotonic() - self.entered >= self.spec.grace_seconds

    def status(self) -> ChildStatus:
        """Return what there is to say about it now."""
        in_backoff = self.state is ChildState.BACKOFF
        return ChildStatus(
            name=self.spec.name,
            state=self.state,
            pid=None if self.process is None else self.process.pid,
            restarts=max(0, self.starts - 1),
            since=self.entered_wall,
            exit_code=self.exit_code,
            next_start=self.entered_wall + self.next_start - self.entered if in_backoff else None,
        )
