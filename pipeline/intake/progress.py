"""Progress of long work, drawn on standard error when a terminal watches and silent otherwise."""

from typing import NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class Step(NamedTuple):
    """How far a phase is; ``total`` 0 means that it is not known."""

    phase: str
    done: int
    total: int
    note: str


class TerminalProgress:
    """Draws steps as a bar: ``with TerminalProgress() as progress: ingest(..., progress=progress)``."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, note="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, step: Step) -> None:
        """Draw a step."""
        self._bar.update(
            self._task,
            description=step.phase,
            completed=step.done,
            total=step.total or None,
            note=step.note,
        )
