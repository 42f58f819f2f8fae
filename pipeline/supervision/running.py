"""The whole pipeline of this machine, running for as long as a command needs it."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.embedded_kafka.broker import embedded_broker_answers
from pipeline.errors import TransientError
from pipeline.settings import Settings
from pipeline.supervision.up_status import is_healthy, read_status

START_SECONDS = 120.0
STOP_SECONDS = 90.0
_POLL_SECONDS = 0.5


class PipelineNotReadyError(TransientError):
    """The pipeline did not come up in time."""

    def __init__(self, log_dir: Path) -> None:
        self.log_dir = log_dir
        super().__init__(
            f"the pipeline was not ready within {START_SECONDS:.0f} s; the reason is in the logs in {log_dir}. "
            "Is another one running in this folder (parityflow status)?"
        )


@contextmanager
def pipeline_running(settings: Settings) -> Iterator[bool]:
    """Run ``parityflow up`` around a command, unless something runs here already or a Kafka address is configured.

    Yields:
        Whether it was started for this command.

    Raises:
        PipelineNotReadyError: it did not come up.
    """
    if settings.bootstrap_servers is not None or embedded_broker_answers(settings.state_dir):
        yield False
        return
    command = [sys.executable, "-m", "pipeline.cli", "up"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)  # noqa: S603  our own program
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _is_up(settings):
            if time.monotonic() > deadline or process.poll() is not None:
                raise PipelineNotReadyError(settings.state_dir / "logs")
            time.sleep(_POLL_SECONDS)
        yield True
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)


def _is_up(settings: Settings) -> bool:
    children = read_status(settings.state_dir)
    return bool(children) and is_healthy(children) and (settings.state_dir / "history.sock").exists()
