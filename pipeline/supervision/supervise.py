"""Run several processes as one: in order, restarted when they fail, stopped in reverse order, no orphan left.

``parityflow up`` is this with the broker, the topics, the workers and the history process.
"""

import enum
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.embedded_kafka.broker import embedded_broker_answers
from pipeline.errors import TerminalError
from pipeline.settings import Settings
from pipeline.supervision.child import REMIND_SECONDS, Child, ChildSpec
from pipeline.supervision.private_files import last_lines
from pipeline.supervision.stop_signals import StopSignals
from pipeline.supervision.up_status import ChildState, ChildStatus, describe_exit, status_lock, write_status

_LOOK_SECONDS = 0.1  # how often a starting process is asked whether it is ready
_IDLE_SECONDS = 5.0  # the end of a process and a signal wake the loop, nothing else needs it sooner
_SHOWN_LINES = 20


class UpExit(enum.IntEnum):
    """How ``parityflow up`` ends."""

    STOPPED = 0  # asked to stop, and everything ended in time
    ONE_SHOT_FAILED = 1  # a step that must succeed once kept failing
    KILLED = 3  # asked to stop, and something had to be killed after its grace period


class UpAlreadyRunsError(TerminalError):
    """Another supervisor owns the state folder."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        super().__init__(
            f"parityflow up already runs for {state_dir}: `parityflow status` shows it; stop it first (Ctrl-C where it "
            "runs), or set PARITYFLOW_STATE_DIR to another folder"
        )


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When a failed process is started again.

    Attributes:
        first_seconds: wait after the first failure; doubled after each further one.
        longest_seconds: no wait is longer.
        healthy_seconds: a process that was ready for so long starts again as if it had never failed.
        one_shot_attempts: a one-shot that fails so often in a row stops everything.
    """

    first_seconds: float = 1.0
    longest_seconds: float = 30.0
    healthy_seconds: float = 60.0
    one_shot_attempts: int = 5

    def delay(self, failures: int) -> float:
        """Return the wait after so many failures in a row.

        >>> [RestartPolicy().delay(failures) for failures in (1, 2, 3, 4, 5, 6, 60)]
        [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
        """
        return min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 16))


class Supervisor:
    """Starts, watches and stops the processes it is given; ``run`` it in the main thread."""

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        state_dir: Path,
        *,
        policy: RestartPolicy | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare; nothing runs before ``run``.

        Args:
            specs: the processes, each after those it depends on.
            state_dir: where logs and ``up.json`` are written.
            policy: when failed ones are started again.
            say: gets a line whenever something happens; default: standard output.
        """
        self._state_dir = state_dir.resolve()
        self._policy = policy or RestartPolicy()
        self._say = say or _print_line
        self._lock = status_lock(self._state_dir)
        self._children: dict[str, Child] = {}
        for spec in specs:
            assert spec.name not in self._children, f"two processes are called {spec.name}"
            assert set(spec.depends_on) <= set(self._children), f"{spec.name} stands before what it depends on"
            self._children[spec.name] = Child(spec, self._state_dir / "logs" / f"{spec.name}.log")
        self._published: list[ChildStatus] = []
        self._has_killed = False

    def run(self) -> UpExit:
        """Run everything until SIGTERM or SIGINT; a second signal kills what is still there.

        Returns:
            The exit code.

        Raises:
            UpAlreadyRunsError: another supervisor runs for this state folder.
        """
        if not self._lock.acquire():
            raise UpAlreadyRunsError(self._state_dir)
        try:
            with StopSignals() as signals:
                try:
                    failed = self._watch(signals)
                    self._stop(signals)
                finally:
                    for child in self._children.values():
                        child.kill()
        finally:
            self._publish()
            self._lock.release()
        if failed is not None:
            self._say(_failure(failed, "kept failing, so everything was stopped"))
            return UpExit.ONE_SHOT_FAILED
        return UpExit.KILLED if self._has_killed else UpExit.STOPPED

    def _watch(self, signals: StopSignals) -> Child | None:
        """Keep everything running until a signal, or until a one-shot has failed too often, which is returned."""
        while not signals.received:
            for child in self._children.values():
                self._advance(child)
                if child.spec.is_one_shot and child.failures >= self._policy.one_shot_attempts:
                    return child
            self._publish()
            signals.wait(self._seconds_to_next_look())
        return None

    def _advance(self, child: Child) -> None:
        """Take a process one step further in its life, if it is time for one."""
        now = time.monotonic()
        if child.state in {ChildState.WAITING, ChildState.BACKOFF}:
            if now >= child.next_start and all(self._is_satisfied(name) for name in child.spec.depends_on):
                child.start()
        elif child.process is not None and child.process.poll() is not None:
            self._take_end(child)
        elif child.state is ChildState.STARTING:
            if not child.spec.is_one_shot and (child.spec.ready is None or child.spec.ready()):
                child.enter(ChildState.READY)
                how = "has started" if child.spec.ready is None else f"is ready after {now - child.started:.1f} s"
                self._say(f"{child.spec.name} {how}")
            elif child.is_overdue():
                self._say(f"{child.spec.name} is not ready after {REMIND_SECONDS:.0f} s; its log is {child.log}")

    def _take_end(self, child: Child) -> None:
        """Take note that a process has ended by itself, and decide when to start it again."""
        code = child.reap()
        if child.state is ChildState.READY and time.monotonic() - child.entered >= self._policy.healthy_seconds:
            child.failures = 0
        if child.spec.is_one_shot and code == 0:
            child.enter(ChildState.DONE)
            self._say(f"{child.spec.name} is done after {time.monotonic() - child.started:.1f} s")
            return
        child.failures += 1
        delay = self._policy.delay(child.failures)
        child.enter(ChildState.BACKOFF)
        child.next_start = time.monotonic() + delay
        self._say(_failure(child, f"ended with {describe_exit(code)}, next start in {delay:g} s", lines=3))

    def _is_satisfied(self, name: str) -> bool:
        return self._children[name].state in {ChildState.READY, ChildState.DONE}

    def _seconds_to_next_look(self) -> float:
        now = time.monotonic()
        states = [child.state for child in self._children.values()]
        waits = [child.next_start - now for child in self._children.values() if child.state is ChildState.BACKOFF]
        wait = min([_IDLE_SECONDS, *waits])
        return max(_LOOK_SECONDS, wait) if ChildState.STARTING not in states else _LOOK_SECONDS

    def _stop(self, signals: StopSignals) -> None:
        """Stop every process once all that depend on it have ended; kill it when its grace period is over."""
        signals.received = 0
        for child in self._children.values():
            if child.process is None and child.state is not ChildState.DONE:
                child.enter(ChildState.STOPPED)
        while alive := [child for child in self._children.values() if child.process is not None]:
            for child in alive:
                self._advance_stop(child, alive, is_urgent=signals.received > 0)
            self._publish()
            if any(child.process is not None for child in alive):
                signals.wait(_LOOK_SECONDS)

    def _advance_stop(self, child: Child, alive: Sequence[Child], *, is_urgent: bool) -> None:
        assert child.process is not None
        if child.process.poll() is not None:
            child.reap()
            child.enter(ChildState.STOPPED)
            self._say(f"{child.spec.name} has stopped")
        elif is_urgent or (child.state is ChildState.STOPPING and child.grace_is_over()):
            child.kill()
            self._has_killed = True
            child.enter(ChildState.STOPPED)
            reason = "a second signal came" if is_urgent else f"it did not stop in {child.spec.grace_seconds:g} s"
            self._say(f"{child.spec.name} was killed: {reason}")
        elif child.state is not ChildState.STOPPING and not any(self._needs(other, child) for other in alive):
            child.process.send_signal(signal.SIGTERM)
            child.enter(ChildState.STOPPING)

    def _needs(self, child: Child, other: Child) -> bool:
        """Say whether a living process depends on another, be it through some that have ended."""
        if child.process is None:
            return False
        names = set(child.spec.depends_on)
        while more := {above for name in names for above in self._children[name].spec.depends_on} - names:
            names |= more
        return other.spec.name in names

    def _publish(self) -> None:
        statuses = [child.status() for child in self._children.values()]
        if statuses != self._published:
            write_status(self._state_dir, os.getpid(), statuses)
            self._published = statuses


def up_specs(settings: Settings, workers: int = 1) -> list[ChildSpec]:
    """Return what ``parityflow up`` runs on this machine.

    Args:
        settings: handed on to every process; a configured Kafka address means that no broker is started.
        workers: how many funnel workers share the partitions.
    """
    run = partial(_command, env=_environment(settings))
    specs = []
    if settings.bootstrap_servers is None:
        answers = partial(embedded_broker_answers, settings.state_dir)
        specs.append(run("broker", "broker", ready=answers))
    brokers = tuple(spec.name for spec in specs)
    specs.append(run("topics", "topics", "apply", depends_on=brokers, is_one_shot=True))
    needs = (*brokers, "topics")
    specs += [run(f"funnel-{number}", "worker", "funnel", depends_on=needs) for number in range(1, workers + 1)]
    specs.append(run("history", "history", depends_on=needs))
    return specs


def run_up(settings: Settings, workers: int = 1) -> int:
    """Run the whole pipeline on this machine until SIGTERM or SIGINT.

    Args:
        settings: state folder, Kafka address and all the rest.
        workers: number of funnel workers.

    Returns:
        The exit code, one of ``UpExit``.

    Raises:
        UpAlreadyRunsError: it runs already for this state folder.
    """
    return int(Supervisor(up_specs(settings, workers), settings.state_dir).run())


def _command(
    name: str,
    *arguments: str,
    env: Mapping[str, str],
    ready: Callable[[], bool] | None = None,
    depends_on: tuple[str, ...] = (),
    is_one_shot: bool = False,
) -> ChildSpec:
    argv = (sys.executable, "-m", "pipeline.cli", *arguments)
    return ChildSpec(name, argv, env, ready, depends_on, is_one_shot)


def _environment(settings: Settings) -> dict[str, str]:
    """Return the variables that give a child the same settings; secrets it inherits as they were given to us."""
    given = settings.model_dump(mode="json", include=settings.model_fields_set - {"boards_tokens", "pseudonym_key"})
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    texts["state_dir"] = str(settings.state_dir.resolve())
    return {f"PARITYFLOW_{name.upper()}": text for name, text in texts.items()}


def _failure(child: Child, what: str, lines: int = _SHOWN_LINES) -> str:
    shown = "".join(f"\n    {line}" for line in last_lines(child.log, lines))
    return f"{child.spec.name} {what}; the end of {child.log}:{shown or ' (nothing)'}"


def _print_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
