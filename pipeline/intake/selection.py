"""Which files of an import are sent, and which went in before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.intake.ledger import Ledger
from pipeline.intake.report import FileReport
from pipeline.intake.sources import SourceFile, identify

_SPOOLED: Final = "stdin-"


@dataclass(frozen=True, slots=True)
class Selection:
    """The files to send, in the order in which they were named, and those to leave out with the reason."""

    files: tuple[SourceFile, ...]
    skipped: tuple[FileReport, ...] = ()


def select_files(
    names: Sequence[str],
    state_dir: Path,
    ledger: Ledger,
    topic_id: str,
    *,
    again: bool,
    tell: Callable[[int, str], None],
) -> Selection:
    """Return the files to send; the same bytes are sent once, and not when the ledger has them.

    Args:
        names: paths, or ``-`` for standard input.
        state_dir: where standard input is kept while it is sent.
        ledger: what went in before.
        topic_id: the broker's id of the events topic.
        again: send what went in before too.
        tell: told number and name of each file before it is read.

    Raises:
        InputFileError: one cannot be read; none is sent then.
    """
    chosen: dict[str, SourceFile] = {}
    skipped = []
    for number, name in enumerate(names):
        tell(number, name)
        file = identify(name, state_dir)
        before = None if again else ledger.find(file.sha256, topic_id)
        if file.sha256 in chosen:
            twin = chosen[file.sha256].name
            skipped.append(FileReport(name, file.sha256, skipped_because=f"has the same content as {twin}"))
        elif before is not None:
            since = f"went in on {before.at} already"
            skipped.append(FileReport(name, file.sha256, before.lines, 0, before.rejected, skipped_because=since))
        else:
            chosen[file.sha256] = file
    return Selection(tuple(chosen.values()), tuple(skipped))


def remove_spooled(files: Sequence[SourceFile], state_dir: Path) -> None:
    """Remove what was kept of standard input."""
    for file in files:
        if file.path.parent == state_dir and file.path.name.startswith(_SPOOLED):
            file.path.unlink(missing_ok=True)
