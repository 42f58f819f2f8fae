"""What an import did, for the person who started it and for the exit code."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.intake.ndjson import Problem

PROBLEMS_SHOWN = 20

EXIT_ACCEPTED = 0
EXIT_REJECTED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file; ``skipped_because`` says why nothing of it was sent."""

    name: str
    sha256: str
    lines: int = 0
    accepted: int = 0
    rejected: int = 0
    backward: int = 0
    skipped_because: str | None = None


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A rejected line and the file it is in."""

    file: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an import did.

    ``targets`` is the last offset of each partition that holds this import; ``is_applied`` tells whether it
    was waited for until the agent had applied and history had stored all of it.
    """

    files: tuple[FileReport, ...]
    problems: tuple[FileProblem, ...]
    unknown_fields: Mapping[str, int]
    organisations: int
    targets: Mapping[int, int]
    seconds: float
    is_backfill: bool = False
    is_applied: bool = False
    is_interrupted: bool = False

    @property
    def accepted(self) -> int:
        """Return how many records were sent."""
        return sum(file.accepted for file in self.files)

    @property
    def rejected(self) -> int:
        """Return how many lines were not accepted."""
        return sum(file.rejected for file in self.files if file.skipped_because is None)

    @property
    def exit_code(self) -> int:
        """Return 0 when every line was accepted, 1 when some were rejected (now or before), 130 when interrupted."""
        if self.is_interrupted:
            return EXIT_INTERRUPTED
        return EXIT_REJECTED if any(file.rejected for file in self.files) else EXIT_ACCEPTED

    def lines(self) -> list[str]:
        """Return it in words, a sentence a line."""
        said = [_file_sentence(file) for file in self.files]
        if self.rejected:
            said.append(f"{self.rejected:,} lines rejected:")
            said += [f"  {one.file}, {one.problem}" for one in self.problems]
            if self.rejected > len(self.problems):
                said.append(f"  ... and {self.rejected - len(self.problems):,} more")
            said.append("All of them are among the dead letters: parityflow dead-letters")
        if self.unknown_fields:
            names = sorted(self.unknown_fields.items(), key=lambda item: (-item[1], item[0]))[:PROBLEMS_SHOWN]
            listed = ", ".join(f"{name} ({count:,})" for name, count in names)
            said.append(f"Fields that no record has, ignored: {listed}")
        if self.is_interrupted:
            said.append("Interrupted: the same command goes on; what arrived already is not counted twice.")
        if self.accepted:
            rate = self.accepted / self.seconds if self.seconds else 0
            said.append(
                f"{self.accepted:,} records of {self.organisations:,} organisations sent in {self.seconds:.1f} s "
                f"({rate:,.0f} a second)."
            )
        if self.is_applied:
            said.append("Everything is applied and in the history.")
        return said


def _file_sentence(file: FileReport) -> str:
    if file.skipped_because is not None:
        then = f", when {file.rejected:,} of its lines were rejected" if file.rejected else ""
        return f"{file.name}: {file.skipped_because}{then}; skipped (--again sends it and changes no count)"
    sentence = f"{file.name}: {file.lines:,} lines, {file.accepted:,} accepted, {file.rejected:,} rejected"
    if file.backward:
        sentence += f"; {file.backward:,} of them earlier than a line before, sent in the file's own order"
    return sentence
