"""The door for the other commands of this machine: named queries over a unix socket that only the owner may open.

A request is one JSON line, ``{"query": "progress", "params": {}}``. The answer is a JSON line a row and then
``{"end": true}``, or ``{"error": "..."}`` instead. ``inputs`` streams the archive, with keys and values in base64.
"""

import asyncio
import base64
import json
import os
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import duckdb
import structlog

from pipeline.errors import TerminalError
from pipeline.settings import Settings
from sinks.archive import ArchivedInput, read_archive
from sinks.errors import HistoryQueryError
from sinks.statements import Statement, answer, load_statements

INPUTS: Final = "inputs"
END: Final = {"end": True}
REQUEST_BYTES: Final = 1024 * 1024

_PATH_BYTES: Final = 100
"""Longest path that every system takes for a socket (Linux 107, macOS 103)."""

log = structlog.get_logger()


class SocketPathError(TerminalError):
    """The path of the socket is too long for the system."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"the socket {path} has a path of over {_PATH_BYTES} bytes, which this system cannot open; set "
            "PARITYFLOW_STATE_DIR to a shorter folder"
        )


def socket_file(settings: Settings) -> Path:
    """Return where the socket of the history process is."""
    return settings.state_dir / "history.sock"


def connect(path: Path) -> socket.socket | None:
    """Return a connection to the history process, or None when none answers."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _with_short_path(path, client.connect)
    except (FileNotFoundError, ConnectionRefusedError):
        client.close()
        return None
    return client


class Gateway:
    """Answers the requests that come in over the socket."""

    def __init__(self, cursor: Callable[[], Any], executor: Executor) -> None:
        """Prepare the door.

        Args:
            cursor: Gives a cursor on the history file; one is taken and closed for each request.
            executor: Threads in which the queries run.
        """
        self._cursor = cursor
        self._executor = executor
        self._statements = load_statements("queries")

    async def open(self, path: Path) -> asyncio.Server:
        """Listen on the path, taking the place of a socket that a killed process left behind."""
        listening = _listen(path)
        return await asyncio.start_unix_server(self._serve, sock=listening, limit=REQUEST_BYTES)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                await self._respond(line, writer)
        except (ConnectionError, asyncio.LimitOverrunError, ValueError):
            log.info("history_request_broken_off")
        finally:
            writer.close()

    async def _respond(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        try:
            name, params = _request(line)
            pages = self._pages(name, params)
            loop = asyncio.get_running_loop()
            while page := await loop.run_in_executor(self._executor, next, pages, None):
                writer.write(page)
                await writer.drain()
            writer.write(_line(END))
        except (HistoryQueryError, duckdb.Error) as error:
            writer.write(_line({"error": str(error).partition("\n")[0]}))
        await writer.drain()

    def _pages(self, name: str, params: dict[str, Any]) -> Iterator[bytes]:
        if name == INPUTS:
            until = params.get("until")
            positions = None if until is None else {int(partition): int(offset) for partition, offset in until.items()}
            with closing(self._cursor()) as cursor:
                for page in read_archive(cursor, positions):
                    yield b"".join(_line(_input_row(record)) for record in page)
            return
        statement = self._statement(name)
        with closing(self._cursor()) as cursor:
            for rows in answer(cursor, statement, params):
                yield b"".join(_line(row) for row in rows)

    def _statement(self, name: str) -> Statement:
        if name not in self._statements:
            known = ", ".join([INPUTS, *self._statements])
            raise HistoryQueryError(f"there is no query {name!r}; known: {known}")
        return self._statements[name]


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        _with_short_path(path, listening.bind)
    finally:
        os.umask(mask)
    return listening


def _request(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        request = json.loads(line)
        name, params = request["query"], request.get("params") or {}
    except (ValueError, KeyError, TypeError, AttributeError):
        name = params = None
    if not isinstance(name, str) or not isinstance(params, dict):
        raise HistoryQueryError('expected one JSON line {"query": name, "params": {...}}')
    return name, params


def _input_row(record: ArchivedInput) -> dict[str, Any]:
    return record._replace(key=_base64(record.key), value=_base64(record.value))._asdict()


def _base64(data: bytes | None) -> Any:
    return None if data is None else base64.b64encode(data).decode("ascii")


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def _with_short_path(path: Path, use: Callable[[str], None]) -> None:
    """Use the socket's path; one that is too long is reached through its open folder."""
    if len(os.fsencode(path)) <= _PATH_BYTES:
        use(str(path))
        return
    folders = Path("/proc/self/fd")
    if not folders.exists():
        raise SocketPathError(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        use(str(folders / str(folder) / path.name))
    finally:
        os.close(folder)
