"""How the other commands read the history: through the process that owns it, or from the file when none runs."""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final, Protocol, Self

from pipeline.settings import Settings
from sinks.archive import ArchivedInput, read_archive
from sinks.database import Database, history_file
from sinks.errors import HistoryAnswerError, HistoryLockedError, HistoryQueryError
from sinks.gateway import INPUTS, connect, socket_file
from sinks.statements import answer, load_statements

START_PATIENCE_SECONDS: Final = 10.0
"""A history process that starts has locked the file before its socket answers."""

_RETRY_SECONDS: Final = 0.1


class HistoryReader(Protocol):
    """Named queries on the history; close it, or use it in a ``with`` statement."""

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """Return the rows of a named query (``sinks/queries``).

        Raises:
            HistoryQueryError: there is no such query, or a parameter is wrong.
            HistoryAnswerError: the history process could not answer.
        """

    def inputs(self, until: Mapping[int, int] | None = None) -> Iterator[ArchivedInput]:
        """Yield the archived input records by (partition, offset), with little memory.

        Args:
            until: Offset per partition before which to stop; to the end when left out.
        """

    def close(self) -> None:
        """Let go of the history."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


def open_history(settings: Settings) -> HistoryReader:
    """Return a reader of the history of these settings.

    Raises:
        HistoryMissingError: no history process answers and there is no file.
        HistoryLockedError: no history process answers and another process holds the file.
    """
    deadline = time.monotonic() + START_PATIENCE_SECONDS
    while True:
        client = connect(socket_file(settings))
        if client is not None:
            client.close()
            return SocketReader(settings)
        try:
            return FileReader(Database.open(history_file(settings), read_only=True, patience=0))
        except HistoryLockedError:
            if time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_SECONDS)


class SocketReader:
    """Asks the history process; every query has a connection of its own."""

    def __init__(self, settings: Settings) -> None:
        self._path = socket_file(settings)

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """Return the rows of a named query."""
        return list(self._ask(name, params))

    def inputs(self, until: Mapping[int, int] | None = None) -> Iterator[ArchivedInput]:
        """Yield the archived input records by (partition, offset)."""
        params = {} if until is None else {"until": {str(partition): end for partition, end in until.items()}}
        for row in self._ask(INPUTS, params):
            record = ArchivedInput(**row)
            yield record._replace(key=_bytes(row["key"]), value=_bytes(row["value"]))

    def close(self) -> None:
        """Do nothing: no connection outlives its query."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, name: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        client = connect(self._path)
        if client is None:
            raise HistoryAnswerError(name, "it has ended; start it again and repeat the command")
        with closing(client), client.makefile("rwb") as stream:
            stream.write(json.dumps({"query": name, "params": params}).encode() + b"\n")
            stream.flush()
            for line in stream:
                row = json.loads(line)
                if row.keys() == {"end"}:
                    return
                if row.keys() == {"error"}:
                    raise HistoryAnswerError(name, row["error"])
                yield row
        raise HistoryAnswerError(name, "it ended before the answer was complete")


class FileReader:
    """Opens the file itself, for reading only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._statements = load_statements("queries")

    def query(self, name: str, **params: Any) -> list[dict[str, Any]]:
        """Return the rows of a named query."""
        statement = self._statements.get(name)
        if statement is None:
            raise HistoryQueryError(f"there is no query {name!r}; known: {', '.join(self._statements)}")
        with closing(self._database.cursor()) as cursor:
            return [row for page in answer(cursor, statement, params) for row in page]

    def inputs(self, until: Mapping[int, int] | None = None) -> Iterator[ArchivedInput]:
        """Yield the archived input records by (partition, offset)."""
        with closing(self._database.cursor()) as cursor:
            for page in read_archive(cursor, until):
                yield from page

    def close(self) -> None:
        """Close the file, so that a history process can open it."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
