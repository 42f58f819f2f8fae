"""Crash points: off unless named, and exactly at the Nth time."""

import os
import subprocess
import sys

import pytest

from pipeline.crashpoints import KILLED, VARIABLE, CrashPoint, UnknownCrashPointError, reach

SCRIPT = """
from pipeline.crashpoints import CrashPoint, reach
for turn in range(5):
    reach(CrashPoint.AFTER_OUTPUTS)
    reach(CrashPoint.BEFORE_ACK)
    print(turn, flush=True)
"""


@pytest.mark.parametrize(
    ("setting", "turns"), [("before_ack", 0), ("after_outputs:3", 2), ("before_ack:6", 5), ("", 5)]
)
def test_the_process_ends_when_the_point_is_reached_that_often(setting: str, turns: int) -> None:
    environment = {**os.environ, VARIABLE: setting, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout.split() == [str(turn) for turn in range(turns)]
    assert ended.returncode == (0 if turns == 5 else KILLED)


@pytest.mark.parametrize("setting", ["after_lunch", "after_outputs:often"])
def test_a_point_that_does_not_exist_is_refused(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, setting)
    with pytest.raises(UnknownCrashPointError, match="after_outputs"):
        reach(CrashPoint.BEFORE_ACK)
