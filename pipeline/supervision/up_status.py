"""What ``parityflow up`` says about its processes: a file in the state folder, and one line made from it."""

import enum
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.supervision.private_files import FolderLock, write_json_atomically

STATUS_FILE = "up.json"
LOCK_FILE = "up.lock"


class ChildState(enum.StrEnum):
    """Where a supervised process is in its life."""

    WAITING = "waiting"  # for those it depends on
    STARTING = "starting"  # it runs and is not ready yet
    READY = "ready"
    DONE = "done"  # a one-shot that has succeeded
    BACKOFF = "backoff"  # it failed and is started again later
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """One supervised process at one moment.

    Attributes:
        name: its name, unique among those supervised together.
        state: where it is in its life.
        pid: the process; None when none runs.
        restarts: how often it was started again.
        since: when it entered the state, in seconds since 1970.
        exit_code: how it ended the last time, negative for a signal; None when it never ended.
        next_start: when a failed one is started again, in seconds since 1970.
    """

    name: str
    state: ChildState
    pid: int | None = None
    restarts: int = 0
    since: float = 0.0
    exit_code: int | None = None
    next_start: float | None = None


def status_lock(state_dir: Path) -> FolderLock:
    """Return the lock that the supervisor of a state folder holds while it lives."""
    return FolderLock(state_dir / LOCK_FILE)


def write_status(state_dir: Path, supervisor: int, children: Sequence[ChildStatus]) -> None:
    """Publish the state of all processes in ``up.json``.

    Args:
        state_dir: the state folder.
        supervisor: the process that supervises.
        children: all of them, in the order in which they are started.
    """
    value = {"pid": supervisor, "children": [asdict(child) for child in children]}
    write_json_atomically(state_dir / STATUS_FILE, value)


def read_status(state_dir: Path) -> list[ChildStatus]:
    """Return the processes that ``parityflow up`` runs or last ran for a state folder, in start order.

    When the supervisor is gone without having said so, all that had not ended are reported as stopped: they died with
    it.

    Args:
        state_dir: the state folder.

    Returns:
        One status a process; an empty list when nothing was ever started there.
    """
    try:
        text = (state_dir / STATUS_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    children = [ChildStatus(**{**child, "state": ChildState(child["state"])}) for child in json.loads(text)["children"]]
    if status_lock(state_dir).is_held():
        return children
    return [_ended(child) for child in children]


def is_healthy(children: Sequence[ChildStatus]) -> bool:
    """Say whether something was started and all of it is ready or done."""
    return bool(children) and all(child.state in {ChildState.READY, ChildState.DONE} for child in children)


def format_status(children: Sequence[ChildStatus], now: float) -> str:
    """Describe all processes in one line.

    Args:
        children: what ``read_status`` returned.
        now: seconds since 1970.

    Returns:
        One line without its end.

    >>> format_status([], 0)
    'not running'
    >>> broker, topics = ChildStatus("broker", ChildState.READY, 12), ChildStatus("topics", ChildState.DONE)
    >>> format_status([broker, topics], 90)
    'broker ready for 1 min (pid 12), topics done'
    >>> failed = ChildStatus("history", ChildState.BACKOFF, restarts=2, exit_code=1, next_start=94)
    >>> format_status([failed], 90)
    'history failed (exit code 1, 2 restarts), next start in 4 s'
    """
    states = {child.state for child in children}
    if not states or (ChildState.STOPPED in states and states <= {ChildState.STOPPED, ChildState.DONE}):
        return "not running"
    return ", ".join(_describe(child, now) for child in children)


def describe_exit(code: int) -> str:
    """Name an exit code, or the signal that a negative one stands for.

    >>> describe_exit(1), describe_exit(-9)
    ('exit code 1', 'signal 9')
    """
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _ended(child: ChildStatus) -> ChildStatus:
    if child.state in {ChildState.DONE, ChildState.STOPPED}:
        return child
    return ChildStatus(child.name, ChildState.STOPPED, None, child.restarts, child.since, child.exit_code)


def _describe(child: ChildStatus, now: float) -> str:
    restarts = "1 restart" if child.restarts == 1 else f"{child.restarts} restarts"
    if child.state is ChildState.BACKOFF:
        ended = describe_exit(child.exit_code or 0)
        wait = max(0, (child.next_start or now) - now)
        return f"{child.name} failed ({ended}, {restarts}), next start in {_duration(wait)}"
    facts = [f"pid {child.pid}"] if child.pid is not None else []
    facts += [restarts] if child.restarts else []
    shown = f" ({', '.join(facts)})" if facts else ""
    has_age = child.state in {ChildState.READY, ChildState.STARTING, ChildState.STOPPING}
    age = f" for {_duration(now - child.since)}" if has_age else ""
    return f"{child.name} {child.state}{age}{shown}"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, round(seconds))} s"
