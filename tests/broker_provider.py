"""Where the tests' Kafka comes from: an address that is given, a container, or the jars of the embedded broker.

The choice is made in this order and never ends in a skip: without any of the three the test fails and says why.
"""

import functools
import gc
import os
import signal
import socket
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.embedded_kafka.broker import EmbeddedBroker

TEST_BOOTSTRAP = "PARITYFLOW_TEST_BOOTSTRAP"
IMAGE = "apache/kafka:4.1.2"

# A killed broker may only register again when its old session has ended: 9 s by default, 3 s in tests.
QUICK_RETURN = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}


class Kafka(Protocol):
    """A Kafka that tests talk to, and that fault tests stop and start."""

    bootstrap: str

    def start(self) -> None:
        """Start it and return when it answers, at the same address as before."""

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and wait for its end."""

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop and start it."""


class GivenKafka:
    """The Kafka of ``PARITYFLOW_TEST_BOOTSTRAP``: somebody else's, so it is never stopped."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def start(self) -> None:
        wait_until_it_answers(self.bootstrap, seconds=20)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        raise AssertionError(f"this test stops Kafka ({how.name}): it must ask for the fixture own_broker")

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop(how)


class KafkaFromJars:
    """The embedded broker itself."""

    def __init__(self, state_dir: Path, overrides: Mapping[str, str]) -> None:
        self.broker = EmbeddedBroker(state_dir, overrides={**QUICK_RETURN, **overrides})
        self.bootstrap = ""

    def start(self) -> None:
        self.broker.start()
        self.bootstrap = self.broker.bootstrap_servers

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.broker.stop(how)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop(how)
        self.start()


class KafkaInContainer:
    """Apache's own image; the container is stopped and started as a whole, so its data stays."""

    def __init__(self, overrides: Mapping[str, str]) -> None:
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - only where an engine answers

        port = _free_port()
        self._container = DockerContainer(IMAGE).with_bind_ports(9092, port)
        self.bootstrap = f"{self._container.get_docker_client().host()}:{port}"
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.quorum.voters": "1@localhost:9093",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "message.max.bytes": str(16 * 1024 * 1024),
            **QUICK_RETURN,
            **overrides,
        }
        for name, value in properties.items():
            self._container = self._container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        self._created = False

    def start(self) -> None:
        if self._created:
            self._container.get_wrapped_container().start()
        else:
            self._container.start()
            self._created = True
        wait_until_it_answers(self.bootstrap, seconds=120)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        container = self._container.get_wrapped_container()
        container.kill(how.name)
        container.wait(timeout=60)

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.stop(how)
        self.start()

    def remove(self) -> None:
        self._container.stop()


def own_kafka(state_dir: Path, overrides: Mapping[str, str]) -> KafkaInContainer | KafkaFromJars:
    """Return a broker, not started yet, that belongs to the caller alone."""
    if container_engine_answers():
        return KafkaInContainer(overrides)
    return KafkaFromJars(state_dir, overrides)


def shared_kafka(state_dir: Path) -> GivenKafka | KafkaInContainer | KafkaFromJars:
    """Return the broker, not started yet, that the tests of a run share."""
    given = os.environ.get(TEST_BOOTSTRAP)
    return GivenKafka(given) if given else own_kafka(state_dir, {})


def release(kafka: Kafka) -> None:
    """Stop a broker for good; what was not ours stays."""
    if isinstance(kafka, KafkaInContainer):
        kafka.remove()
    elif isinstance(kafka, KafkaFromJars):
        kafka.stop(signal.SIGKILL)  # its folder is thrown away, a tidy end would only take time


@functools.cache
def container_engine_answers() -> bool:
    """Ask the container engine, if one is configured, and give it two seconds."""
    with warnings.catch_warnings():
        # when nobody answers, the docker library leaves its socket to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        answers = _engine_answers()
        gc.collect()
    return answers


def _engine_answers() -> bool:
    import docker  # noqa: PLC0415 - slow to import, and most tests need no broker
    from docker.errors import DockerException  # noqa: PLC0415

    try:
        client = docker.from_env(timeout=2)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


def wait_until_it_answers(bootstrap: str, seconds: float) -> None:
    """Return when a broker lists itself; fail with its address otherwise."""
    deadline = time.monotonic() + seconds
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    while time.monotonic() < deadline:
        try:
            if admin.list_topics(timeout=2).brokers:
                return
        except KafkaException:
            time.sleep(0.2)
    raise AssertionError(f"no Kafka answers at {bootstrap} ({seconds:.0f} s); is {TEST_BOOTSTRAP} right?")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
