"""What can go wrong around the history file and its topics, each with the way out in its message."""

from pathlib import Path

from pipeline.errors import TerminalError, TransientError


class HistoryLockedError(TerminalError):
    """Another process holds the history file."""

    def __init__(self, path: Path, holder: str) -> None:
        self.path = path
        super().__init__(
            f"the history file {path} is in use by another process ({holder}). Only one history process may own it: "
            "stop the other one, or set PARITYFLOW_STATE_DIR to another folder"
        )


class HistoryUnreadableError(TerminalError):
    """The history file cannot be opened for another reason than a lock."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        super().__init__(
            f"the history file {path} cannot be opened: {problem}. Expected a DuckDB file that this user may write; "
            "check the owner and free space of its folder, or set PARITYFLOW_STATE_DIR"
        )


class HistoryMissingError(TerminalError):
    """There is no history yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(
            f"there is no history: {path} does not exist and no history process answers. Start one "
            "(parityflow up, or parityflow history), or set PARITYFLOW_STATE_DIR to the folder of an existing one"
        )


class HistoryNewerError(TerminalError):
    """The file was written by a newer version of this program."""

    def __init__(self, path: Path, unknown: list[str]) -> None:
        self.path = path
        self.unknown = unknown
        super().__init__(
            f"the history file {path} has migrations that this version does not know ({', '.join(unknown)}): it was "
            "written by a newer version. Install that version again; an older one cannot read it"
        )


class HistoryWriteError(TransientError):
    """A batch could not be committed; nothing of it is in the file."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the batch was not committed and will be written again: {problem}")


class MissingOutputsError(TerminalError):
    """A batch of transitions does not continue where the last one ended."""

    def __init__(self, epoch: int, partition: int, last: tuple[int, int], found: tuple[int, int]) -> None:
        self.epoch = epoch
        self.partition = partition
        super().__init__(
            f"missing outputs in epoch {epoch}, partition {partition}: expected the next batch of transitions to "
            f"start at or before offset {last[0]} (output {last[1]}), found one that starts at {found[0]} (output "
            f"{found[1]}). Run parityflow rebuild to build the counts again from the archive"
        )


class ForeignRecordError(TerminalError):
    """An output topic holds something that no agent writes there."""

    def __init__(self, topic: str, partition: int, offset: int, expected: str, found: str) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        super().__init__(
            f"{topic}, partition {partition}, offset {offset}: expected {expected}, found {found}. Only Parityflow's "
            "agents may write to this topic: find the other writer, then run parityflow rebuild"
        )


class SourceTopicError(TerminalError):
    """A topic is not what history left when it last read it."""

    def __init__(self, topic: str, problem: str) -> None:
        self.topic = topic
        super().__init__(f"{topic}: {problem}")


class HistoryQueryError(TerminalError):
    """A named query or view was asked for something it does not offer."""


class HistoryAnswerError(TerminalError):
    """The history process answered with an error."""

    def __init__(self, query: str, problem: str) -> None:
        self.query = query
        super().__init__(f"the history process could not answer {query}: {problem}")
