"""The configuration of the embedded broker: one Kafka node on a machine that does other work too."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.embedded_kafka.loopback import HOST

DATA_FOLDER = "data"  # relative: a path may hold what means something else in a properties file
LARGEST_MESSAGE_BYTES = 16 * 1024 * 1024  # twice the largest state batch

_PROPERTIES: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # topics have one owner: `parityflow topics apply`
    "auto.create.topics.enable": "false",
    # one node holds the only copy; few partitions of the internal topics start faster
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # a single worker need not wait for others to join; a killed one may be missed after a second
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "message.max.bytes": str(LARGEST_MESSAGE_BYTES),
    "replica.fetch.max.bytes": str(LARGEST_MESSAGE_BYTES),
    # changelogs are compacted; 16 MiB hold 600,000 keys a pass, the default would be a quarter of the heap
    "log.cleaner.enable": "true",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "log.cleaner.threads": "1",
    # sized for a machine that does other work too
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
}


def server_properties(port: int, controller_port: int, overrides: Mapping[str, str]) -> str:
    """Return the text of ``server.properties``.

    Args:
        port: where clients connect.
        controller_port: where the node talks to itself; it may change from start to start.
        overrides: further properties, which win over ours.

    Returns:
        One ``name=value`` a line.
    """
    properties = {
        **_PROPERTIES,
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "log.dirs": DATA_FOLDER,
        **overrides,
    }
    return "# written at every start of the embedded broker\n" + "".join(f"{k}={v}\n" for k, v in properties.items())


def port_of(properties: Path) -> int:
    """Return the client port in a ``server.properties``; 0 when there is no such file."""
    try:
        lines = properties.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return 0
    addresses = [line.rpartition(":")[2] for line in lines if line.startswith("advertised.listeners=")]
    return int(addresses[0]) if addresses else 0
