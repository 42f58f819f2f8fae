"""A writer that is killed, or whose disk is full, leaves rows and offsets that belong together."""

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.crashpoints import KILLED, CrashPoint
from pipeline.topics import EPOCHS, EVENTS, TRANSITIONS
from sinks.health import Condition

WRITER = """
import sys
from pathlib import Path
import importlib.util
spec = importlib.util.spec_from_file_location("unit_sinks", sys.argv[1])
unit_sinks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(unit_sinks)
history, build = unit_sinks.History(Path(sys.argv[2])), unit_sinks.Build()
history.put("recruitment.epochs.v1", unit_sinks.Epoch(1, {}))
print("ready", flush=True)
offset = 0
while True:
    events = [build.vacancy(f"e{offset + n}", title="x" * 500) for n in range(500)]
    inputs = history.logs.put("recruitment.events.v1", *events)
    made = [build.transition(offset + n, 0, build.arrival("applied")) for n in range(500)]
    outputs = history.logs.put("recruitment.transitions.v1", build.batch(offset - 1, offset + 499, made))
    history.record(*inputs, *outputs)
    offset += 500
"""


def start(path: Path, **environment: str) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("conftest.py")
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(script), str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def assert_rows_and_offsets_belong_together(history: Any) -> int:
    """Return how many inputs are archived, after comparing everything else with it."""
    ((inputs, last),) = history.rows('SELECT count(*), coalesce(max("offset") + 1, 0) FROM inputs')
    assert inputs == last
    assert history.rows("SELECT next_offset FROM source_offsets WHERE topic = ?", [EVENTS]) == [(inputs,)]
    assert history.rows("SELECT count(*) FROM transitions") == [(inputs,)]
    assert history.rows("SELECT coalesce(max(to_offset) + 1, 0) FROM progress") == [(inputs,)]
    assert history.rows("SELECT next_offset * 500 FROM source_offsets WHERE topic = ?", [TRANSITIONS]) == [(inputs,)]
    return int(inputs)


@pytest.mark.parametrize(
    ("point", "batches"), [(CrashPoint.HISTORY_BEFORE_COMMIT, 2), (CrashPoint.HISTORY_AFTER_COMMIT, 3)]
)
def test_a_crash_around_the_commit_keeps_all_of_a_batch_or_nothing(
    tmp_path: Path, open_history_at: Any, point: CrashPoint, batches: int
) -> None:
    path = tmp_path / "history" / "history.duckdb"
    with start(path, PARITYFLOW_CRASH_POINT=f"{point}:4") as writer:
        assert writer.wait(60) == KILLED
    history = open_history_at(path)
    assert assert_rows_and_offsets_belong_together(history) == batches * 500


def test_kill_at_any_moment_leaves_offsets_equal_to_data(tmp_path: Path, open_history_at: Any) -> None:
    found = []
    for attempt in range(5):
        path = tmp_path / str(attempt) / "history.duckdb"
        with start(path) as writer:
            assert writer.stdout is not None
            assert "ready\n" in iter(writer.stdout.readline, "")
            threading.Event().wait(0.2 + attempt * 0.13)
            writer.kill()
        found.append(assert_rows_and_offsets_belong_together(open_history_at(path)))
    assert max(found) > 500


@pytest.fixture
def limited_disk() -> Iterator[Any]:
    """Let files of this process grow to a limit only: what a full disk is to the writer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_holds_the_batch_until_there_is_room(history: Any, build: Any, limited_disk: Any) -> None:
    history.put(EVENTS, build.vacancy("e0"))
    limited_disk(history.path.stat().st_size + 1000)
    records = history.logs.put(EVENTS, *[os.urandom(100_000) for _ in range(200)])
    writing = threading.Thread(target=history.record, args=records)
    writing.start()
    while history.health.status.condition is not Condition.NOT_WRITING:
        assert writing.is_alive()
        threading.Event().wait(0.01)
    assert not history.health.status.is_ready
    limited_disk(resource.RLIM_INFINITY)
    writing.join(30)
    assert not writing.is_alive()
    assert history.health.status.is_ready
    history.restart()
    assert history.rows("SELECT count(*), max(next_offset) FROM inputs, source_offsets WHERE topic = ?", [EVENTS]) == [
        (201, 201)
    ]


def test_a_stop_while_the_disk_is_full_writes_nothing(history: Any, build: Any, limited_disk: Any) -> None:
    history.put(EVENTS, build.vacancy("e0"))
    limited_disk(history.path.stat().st_size + 1000)
    history.stop.set()
    history.record(*history.logs.put(EVENTS, *[os.urandom(100_000) for _ in range(200)]))
    limited_disk(resource.RLIM_INFINITY)
    history.restart()
    assert history.rows("SELECT count(*) FROM inputs") == [(1,)]
    assert history.rows(
        "SELECT next_offset FROM source_offsets WHERE topic IN (?, ?) ORDER BY ALL", [EVENTS, EPOCHS]
    ) == [
        (1,),
        (1,),
    ]
