"""History on a real broker: the file holds what was sent, through kills, restarts and a broker that goes away."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer

from pipeline.codec import Codec, LocalResolver
from pipeline.crashpoints import KILLED
from pipeline.domain.records import (
    WHOLE_RECORD,
    ApplicationEvent,
    Contribution,
    DeadLetter,
    Epoch,
    Tick,
    Transition,
    TransitionBatch,
)
from pipeline.settings import Settings
from pipeline.topics import (
    DEAD_LETTERS,
    EPOCHS,
    EVENTS,
    TRANSITIONS,
    admin_client,
    apply_topics,
    topic_specs,
)
from sinks.reader import SocketReader, open_history
from tests.broker_provider import Kafka

pytestmark = pytest.mark.broker

PARTITIONS = 2
UNKNOWN = ("unknown:not_known",) * 9
CODEC = Codec(LocalResolver.load())
RUN = """
import sys
import structlog
from pipeline.errors import PipelineError
from pipeline.settings import Settings
from sinks.history import run_history
structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
try:
    sys.exit(run_history(Settings()))
except PipelineError as error:
    sys.exit(str(error))
"""


class Agents:
    """Stands in for intake and funnel: writes inputs and, for each, what the funnel would say."""

    def __init__(self, kafka: Kafka) -> None:
        create_topics(kafka)
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap, "log_level": 0, "linger.ms": 5})
        self.sent = [0] * PARTITIONS

    def announce(self, epoch: int = 1, positions: Mapping[str, int] | None = None) -> None:
        self.produce(EPOCHS, 0, Epoch(epoch, dict(positions or {})))

    def produce(self, topic: str, partition: int, record: Any) -> None:
        value = record if isinstance(record, bytes) else CODEC.encode(record)
        while True:
            try:
                self._producer.produce(topic, key=b"RX1", value=value, partition=partition)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def chunk(self, partition: int, size: int, *, resend: bool = False) -> None:
        """Write ``size`` applications and the batch of their arrivals, once more when a worker would have crashed."""
        start = self.sent[partition]
        for offset in range(start, start + size):
            name = f"p{partition}-{offset}"
            event = ApplicationEvent(f"e{name}", "applied", offset, offset, "test", f"RX{partition}", name, "v1")
            self.produce(EVENTS, partition, event)
        made = [transition(partition, offset) for offset in range(start, start + size)]
        if resend:
            half = size // 2
            self.produce(TRANSITIONS, partition, batch(partition, start - 1, start + half - 1, made[:half]))
        self.produce(TRANSITIONS, partition, batch(partition, start - 1, start + size - 1, made))
        self.sent[partition] += size

    def flush(self) -> None:
        assert self._producer.flush(30) == 0


def create_topics(kafka: Kafka) -> None:
    """Create what is missing; new partitions need a moment until they have a leader."""

    def created() -> bool:
        try:
            apply_topics(admin_client(kafka.bootstrap), kafka.bootstrap, topic_specs(PARTITIONS, 30), 1)
        except KafkaException:
            return False
        return True

    until(created, 30)


def transition(partition: int, offset: int) -> Transition:
    made = Contribution("arrival", "applied", "", 19_800, 19_800, 19_800 * 86_400_000)
    name = f"p{partition}-{offset}"
    return Transition(offset, 0, 1, f"RX{partition}", name, "v1", None, None, None, UNKNOWN, [made])


def batch(partition: int, start: int, end: int, made: list[Transition]) -> TransitionBatch:
    return TransitionBatch(1, partition, start, WHOLE_RECORD, end, WHOLE_RECORD, 1_700_000_000_000, 1, [], made)


class HistoryProcess:
    """A history process of its own state folder."""

    def __init__(self, kafka: Kafka, state_dir: Path) -> None:
        self.settings = Settings(
            state_dir=state_dir, bootstrap_servers=kafka.bootstrap, partitions=PARTITIONS, boards_port=0
        )
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PARITYFLOW_STATE_DIR": str(state_dir),
            "PARITYFLOW_BOOTSTRAP_SERVERS": kafka.bootstrap,
            "PARITYFLOW_PARTITIONS": str(PARTITIONS),
            "PARITYFLOW_BOARDS_PORT": "0",
        }
        self.process: subprocess.Popen[str] | None = None

    def start(self, **environment: str) -> subprocess.Popen[str]:
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN],
            env=self._environment | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self.process

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal, if it still runs, and return exit code and log."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        _, log = self.process.communicate(timeout=60)
        return self.process.returncode, log

    def url(self, seconds: float = 30) -> str:
        file = self.settings.state_dir / "boards.json"
        until(file.exists, seconds)
        return str(json.loads(file.read_text())["url"])

    def get(self, path: str, audience: str = "recruitment") -> tuple[int, Any]:
        token = json.loads((self.settings.state_dir / "tokens.json").read_text())[audience]
        request = urllib.request.Request(self.url() + path, headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def wait_until_recorded(self, agents: Agents, seconds: float = 60) -> None:
        self.url()

        def recorded() -> bool:
            assert self.process is None or self.process.poll() is None, self.end()[1]
            with open_history(self.settings) as reader:
                rows = reader.query("progress")
            ends = {row["partition"]: (row["archived_to"], (row["to_offset"] or -1) + 1) for row in rows}
            return ends == {partition: (sent, sent) for partition, sent in enumerate(agents.sent)}

        until(recorded, seconds)


def until(is_so: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"{is_so} not so within {seconds} s"
        time.sleep(0.05)


@contextmanager
def running(history: HistoryProcess, **environment: str) -> Iterator[HistoryProcess]:
    """Run a history and stop it without mercy at the end."""
    process = history.start(**environment)
    try:
        yield history
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def agents(own_broker: Kafka) -> Agents:
    made = Agents(own_broker)
    made.announce()
    return made


@pytest.fixture
def history(own_broker: Kafka, fresh_state_dir: Path) -> HistoryProcess:
    return HistoryProcess(own_broker, fresh_state_dir)


def assert_equal_to_what_was_sent(history: HistoryProcess, agents: Agents) -> None:
    """Compare with the sender's own account: every input as it was sent, every application once."""
    with open_history(history.settings) as reader:
        archive = [
            (one.partition, one.offset, CODEC.decode(one.value).record.application_id) for one in reader.inputs()
        ]
        arrived = {row["organisation"]: row["applications"] for row in reader.query("organisations")}
    expected = [(p, offset, f"p{p}-{offset}") for p in range(PARTITIONS) for offset in range(agents.sent[p])]
    assert archive == expected
    assert arrived == {f"RX{p}": agents.sent[p] for p in range(PARTITIONS) if agents.sent[p]}


def test_records_come_to_the_boards_and_a_stop_loses_nothing(history: HistoryProcess, agents: Agents) -> None:
    agents.chunk(0, 10)
    agents.chunk(1, 5)
    agents.produce(DEAD_LETTERS, 0, DeadLetter(EVENTS, 0, 99, "undecodable", "why", 1, b"\0" * 32, b"x"))
    agents.flush()
    with running(history):
        history.wait_until_recorded(agents)
        status, funnel = history.get("/boards/funnel")
        assert (status, [(row["organisation"], row["stage"], row["waiting"]) for row in funnel["rows"]]) == (
            200,
            [("RX0", "applied", 10), ("RX1", "applied", 5)],
        )
        assert abs(funnel["as_of"] / 1000 - time.time()) < 60
        assert history.get("/boards/pipeline_health", "operations")[0] == 200
        assert history.get("/readyz")[1]["ready"] is True
        with open_history(history.settings) as reader:
            assert isinstance(reader, SocketReader)
            assert reader.query("dead_letters_by_reason") == [{"topic": EVENTS, "reason": "undecodable", "records": 1}]
        agents.chunk(0, 1)
        agents.flush()
        sent = time.monotonic()
        history.wait_until_recorded(agents)
        assert time.monotonic() - sent < 2
        code, log = history.end()
        assert code == 0, log
        assert not list(history.settings.state_dir.glob("*.sock"))
        assert not (history.settings.state_dir / "boards.json").exists()
    assert_equal_to_what_was_sent(history, agents)


def test_twenty_kills_leave_the_file_equal_to_what_was_sent(history: HistoryProcess, agents: Agents) -> None:
    stop = threading.Event()

    def send() -> None:
        count = 0
        while not stop.is_set():
            agents.chunk(count % PARTITIONS, 400, resend=count % 3 == 0)
            count += 1
            stop.wait(0.02)

    sending = threading.Thread(target=send)
    sending.start()
    behind_at_a_kill = 0
    try:
        for attempt in range(20):
            with running(history):
                history.url()
                time.sleep(0.2 + 0.03 * attempt)
                assert history.process is not None
                history.process.kill()
                history.process.wait()
            with open_history(history.settings) as reader:
                rows = reader.query("progress")
            behind_at_a_kill += sum(agents.sent) > sum(row["archived_to"] for row in rows)
    finally:
        stop.set()
        sending.join()
    agents.flush()
    assert behind_at_a_kill >= 15
    with running(history):
        history.wait_until_recorded(agents, 120)
        assert history.end()[0] == 0
    assert_equal_to_what_was_sent(history, agents)


def test_a_crash_at_either_side_of_the_commit_is_repaired_by_reading_again(
    history: HistoryProcess, agents: Agents
) -> None:
    for point in ("history_before_commit", "history_after_commit"):
        agents.chunk(0, 300)
        agents.flush()
        with running(history, PARITYFLOW_CRASH_POINT=point):
            assert history.process is not None
            assert history.process.wait(60) == KILLED
    with running(history):
        history.wait_until_recorded(agents)
        assert history.end()[0] == 0
    assert_equal_to_what_was_sent(history, agents)


def test_a_foreign_record_or_a_gap_stops_with_one_sentence(history: HistoryProcess, agents: Agents) -> None:
    agents.chunk(0, 3)
    agents.produce(TRANSITIONS, 0, Tick(5))
    agents.flush()
    with running(history):
        assert history.process is not None
        _, log = history.process.communicate(timeout=60)
        assert history.process.returncode == 1
        assert f"{TRANSITIONS}, partition 0, offset 1: expected TransitionBatch, found Tick" in log
        assert "Traceback" not in log


def test_a_topic_made_anew_is_noticed_at_the_start(history: HistoryProcess, agents: Agents, own_broker: Kafka) -> None:
    agents.chunk(0, 3)
    agents.flush()
    with running(history):
        history.wait_until_recorded(agents)
        assert history.end()[0] == 0
    admin = admin_client(own_broker.bootstrap)
    admin.delete_topics([EVENTS])[EVENTS].result(30)
    until(lambda: EVENTS not in admin.list_topics(timeout=10).topics, 30)
    with running(history):
        code, log = history.end() if wait_for_end(history) else (0, "")
        assert code == 1
        assert f"{EVENTS}: expected 2 partitions, found the topic does not exist. Run parityflow topics apply" in log
    create_topics(own_broker)
    with running(history):
        code, log = history.end() if wait_for_end(history) else (0, "")
        assert code == 1
        assert "it was deleted and made again" in log
        assert "Traceback" not in log


def wait_for_end(history: HistoryProcess) -> bool:
    assert history.process is not None
    history.process.wait(60)
    return True


def test_a_broker_that_goes_away_makes_history_unready_until_it_is_back(
    history: HistoryProcess, agents: Agents, own_broker: Kafka
) -> None:
    agents.chunk(0, 3)
    agents.flush()
    with running(history):
        history.wait_until_recorded(agents)
        own_broker.stop()
        until(lambda: history.get("/readyz")[0] == 503, 15)
        assert history.get("/readyz")[1]["condition"] == "no_broker"
        assert history.get("/livez")[0] == 200
        assert history.get("/boards/funnel")[0] == 200
        own_broker.start()
        until(lambda: history.get("/readyz")[0] == 200, 30)
        agents.chunk(1, 4)
        agents.flush()
        history.wait_until_recorded(agents)
        assert history.end()[0] == 0
    assert_equal_to_what_was_sent(history, agents)


@pytest.mark.usefixtures("agents")
def test_a_taken_port_and_a_second_history_are_named(history: HistoryProcess, own_broker: Kafka) -> None:
    with running(history):
        url = history.url()
        until(lambda: history.get("/readyz")[0] == 200, 30)
        second = HistoryProcess(own_broker, history.settings.state_dir)
        with running(second):
            assert second.process is not None
            _, log = second.process.communicate(timeout=60)
        assert "is in use by another process" in log
        assert history.get("/readyz")[0] == 200
        third = HistoryProcess(own_broker, history.settings.state_dir.with_name("third"))
        with running(third, PARITYFLOW_BOARDS_PORT=url.rpartition(":")[2]):
            assert third.process is not None
            _, log = third.process.communicate(timeout=60)
        assert "Set PARITYFLOW_BOARDS_PORT to a free port" in log
        assert "Traceback" not in log
