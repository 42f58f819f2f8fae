"""Records that nobody can count: each is a dead letter once, whoever restarts, and its neighbours are counted."""

import struct
import time
from collections import Counter

import pytest

from pipeline.domain.records import ApplicationEvent
from pipeline.kafka_log import read_partition
from pipeline.topics import DEAD_LETTERS, EVENTS, partition_of
from tests.fault.harness import Lab
from tests.fault.streams import CODEC, PARTITIONS, Wire, wire

pytestmark = pytest.mark.broker

DAY_MS = 86_400_000
ORGANISATION = "RX1"
KEY = ORGANISATION.encode()
HOME = partition_of(KEY, PARTITIONS)
YEAR_2999 = 32_472_144_000_000


def applied(name: str, event_time: int) -> ApplicationEvent:
    return ApplicationEvent(f"e-{name}", "applied", event_time, event_time, "test", ORGANISATION, name, "v1")


def poison(now: int) -> dict[str, tuple[Wire, str]]:
    """Return every kind of bad record with the reason that it must be rejected for."""
    good = CODEC.encode(applied("never", now))
    event_type = good.index(b"e-never") + len(b"e-never")  # the enum index follows the event id
    unknown_enum = good[:event_type] + b"\xc6\x01" + good[event_type + 1 :]

    def here(value: bytes | None) -> Wire:
        return Wire(HOME, KEY, value)

    return {
        "not Avro": (here(b"\xff\xfe{not avro at all"), "wrong_magic"),
        "JSON": (here(b'{"record": "application_event"}'), "wrong_magic"),
        "wrong magic byte": (here(b"\x01" + good[1:]), "wrong_magic"),
        "unknown schema id": (here(struct.pack(">bI", 0, 999_999) + good[5:]), "unknown_schema"),
        "truncated": (here(good[: len(good) // 2]), "undecodable"),
        "trailing bytes": (here(good + b"\x00\x01"), "trailing_bytes"),
        "2 MB": (here(good + bytes(2 * 1024 * 1024)), "too_large"),
        "null value": (here(None), "empty_value"),
        "empty value": (here(b""), "empty_value"),
        "unknown enum index": (here(unknown_enum), "undecodable"),
        "missing key": (Wire(HOME, None, good), "missing_key"),
        "foreign key": (Wire(HOME, b"RX2", good), "key_mismatch"),
        "wrong partition": (Wire((HOME + 1) % PARTITIONS, KEY, good), "wrong_partition"),
        "time 1970": (here(CODEC.encode(applied("p1970", 0))), "implausible_event_time"),
        "time before 1970": (here(CODEC.encode(applied("p1969", -DAY_MS))), "implausible_event_time"),
        "time 2999": (here(CODEC.encode(applied("p2999", YEAR_2999))), "future_event_time"),
        "too late": (here(CODEC.encode(applied("late", now - 401 * DAY_MS))), "too_late"),
    }


def test_every_kind_of_poison_is_a_dead_letter_once_and_its_neighbours_count(lab: Lab) -> None:
    now = int(time.time() * 1000) - DAY_MS
    bad = poison(now)
    records: list[Wire] = []
    for number, (record, _) in enumerate(bad.values()):
        records += [wire(applied(f"before-{number}", now)), record, wire(applied(f"after-{number}", now))]
    watch, worker = lab.watch(), lab.start()
    ends = lab.send(records)
    lab.wait_applied(watch, ends)
    assert worker.stop() == 0
    found = lab.assert_exact()
    assert Counter(found.dead_letters.values()) == Counter(reason for _, reason in bad.values())
    assert found.dead_letters_sent == len(bad)
    everybody = [count for cell, count in found.cells.items() if cell.name == "applied" and cell.group is None]
    assert everybody == [2 * len(bad)]
    _assert_letters_explain_themselves(lab, bad)

    second = lab.start()
    lab.wait_applied(watch, lab.send([wire(applied("later", now))]))
    assert second.stop() == 0
    again = lab.assert_exact()
    assert again.dead_letters == found.dead_letters
    assert again.dead_letters_sent == len(bad)


def _assert_letters_explain_themselves(lab: Lab, bad: dict[str, tuple[Wire, str]]) -> None:
    letters = [one for number in range(PARTITIONS) for one in read_partition(lab.bootstrap, DEAD_LETTERS, number)]
    for letter in letters:
        headers = {name: value.decode() for name, value in letter.headers()}
        assert headers["__connect.errors.topic"] == EVENTS
        assert headers["__connect.errors.exception.class.name"] in {reason for _, reason in bad.values()}
        assert headers["__connect.errors.exception.message"]
        original = CODEC.decode(letter.value()).record
        assert str(original.offset) == headers["__connect.errors.offset"]
        kept = [record for record, _ in bad.values() if (record.value or b"").startswith(original.original or b"")]
        assert original.length in {len(record.value or b"") for record in kept}
