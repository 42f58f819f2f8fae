"""History that is killed again and again while transitions stream: its file equals the oracle, no row twice."""

import random
import time

import duckdb
import pytest

from pipeline.crashpoints import KILLED
from pipeline.reconcile.recount import Cell
from pipeline.topics import TRANSITIONS, log_bounds
from sinks.database import history_file
from sinks.reader import open_history
from tests.fault.harness import HISTORY, HISTORY_CRASHES, Lab
from tests.fault.outputs import assert_same
from tests.fault.processes import Child, wait_until
from tests.fault.streams import PARTITIONS, Wire

pytestmark = pytest.mark.broker


def _recorded(lab: Lab) -> dict[int, int]:
    """Return how far the transitions are recorded, by partition."""
    with open_history(lab.settings) as reader:
        rows = reader.query("source_offsets")
    return {row["partition"]: row["next_offset"] for row in rows if row["topic"] == TRANSITIONS}


def _ends(lab: Lab) -> dict[int, int]:
    return {number: end for number, (_, end) in log_bounds(lab.admin, TRANSITIONS, PARTITIONS).items()}


def _had_work(lab: Lab, ends: dict[int, int]) -> bool:
    """Say whether transitions before ``ends`` are not recorded; nothing may be recorded that is not there."""
    recorded, now = _recorded(lab), _ends(lab)
    assert all(recorded.get(number, 0) <= end for number, end in now.items())
    return any(recorded.get(number, 0) < end for number, end in ends.items())


def _cells(lab: Lab) -> dict[Cell, int]:
    with open_history(lab.settings) as reader:
        return {
            Cell(
                row["organisation"],
                row["day"],
                row["kind"],
                row["name"],
                row["outcome"],
                row["characteristic"],
                row["group"],
            ): row["people"]
            for row in reader.query("day_cells")
        }


def _start_reading(lab: Lab, crash: str | None = None) -> Child:
    history = lab.start(HISTORY, crash=crash)
    history.wait_for("history_reading", 30)
    return history


@pytest.mark.timeout(300)
def test_history_killed_twenty_times_holds_every_transition_once(lab: Lab, records: list[Wire]) -> None:
    chance = random.Random(3)
    watch, worker = lab.watch(), lab.start()
    producer = lab.produce(records, rate=600)
    for point in HISTORY_CRASHES:
        history = lab.start(HISTORY, crash=f"{point}:5")
        assert history.wait(40) == KILLED, history.tail()
    found_work = 0
    while found_work < 20:
        history = _start_reading(lab)
        time.sleep(chance.random())
        before = _ends(lab)
        wait_until(lambda before=before: _ends(lab) != before, 20, "transitions stream")
        ends = _ends(lab)
        history.kill()
        found_work += _had_work(lab, ends)
        assert producer.is_alive(), f"only {found_work} kills found work"
    lab.wait_applied(watch, producer.halt())

    history = _start_reading(lab)
    reconciled = lab.start(("reconcile", "--json"))
    assert reconciled.wait(120) == 0, reconciled.tail()
    assert worker.stop() == 0
    wait_until(lambda: _recorded(lab) == _ends(lab), 30, "history has everything")
    assert history.stop() == 0, history.tail()
    lab.assert_exact()
    assert_same("history", _cells(lab), lab.recount().cells)
    with duckdb.connect(str(history_file(lab.settings)), read_only=True) as file:
        rows = file.execute(
            'SELECT count(*), count(DISTINCT (epoch, partition, "offset", idx, kind, name, outcome)) FROM transitions'
        ).fetchone()
    assert rows[0] == rows[1] > 10_000
