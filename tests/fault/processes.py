"""Processes of the project under test: started in a group of their own, told things by signal, read by their log."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
POLL_SECONDS = 0.02


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Return when something holds; fail and say what did not."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(POLL_SECONDS)


class Child:
    """One process of the project, in a process group of its own."""

    def __init__(self, command: Sequence[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", *command],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def exit_code(self) -> int | None:
        """Exit code, or None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it at once and wait until it is gone."""
        if self.exit_code is None:
            self.send(signal.SIGKILL)
        self._process.wait(10)

    def stop(self, seconds: float = 30) -> int:
        """Tell it to end and return its exit code."""
        self.send(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float) -> int:
        """Wait for its end and return its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds:.0f} s:\n{self.tail()}") from None

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the structured log lines with an event name."""
        mark, found = f'"event": "{event}"', []
        for line in self.text().splitlines():
            if mark in line:
                with suppress(json.JSONDecodeError):  # the last line may be half written
                    found.append(json.loads(line))
        return found

    def wait_for(self, event: str, seconds: float = 30) -> dict[str, Any]:
        """Return the first log line with an event name, once it is there."""
        wait_until(lambda: bool(self.said(event)) or self.exit_code is not None, seconds, f"{event} in\n{self.tail()}")
        said = self.said(event)
        assert said, f"ended without {event}:\n{self.tail()}"
        return said[0]

    def partitions(self) -> set[int]:
        """Return the partitions of its last assignment."""
        lines = self.said("partition_assigned")
        return {line["partition"] for line in lines if line["assignment"] == lines[-1]["assignment"]}

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def tail(self, characters: int = 3000) -> str:
        return self.text()[-characters:]
