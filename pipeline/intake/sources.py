"""Input files: named by their hash, read line by line in bounded memory, several merged by event time.

Lines of one file keep their order whatever their times are: one organisation's records of equal time must not
change places, and a source knows its own order best. A file that goes back in time is told, not sorted.
"""

import gzip
import hashlib
import heapq
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedReader
from operator import itemgetter
from pathlib import Path
from typing import IO, Final, NamedTuple, cast

from pipeline.errors import TerminalError
from pipeline.intake.ndjson import MAX_LINE, Canonical, LineReader, Problem, time_of

STDIN: Final = "-"

_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"
_GZIP_MAGIC = b"\x1f\x8b"


class InputFileError(TerminalError):
    """An input file cannot be read."""

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        super().__init__(f"{name}: expected a readable NDJSON file (or - for standard input), found {problem}")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One input file: its name as given, where its bytes are, and the hash that identifies it.

    ``size`` counts the bytes of its text; 0 where that is not known before reading (compressed files).
    """

    name: str
    path: Path
    sha256: str
    size: int


class Line(NamedTuple):
    """One line on its way: the time it is merged by, where it comes from, and what it was read as.

    ``order`` is the largest event time of its file so far, so that a line that goes back in time leaves at
    its place.
    """

    order: int
    source: int
    number: int
    raw: bytes
    read: Canonical | Problem


@dataclass(slots=True)
class FileTally:
    """What was met in one file while it was read."""

    lines: int = 0
    accepted: int = 0
    rejected: int = 0
    backward: int = 0
    bytes_read: int = 0
    watermark: int = field(default=-(2**63))


def identify(name: str, spool: Path) -> SourceFile:
    """Return the file with its hash; standard input is kept in a file of its own first.

    Args:
        name: a path, or ``-``.
        spool: folder for what comes from standard input.

    Raises:
        InputFileError: there is no such file, or it cannot be read.
    """
    if name == STDIN:
        return _spooled(spool)
    digest = hashlib.sha256()
    size = 0
    with _readable(name) as stream:
        is_compressed = stream.peek(2)[:2] == _GZIP_MAGIC
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return SourceFile(name, Path(name), digest.hexdigest(), 0 if is_compressed else size)


def require_readable(names: Sequence[str]) -> None:
    """Look whether all files are there, before anything else is tried.

    Raises:
        InputFileError: one is not.
    """
    for name in names:
        if name != STDIN:
            with _readable(name):
                pass


def merged(files: Sequence[SourceFile], reader: LineReader, tallies: Sequence[FileTally]) -> Iterator[Line]:
    """Yield the lines of all files by event time; equal times in the order in which the files were given.

    Args:
        files: the files.
        reader: makes records of lines.
        tallies: one a file, filled while reading.
    """
    readers = [
        read_lines(file, index, reader, tally) for index, (file, tally) in enumerate(zip(files, tallies, strict=True))
    ]
    return readers[0] if len(readers) == 1 else heapq.merge(*readers, key=itemgetter(0))


def read_lines(file: SourceFile, index: int, reader: LineReader, tally: FileTally) -> Iterator[Line]:
    """Yield what each line of a file is read as; blank lines are left out.

    Raises:
        InputFileError: the file is damaged or went away.
    """
    try:
        with _opened(file.path) as stream:
            yield from lines_of(stream, index, reader, tally)
    except (OSError, EOFError) as error:
        raise InputFileError(file.name, f"an unreadable end after line {tally.lines} ({error})") from None


def lines_of(stream: IO[bytes], index: int, reader: LineReader, tally: FileTally) -> Iterator[Line]:
    """Yield what each line of a stream is read as; see ``read_lines``."""
    while raw := stream.readline(MAX_LINE + 1):
        tally.lines += 1
        tally.bytes_read += len(raw)
        if tally.lines == 1 and raw.startswith(_BOM):
            raw = raw[len(_BOM) :]
        if len(raw) > MAX_LINE and not raw.endswith(b"\n"):
            tally.bytes_read += _skip_line(stream)
            read: Canonical | Problem | None = Problem(
                tally.lines, "", f"a line of at most {MAX_LINE} bytes", "a longer one"
            )
        else:
            read = reader.read(raw, tally.lines)
        if read is None:
            continue
        if type(read) is Problem:
            tally.rejected += 1
        else:
            tally.accepted += 1
            moment = time_of(read)  # type: ignore[arg-type]
            if moment < tally.watermark:
                tally.backward += 1
            else:
                tally.watermark = moment
        yield Line(tally.watermark, index, tally.lines, raw, read)


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == _GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path, "rb")) if is_gzip else path.open("rb", buffering=_CHUNK)


@contextmanager
def _readable(name: str) -> Iterator[BufferedReader]:
    path = Path(name)
    try:
        with path.open("rb") as stream:
            yield stream
    except FileNotFoundError:
        raise InputFileError(name, f"nothing (from the folder {Path.cwd()})") from None
    except IsADirectoryError:
        raise InputFileError(name, f"a folder: name its files, for example {path / '*.ndjson'}") from None
    except OSError as error:
        raise InputFileError(name, error.strerror or str(error)) from None


def _skip_line(stream: IO[bytes]) -> int:
    skipped = 0
    while part := stream.readline(_CHUNK):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def _spooled(spool: Path) -> SourceFile:
    spool.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=spool, prefix="stdin-", suffix=".ndjson", delete=False) as kept:
        shutil.copyfileobj(sys.stdin.buffer, kept, _CHUNK)
    path = Path(kept.name)
    found = identify(str(path), spool)
    return SourceFile("standard input", path, found.sha256, found.size)
