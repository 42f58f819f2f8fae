"""Fixtures of every kind of test: state folders and brokers."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.broker_provider import Kafka, own_kafka, release, shared_kafka

# CI must not fail by chance, so it draws the same cases each time; a developer's run draws new ones. Deadlines mean
# nothing on a shared machine.
settings.register_profile(
    "parityflow", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("parityflow")

StartBroker = Callable[..., Kafka]


@pytest.fixture
def fresh_state_dir(tmp_path: Path) -> Path:
    """A state folder that nothing has used yet."""
    return tmp_path / "state"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """The broker that tests share: topic and group names must be the test's own, and nobody stops it."""
    broker = shared_kafka(tmp_path_factory.mktemp("kafka"))
    try:
        broker.start()
        yield broker
    finally:
        release(broker)


@pytest.fixture
def start_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartBroker]:
    """Start brokers that belong to this test: ``start_broker({"log.cleaner.backoff.ms": "500"})``."""
    started: list[Kafka] = []

    def start(overrides: Mapping[str, str] | None = None) -> Kafka:
        broker = own_kafka(tmp_path_factory.mktemp("own_kafka"), overrides or {})
        started.append(broker)
        broker.start()
        return broker

    yield start
    for broker in started:
        release(broker)


@pytest.fixture
def own_broker(start_broker: StartBroker) -> Kafka:
    """A broker that belongs to this test, which may stop, kill and start it."""
    return start_broker()
