"""The error tree: two branches decide policy, nothing else does.

``TransientError``: the cause may go away; retry, commit nothing. ``TerminalError``: it will not; stop, or dead-letter.
"""


class PipelineError(Exception):
    """Root of every error that this project raises on purpose."""


class TransientError(PipelineError):
    """The cause lies outside and may pass: the caller retries and commits nothing."""


class TerminalError(PipelineError):
    """Retrying cannot help: the caller stops, or puts the record among the dead letters."""
