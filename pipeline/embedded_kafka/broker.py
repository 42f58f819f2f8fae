"""The embedded broker: one Apache Kafka (KRaft) on this machine, its data in the state folder.

It is a real Kafka, so nothing downstream knows the difference to a cluster; what it lacks is copies on other
machines.
"""

import base64
import json
import signal
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.embedded_kafka.loopback import HOST, accepts_connections, free_port, is_free
from pipeline.embedded_kafka.properties import DATA_FOLDER, port_of, server_properties
from pipeline.embedded_kafka.runtime import LOG_CONFIGURATION, find_java, kafka_jars
from pipeline.errors import TerminalError
from pipeline.settings import Settings
from pipeline.supervision.private_files import (
    FolderLock,
    last_lines,
    make_private_folder,
    open_private_log,
    write_json_atomically,
)
from pipeline.supervision.tether import TetheredProcess

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0


class BrokerAlreadyRunsError(TerminalError):
    """Another process runs the embedded broker of this state folder."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        known = read_broker_file(state_dir)
        where = "it is still starting or stopping" if known is None else f"at {known[0]}, process {known[1]}"
        super().__init__(
            f"an embedded broker already runs for {state_dir} ({where}): use that one, stop it first, or set "
            "PARITYFLOW_STATE_DIR to another folder"
        )


class PortTakenError(TerminalError):
    """The port that was asked for belongs to somebody else."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(
            f"port {port} on {HOST} is taken, the embedded broker cannot listen there: set "
            "PARITYFLOW_BROKER_PORT to a free port, or to 0 to have one chosen"
        )


class BrokerStartError(TerminalError):
    """Kafka ended, or did not answer in time."""

    def __init__(self, what: str, log: Path, lines: list[str]) -> None:
        self.what = what
        self.log = log
        shown = "".join(f"\n  {line}" for line in lines)
        super().__init__(f"{what}; its log {log} ends with:{shown}" if lines else f"{what} and left no log in {log}")


class EmbeddedBroker:
    """One Kafka process; a context manager that starts and stops it."""

    def __init__(
        self,
        state_dir: Path,
        *,
        port: int = 0,
        heap: str = "512m",
        overrides: Mapping[str, str] | None = None,
    ) -> None:
        """Describe a broker; nothing runs before ``start``.

        Args:
            state_dir: its data is kept in ``kafka/`` below it.
            port: where it listens on the loopback address; 0 takes the port of the last start if that is
                free, else a free one.
            heap: Java heap, as in ``-Xmx``.
            overrides: further broker properties, which win over ours.
        """
        self.state_dir = state_dir.resolve()
        self.port = port
        self._requested_port = port
        self._heap = heap
        self._overrides = dict(overrides or {})
        self._home = self.state_dir / "kafka"
        self._logs = self.state_dir / "logs"
        self._properties = self._home / "server.properties"
        self._lock = FolderLock(self._home / "lock")
        self._process: TetheredProcess | None = None

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The Java process; None when it is not running."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def start(self) -> None:
        """Start Kafka, formatting its storage the first time, and return when it answers.

        Call it from a thread that lives as long as the broker is needed: the process dies with that thread.

        Raises:
            BrokerAlreadyRunsError: this state folder's broker runs already.
            JavaMissingError, MavenMissingError, JarsUnavailableError: what it runs on is missing.
            PortTakenError: the requested port is not free.
            BrokerStartError: Kafka ended or did not answer within two minutes.
        """
        if self.pid is not None or not self._lock.acquire():
            raise BrokerAlreadyRunsError(self.state_dir)
        try:
            (self.state_dir / "broker.json").unlink(missing_ok=True)  # left by a broker that was killed
            java, jars = find_java(), kafka_jars(self.state_dir)
            make_private_folder(self._home)
            make_private_folder(self._logs)
            self._choose_port()
            self._write_properties()
            self._format_storage(java, jars)
            self._process = self._java(java, jars, "kafka.Kafka", str(self._properties))
            self._wait_until_it_answers()
        except BaseException:
            self.stop(signal.SIGKILL)
            raise
        address = {"bootstrap_servers": self.bootstrap_servers, "pid": self._process.pid}
        write_json_atomically(self.state_dir / "broker.json", address)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop Kafka and wait for its end; kill it when it has not ended after half a minute.

        Args:
            how: the first signal; ``SIGKILL`` ends it as a power cut would end the process.
        """
        process, self._process = self._process, None
        if process is not None:
            (self.state_dir / "broker.json").unlink(missing_ok=True)
            try:
                process.send_signal(how)
                process.wait_for(_STOP_SECONDS)
            finally:
                process.kill_group()
        self._lock.release()

    def wait(self, seconds: float) -> bool:
        """Wait for Kafka to end by itself; True when it has."""
        assert self._process is not None, "start() comes first"
        return self._process.wait_for(seconds)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _choose_port(self) -> None:
        if self._requested_port:
            if not is_free(self._requested_port):
                raise PortTakenError(self._requested_port)
            self.port = self._requested_port
            return
        last = self.port or port_of(self._properties)
        self.port = last if last and is_free(last) else free_port()

    def _write_properties(self) -> None:
        text = server_properties(self.port, free_port(), self._overrides)
        self._properties.write_text(text, encoding="utf-8")

    def _format_storage(self, java: Path, jars: Path) -> None:
        if (self._home / DATA_FOLDER / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        tool = (
            "kafka.tools.StorageTool",
            "format",
            "--ignore-formatted",
            "-t",
            cluster,
            "-c",
            str(self._properties),
        )
        process = self._java(java, jars, *tool)
        try:
            if not process.wait_for(_START_SECONDS) or process.returncode != 0:
                raise self._start_error(f"Kafka's storage in {self._home / DATA_FOLDER} could not be formatted")
        finally:
            process.kill_group()

    def _java(self, java: Path, jars: Path, *arguments: str) -> TetheredProcess:
        options = (
            f"-Xmx{self._heap}",
            "-XX:+UseG1GC",
            "-XX:+ExitOnOutOfMemoryError",  # a broker without memory must end, so that it is started anew
            "-XX:-UsePerfData",
            f"-Dlog4j2.configurationFile={LOG_CONFIGURATION}",
            f"-Dparityflow.log.dir={self._logs}",
        )
        with open_private_log(self._console_log) as console:
            return TetheredProcess(
                [str(java), *options, "-cp", f"{jars}/*", *arguments],
                output=console,
                cwd=self._home,
                keep_open=(self._lock.fileno(),),
            )

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        assert self._process is not None
        while not (accepts_connections(self.port) and _is_ready(self.bootstrap_servers)):
            if self._process.wait_for(0.1):
                raise self._start_error(f"Kafka ended while it started (exit code {self._process.returncode})")
            if time.monotonic() > deadline:
                raise self._start_error(f"Kafka did not answer at {self.bootstrap_servers} in {_START_SECONDS:.0f} s")

    def _start_error(self, what: str) -> BrokerStartError:
        log = self._logs / "kafka.log"
        complaints = [line for line in last_lines(log, 200) if " ERROR " in line or " FATAL " in line]
        console = [line for line in last_lines(self._console_log, 200) if not line.startswith("\tat ")][-5:]
        return BrokerStartError(what, log if complaints else self._console_log, complaints[-5:] or console)

    @property
    def _console_log(self) -> Path:
        return self._logs / "kafka-console.log"


def read_broker_file(state_dir: Path) -> tuple[str, int] | None:
    """Return address and process of the embedded broker that last started; None when none is announced."""
    try:
        known = json.loads((state_dir / "broker.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return str(known["bootstrap_servers"]), int(known["pid"])


def embedded_broker_answers(state_dir: Path) -> bool:
    """Say whether the embedded broker of a state folder is announced and takes connections."""
    known = read_broker_file(state_dir)
    return known is not None and accepts_connections(int(known[0].rpartition(":")[2]))


class _StopRequested(BaseException):
    """SIGTERM or SIGINT arrived: leaves whatever ``run_broker`` waits for."""


def run_broker(settings: Settings) -> int:
    """Run the embedded broker in the foreground until SIGTERM or SIGINT.

    Args:
        settings: state folder and port.

    Returns:
        The exit code: 0 after a signal, 1 when Kafka ended by itself.

    Raises:
        TerminalError: it cannot start; the message says what to do.
    """
    broker = EmbeddedBroker(settings.state_dir, port=settings.broker_port)
    previous = {number: signal.signal(number, _request_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        began = time.monotonic()
        broker.start()
        took = time.monotonic() - began
        _say(f"Kafka answers at {broker.bootstrap_servers} after {took:.1f} s, data in {broker.state_dir}")
        while not broker.wait(3600):
            pass
        _say(f"Kafka ended by itself; see {broker.state_dir / 'logs' / 'kafka.log'}")
    except _StopRequested:
        return 0
    else:
        return 1
    finally:
        broker.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _request_stop(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the stop that begins now is not to be interrupted by a second one
    raise _StopRequested


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _is_ready(bootstrap: str) -> bool:
    """Ask for the cluster's brokers: none are listed until the only one may serve."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0, "socket.timeout.ms": 2000})
    try:
        return bool(admin.list_topics(timeout=2).brokers)
    except KafkaException:
        return False
