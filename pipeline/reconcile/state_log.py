"""The agents' state read from outside: the changelog of an epoch, value by value, as the broker holds it now."""

from collections.abc import Iterator

from pipeline.codec import Codec
from pipeline.counting.epochs import POSITION_HEADER
from pipeline.counting.state_values import load_value
from pipeline.domain.codes import CHARACTERISTICS
from pipeline.domain.state import DAY, ORGANISATION, split_key
from pipeline.kafka_log import read_partition
from pipeline.reconcile.reconcile import AgentDay
from pipeline.topics import changelog_of


def read_state(bootstrap: str, epoch: int, partition: int) -> dict[bytes, bytes]:
    """Return the state of a partition: of each key the value with the highest position."""
    best: dict[bytes, tuple[bytes, bytes | None]] = {}
    for message in read_partition(bootstrap, changelog_of(epoch), partition):
        position = dict(message.headers() or ()).get(POSITION_HEADER, b"")
        known = best.get(message.key())
        if known is None or position >= known[0]:
            best[message.key()] = position, message.value()
    return {key: value for key, (_, value) in best.items() if value is not None}


def agent_days(bootstrap: str, codec: Codec, epoch: int, partitions: int) -> Iterator[AgentDay]:
    """Yield the day counts of every organisation."""
    for partition in range(partitions):
        for key, data in read_state(bootstrap, epoch, partition).items():
            if key[:1] == DAY:
                organisation, day = split_key(key)
                cells = {}
                for (cell, group), count in load_value(codec, key, data).items():
                    kind, name, outcome = cell.split("/")
                    characteristic = CHARACTERISTICS[int(group[0])] if group else None
                    cells[kind, name, outcome, characteristic, group[2:] or None] = count
                yield AgentDay(organisation, int(day), cells)


def retired_before(bootstrap: str, codec: Codec, epoch: int, partitions: int) -> dict[str, int]:
    """Return of each organisation the first day whose counts the agents still hold."""
    found = {}
    for partition in range(partitions):
        for key, data in read_state(bootstrap, epoch, partition).items():
            if key[:1] == ORGANISATION:
                found[key[1:].decode()] = load_value(codec, key, data).retired_before
    return found
