"""The embedded broker as its users meet it: real Java processes, real folders."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from pipeline.embedded_kafka.broker import BrokerAlreadyRunsError, BrokerStartError, EmbeddedBroker, PortTakenError
from pipeline.settings import Settings
from tests.broker_provider import Kafka

pytestmark = pytest.mark.broker

FOREGROUND = """
import sys
from pipeline.embedded_kafka.broker import run_broker
from pipeline.settings import Settings
sys.exit(run_broker(Settings()))
"""


@pytest.fixture
def embedded(fresh_state_dir: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(fresh_state_dir, heap="256m")
    try:
        yield broker
    finally:
        broker.stop(signal.SIGKILL)


def test_shared_broker_answers(kafka: Kafka) -> None:
    assert AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).brokers


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_acknowledged_records_and_the_address_survive_a_restart(own_broker: Kafka, how: signal.Signals) -> None:
    address = own_broker.bootstrap
    create_topic(address, "kept")
    produce(address, "kept", [b"1", b"2", b"3"])

    own_broker.restart(how)

    assert own_broker.bootstrap == address
    assert read_all(address, "kept") == [b"1", b"2", b"3"]


def test_state_folder_says_where_the_broker_is_while_it_runs(embedded: EmbeddedBroker) -> None:
    embedded.start()
    announced = json.loads((embedded.state_dir / "broker.json").read_text())

    assert announced == {"bootstrap_servers": embedded.bootstrap_servers, "pid": embedded.pid}
    assert Settings(state_dir=embedded.state_dir).bootstrap() == embedded.bootstrap_servers

    embedded.stop()
    assert not (embedded.state_dir / "broker.json").exists()


def test_only_the_owner_can_read_data_and_logs(embedded: EmbeddedBroker) -> None:
    embedded.start()
    create_topic(embedded.bootstrap_servers, "secret")
    produce(embedded.bootstrap_servers, "secret", [b"1"])

    open_to_others = [path for path in embedded.state_dir.rglob("*") if path.stat().st_mode & 0o077]
    assert embedded.state_dir.stat().st_mode & 0o777 == 0o700
    assert [path for path in open_to_others if path.suffix == ".log"] == []
    assert {path.name for path in (embedded.state_dir / "logs").iterdir()} >= {"kafka.log", "kafka-console.log"}


def test_topics_are_not_created_by_asking_for_them(embedded: EmbeddedBroker) -> None:
    embedded.start()
    admin = AdminClient({"bootstrap.servers": embedded.bootstrap_servers})
    consumer = Consumer(
        {
            "bootstrap.servers": embedded.bootstrap_servers,
            "group.id": "asks",
            "allow.auto.create.topics": True,
        }
    )
    consumer.subscribe(["misspelt"])
    consumer.poll(2)
    consumer.close()
    assert "misspelt" not in admin.list_topics(timeout=10).topics


def test_second_broker_for_a_state_folder_is_refused_and_names_the_first(embedded: EmbeddedBroker) -> None:
    embedded.start()
    with pytest.raises(BrokerAlreadyRunsError, match=rf"{embedded.bootstrap_servers}, process {embedded.pid}"):
        EmbeddedBroker(embedded.state_dir).start()
    assert embedded.pid is not None


def test_taken_port_names_the_setting(fresh_state_dir: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} .* PARITYFLOW_BROKER_PORT"):
            EmbeddedBroker(fresh_state_dir, port=port).start()


def test_broker_moves_to_a_free_port_when_its_last_one_is_taken(embedded: EmbeddedBroker) -> None:
    embedded.start()
    first = embedded.port
    embedded.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", first))
        other.listen()
        embedded.start()
    assert embedded.port != first


def test_broker_that_cannot_start_shows_why(fresh_state_dir: Path) -> None:
    broker = EmbeddedBroker(fresh_state_dir, overrides={"log.cleaner.io.buffer.load.factor": "many"})
    with pytest.raises(BrokerStartError, match=r"log\.cleaner\.io\.buffer\.load\.factor"):
        broker.start()
    assert broker.pid is None


def test_foreground_broker_ends_with_sigterm_and_exit_code_0(fresh_state_dir: Path) -> None:
    process = run_in_foreground(fresh_state_dir)
    kafka = java_of(fresh_state_dir, process)

    process.terminate()

    assert process.wait(40) == 0
    assert not psutil.pid_exists(kafka)


def test_kafka_does_not_outlive_a_killed_parent(fresh_state_dir: Path) -> None:
    process = run_in_foreground(fresh_state_dir)
    kafka = java_of(fresh_state_dir, process)

    process.kill()
    process.wait()

    wait_for(lambda: not is_alive(kafka), seconds=10)


def test_foreground_broker_ends_with_exit_code_1_when_kafka_is_killed(fresh_state_dir: Path) -> None:
    process = run_in_foreground(fresh_state_dir)
    os.kill(java_of(fresh_state_dir, process), signal.SIGKILL)
    assert process.wait(20) == 1


def create_topic(address: str, topic: str) -> None:
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)


def produce(address: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": address, "acks": "all"})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(20) == 0


def read_all(address: str, topic: str) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": address, "group.id": "reads", "enable.partition.eof": False})
    try:
        partition = TopicPartition(topic, 0, 0)
        _, end = consumer.get_watermark_offsets(partition, timeout=20)
        consumer.assign([partition])
        return [message.value() for message in consumer.consume(end, timeout=20)]
    finally:
        consumer.close()


def run_in_foreground(state_dir: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", FOREGROUND], env={**os.environ, "PARITYFLOW_STATE_DIR": str(state_dir)}
    )


def java_of(state_dir: Path, parent: subprocess.Popen[bytes]) -> int:
    announced = state_dir / "broker.json"
    wait_for(lambda: announced.exists() or parent.poll() is not None, seconds=60)
    return int(json.loads(announced.read_text())["pid"])


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)
