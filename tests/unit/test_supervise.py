"""The supervisor with tiny processes of its own: real ones, no Kafka."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import psutil
import pytest

from pipeline.settings import Settings
from pipeline.supervision.child import ChildSpec
from pipeline.supervision.supervise import RestartPolicy, Supervisor, UpAlreadyRunsError, UpExit, up_specs
from pipeline.supervision.tether import TetheredProcess
from pipeline.supervision.up_status import ChildState, ChildStatus, format_status, is_healthy, read_status

QUICK = RestartPolicy(first_seconds=0.1, longest_seconds=0.4, healthy_seconds=0.5, one_shot_attempts=3)

# what a well-behaved process does: note its start, work until SIGTERM, note its end
WORK = """
import pathlib, signal, sys, time
name, journal = sys.argv[1], pathlib.Path(sys.argv[2])
def note(word):
    with journal.open("a") as file:
        file.write(f"{name} {word} {time.monotonic()}\\n")
def stop(*_):
    time.sleep(0.1)
    note("ended")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note("began")
print(name, "works", flush=True)
while True:
    time.sleep(60)
"""
FAIL = WORK.split("def stop", maxsplit=1)[0] + "note('began')\nprint('cannot go on', flush=True)\nsys.exit(7)\n"
SUCCEED = FAIL.replace("sys.exit(7)", "sys.exit(0)")
FAIL_TWICE = WORK.replace("while True", "if journal.read_text().count(name + ' began') < 3: sys.exit(7)\nwhile True")
IGNORE_SIGTERM = WORK.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")


class Run:
    """A supervisor at work in this thread, with a script of what happens meanwhile in another."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.journal = state_dir.parent / "journal"
        self.journal.touch()
        self.said: list[str] = []
        self.problems: list[BaseException] = []

    def spec(self, name: str, program: str = WORK, **rest: object) -> ChildSpec:
        return ChildSpec(name, (sys.executable, "-c", program, name, str(self.journal)), **rest)

    def until(self, specs: list[ChildSpec], script: Callable[[Self], None], policy: RestartPolicy = QUICK) -> UpExit:
        supervisor = Supervisor(specs, self.state_dir, policy=policy, say=self.said.append)
        thread = threading.Thread(target=self._play, args=(script,))
        thread.start()
        try:
            return supervisor.run()
        finally:
            thread.join()
            assert self.problems == []

    def _play(self, script: Callable[[Self], None]) -> None:
        try:
            script(self)
        except (AssertionError, OSError, LookupError) as problem:
            self.problems.append(problem)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def lines(self, *words: str) -> list[str]:
        noted = [line.rpartition(" ")[0] for line in self.journal.read_text().splitlines()]
        return [line for line in noted if not words or line.split()[1] in words]

    def times(self, text: str) -> list[float]:
        lines = [line.rpartition(" ") for line in self.journal.read_text().splitlines()]
        return [float(when) for what, _, when in lines if what == text]

    def status(self, name: str) -> ChildStatus:
        return next(child for child in read_status(self.state_dir) if child.name == name)

    def wait_for_state(self, name: str, state: ChildState) -> ChildStatus:
        wait_for(lambda: bool(read_status(self.state_dir)) and self.status(name).state is state)
        return self.status(name)


@pytest.fixture
def run(fresh_state_dir: Path) -> Iterator[Run]:
    """Protect the test process itself: a signal that comes after the supervisor's end is ignored."""
    previous = signal.signal(signal.SIGTERM, lambda *_: None)
    yield Run(fresh_state_dir)
    signal.signal(signal.SIGTERM, previous)


def test_processes_start_one_after_the_other_as_each_becomes_ready(run: Run) -> None:
    first_is_ready = run.state_dir.parent / "first_is_ready"
    specs = [
        run.spec("first", ready=first_is_ready.exists),
        run.spec("once", SUCCEED, depends_on=("first",), is_one_shot=True),
        run.spec("last", depends_on=("once",)),
    ]

    def script(run: Run) -> None:
        run.wait_for_state("first", ChildState.STARTING)
        time.sleep(0.3)
        assert run.lines("began") == ["first began"]
        first_is_ready.touch()
        wait_for(lambda: "last began" in run.lines())
        assert run.status("once").state is ChildState.DONE

    assert run.until(specs, script) is UpExit.STOPPED
    assert run.lines("began") == ["first began", "once began", "last began"]


def test_processes_stop_after_those_that_depend_on_them(run: Run) -> None:
    specs = [
        run.spec("broker"),
        run.spec("topics", SUCCEED, depends_on=("broker",), is_one_shot=True),
        run.spec("worker-1", depends_on=("topics",)),
        run.spec("worker-2", depends_on=("topics",)),
        run.spec("reader", depends_on=("worker-1",)),
    ]

    assert run.until(specs, lambda run: wait_for(lambda: len(run.lines("began")) == 5)) is UpExit.STOPPED

    ended = run.lines("ended")
    assert ended[-1] == "broker ended"
    assert ended.index("reader ended") < ended.index("worker-1 ended")
    assert ended.index("worker-2 ended") < ended.index("worker-1 ended")
    assert [child.state for child in read_status(run.state_dir)].count(ChildState.STOPPED) == 4


def test_failed_process_starts_again_after_waits_that_double(run: Run) -> None:
    specs = [run.spec("fails", FAIL)]
    policy = RestartPolicy(first_seconds=0.2, longest_seconds=0.8, healthy_seconds=60)

    run.until(specs, lambda run: wait_for(lambda: len(run.lines("began")) == 5), policy)

    began = run.times("fails began")
    waits = [after - before for before, after in itertools.pairwise(began)]
    for wait, expected in zip(waits, [0.2, 0.4, 0.8, 0.8], strict=True):
        assert expected <= wait < expected + 0.6
    said = next(line for line in run.said if "next start" in line)
    assert said.startswith("fails ended with exit code 7, next start in 0.2 s")
    assert said.endswith("cannot go on")


def test_healthy_time_forgets_earlier_failures(run: Run) -> None:
    def script(run: Run) -> None:
        wait_for(lambda: len(run.lines("began")) == 3)
        pid = run.wait_for_state("recovers", ChildState.READY).pid
        assert pid is not None
        time.sleep(1.2)  # healthy after 0.5 s
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(run.lines("began")) == 4)

    run.until([run.spec("recovers", FAIL_TWICE)], script, RestartPolicy(0.1, 10, healthy_seconds=0.5))

    said = [line.splitlines()[0] for line in run.said if "next start" in line]
    assert [line.partition("next start in ")[2].split()[0] for line in said] == ["0.1", "0.2", "0.1"]
    assert "ended with signal 9" in said[2]


def test_one_shot_that_keeps_failing_stops_everything_and_shows_its_log(run: Run) -> None:
    specs = [
        run.spec("broker"),
        run.spec("topics", FAIL, depends_on=("broker",), is_one_shot=True),
        run.spec("worker", depends_on=("topics",)),
    ]

    assert run.until(specs, lambda run: run.wait_for_state("broker", ChildState.STOPPED)) is UpExit.ONE_SHOT_FAILED

    assert run.lines() == ["broker began", "topics began", "topics began", "topics began", "broker ended"]
    assert "topics kept failing" in run.said[-1]
    assert run.said[-1].endswith("cannot go on")


def test_process_that_ignores_sigterm_is_killed_after_its_grace_period(run: Run) -> None:
    specs = [run.spec("broker"), run.spec("deaf", IGNORE_SIGTERM, depends_on=("broker",), grace_seconds=0.5)]
    pids = []

    def script(run: Run) -> None:
        wait_for(lambda: len(run.lines("began")) == 2)
        pids.append(run.status("deaf").pid)

    assert run.until(specs, script) is UpExit.KILLED
    assert run.lines("ended") == ["broker ended"]
    assert not is_alive(pids[0])


def test_second_signal_kills_at_once(run: Run) -> None:
    specs = [run.spec("deaf", IGNORE_SIGTERM, grace_seconds=60)]

    def script(run: Run) -> None:
        wait_for(lambda: len(run.lines("began")) == 1)
        os.kill(os.getpid(), signal.SIGTERM)
        run.wait_for_state("deaf", ChildState.STOPPING)

    began = time.monotonic()
    assert run.until(specs, script) is UpExit.KILLED
    assert time.monotonic() - began < 20


def test_nothing_outlives_a_killed_supervisor(run: Run) -> None:
    script = f"""
import sys
from pathlib import Path
from pipeline.supervision.child import ChildSpec
from pipeline.supervision.supervise import Supervisor
deaf = {IGNORE_SIGTERM!r}
specs = [ChildSpec(name, (sys.executable, "-c", deaf, name, {str(run.journal)!r})) for name in ("one", "two")]
Supervisor(specs, Path({str(run.state_dir)!r})).run()
"""
    supervisor = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    wait_for(lambda: len(run.lines("began")) == 2)
    pids = [child.pid for child in read_status(run.state_dir)]
    assert all(pid is not None and is_alive(pid) for pid in pids)

    supervisor.kill()
    supervisor.wait()

    wait_for(lambda: not any(is_alive(pid) for pid in pids if pid is not None))
    assert {child.state for child in read_status(run.state_dir)} == {ChildState.STOPPED}


def test_watcher_kills_where_the_kernel_does_not(run: Run) -> None:
    script = f"""
import sys, time
from pipeline.supervision.tether import TetheredProcess
child = TetheredProcess([sys.executable, "-c", {IGNORE_SIGTERM!r}, "one", {str(run.journal)!r}], use_kernel=False)
print(child.pid, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_for(lambda: run.lines() == ["one began"])

    parent.kill()
    parent.communicate()

    wait_for(lambda: not is_alive(child))


def test_killing_a_process_ends_what_it_left_in_its_group(run: Run) -> None:
    parent = TetheredProcess(
        [
            sys.executable,
            "-c",
            f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {WORK!r}, "grandchild", {str(run.journal)!r}])
print(child.pid, flush=True)
""",
        ],
        output=subprocess.PIPE,
    )
    assert parent.stdout is not None
    grandchild = int(parent.stdout.readline())
    parent.wait()
    wait_for(lambda: run.lines() == ["grandchild began"])

    parent.kill_group()
    parent.stdout.close()

    wait_for(lambda: not is_alive(grandchild))


def test_second_supervisor_of_a_state_folder_is_refused(run: Run) -> None:
    def script(run: Run) -> None:
        run.wait_for_state("only", ChildState.READY)
        with pytest.raises(UpAlreadyRunsError, match="PARITYFLOW_STATE_DIR"):
            Supervisor([], run.state_dir).run()

    run.until([run.spec("only")], script)


def test_logs_and_status_are_for_their_owner_only(run: Run) -> None:
    run.until([run.spec("child")], lambda run: wait_for(lambda: run.lines() == ["child began"]))

    log = run.state_dir / "logs" / "child.log"
    assert log.read_text() == "child works\n"
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.parent.stat().st_mode & 0o777 == 0o700
    assert (run.state_dir / "up.json").stat().st_mode & 0o777 == 0o600


def test_status_line_names_every_process(run: Run) -> None:
    specs = [
        run.spec("broker"),
        run.spec("topics", SUCCEED, depends_on=("broker",), is_one_shot=True),
        run.spec("worker", FAIL, depends_on=("topics",)),
    ]
    lines = []

    def script(run: Run) -> None:
        status = run.wait_for_state("worker", ChildState.BACKOFF)
        children = read_status(run.state_dir)
        lines.append(format_status(children, now=status.since))
        assert not is_healthy(children)

    run.until(specs, script, RestartPolicy(first_seconds=8))

    pid = json.loads((run.state_dir / "up.json").read_text())
    assert pid["pid"] == os.getpid()
    broker, topics, worker = lines[0].split(", ", 2)
    assert broker.startswith("broker ready for 0 s (pid ")
    assert topics == "topics done"
    assert worker == "worker failed (exit code 7, 0 restarts), next start in 8 s"
    assert format_status(read_status(run.state_dir), now=0) == "not running"


def test_up_starts_no_broker_when_an_address_is_configured(fresh_state_dir: Path) -> None:
    embedded = up_specs(Settings(state_dir=fresh_state_dir), workers=2)
    cluster = up_specs(Settings(state_dir=fresh_state_dir, bootstrap_servers="kafka1:9092"))

    assert [spec.name for spec in embedded] == ["broker", "topics", "funnel-1", "funnel-2", "history"]
    assert [spec.name for spec in cluster] == ["topics", "funnel-1", "history"]
    assert cluster[0].env["PARITYFLOW_BOOTSTRAP_SERVERS"] == "kafka1:9092"
    assert embedded[0].env == {"PARITYFLOW_STATE_DIR": str(fresh_state_dir)}
    assert [spec.name for spec in embedded if spec.is_one_shot] == ["topics"]
    assert embedded[-1].argv[1:] == ("-m", "pipeline.cli", "history")


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
