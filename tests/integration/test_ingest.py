"""Ingesting files into a real Kafka: everything once, in order, and what is wrong is said."""

import gzip
import io
import json
import sys
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from pydantic import SecretStr

from pipeline.codec import Codec, Decoded, LocalResolver
from pipeline.domain.records import ApplicationEvent, Control, DeadLetter
from pipeline.intake import sender
from pipeline.intake.ingest import NoCanonicalFileError, ingest
from pipeline.intake.ndjson import Canonical, write_line
from pipeline.intake.progress import Step
from pipeline.intake.report import IngestReport
from pipeline.intake.sender import Destination
from pipeline.intake.sources import InputFileError
from pipeline.intake.times import at
from pipeline.intake.waiting import PartitionProgress
from pipeline.settings import Settings
from pipeline.simulation.simulate import SimulationSettings, run_simulation, simulate
from pipeline.topics import BrokerUnreachableError, TopicsDifferError, partition_of
from tests.broker_provider import Kafka

pytestmark = pytest.mark.broker

CODEC = Codec(LocalResolver.load())
PARTITIONS = 3
START = at(2026, 3, 1)
MINUTE = 60_000


class Setup:
    """Topics and a state folder of one test."""

    def __init__(self, bootstrap: str, state_dir: Path) -> None:
        self.settings = Settings(state_dir=state_dir, bootstrap_servers=bootstrap, partitions=PARTITIONS)
        name = uuid.uuid4().hex[:8]
        self.to = Destination(f"ingest-{name}", f"ingest-dead-{name}")
        self.folder = state_dir.parent
        topics = [NewTopic(self.to.events, PARTITIONS, 1), NewTopic(self.to.dead_letters, PARTITIONS, 1)]
        admin = AdminClient({"bootstrap.servers": bootstrap})
        for future in admin.create_topics(topics).values():
            future.result(30)

    def write(self, name: str, lines: Iterable[Canonical | bytes]) -> Path:
        path = self.folder / name
        path.write_bytes(b"".join(one if isinstance(one, bytes) else write_line(one) for one in lines))
        return path

    def ingest(self, *files: Path | str, **options: Any) -> IngestReport:
        return ingest(files, self.settings, to=self.to, **options)

    def events(self) -> dict[int, list[Any]]:
        """Return the records of each partition in order."""
        return {number: [record for _, record in found] for number, found in self._read(self.to.events).items()}

    def letters(self) -> list[DeadLetter]:
        return [record for found in self._read(self.to.dead_letters).values() for _, record in found]

    def _read(self, topic: str) -> dict[int, list[tuple[bytes | None, Any]]]:
        consumer = Consumer({"bootstrap.servers": self.settings.bootstrap(), "group.id": "unused"})
        found: dict[int, list[tuple[bytes | None, Any]]] = defaultdict(list)
        try:
            left = sum(self._end(consumer, TopicPartition(topic, number)) for number in range(PARTITIONS))
            consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
            for message in consumer.consume(left, timeout=20) if left else ():
                decoded = CODEC.decode(message.value())
                assert isinstance(decoded, Decoded)
                partition = message.partition()
                assert partition is not None
                found[partition].append((message.key(), decoded.record))
        finally:
            consumer.close()
        assert sum(map(len, found.values())) == left
        return found

    @staticmethod
    def _end(consumer: Consumer, partition: TopicPartition) -> int:
        """Return the end of a partition; a topic made a moment ago may have no leader yet."""
        deadline = time.monotonic() + 20
        while True:
            try:
                return consumer.get_watermark_offsets(partition, timeout=10)[1]
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)


@pytest.fixture
def setup(kafka: Kafka, fresh_state_dir: Path) -> Setup:
    return Setup(kafka.bootstrap, fresh_state_dir)


def event(number: int, organisation: str = "RXX", minute: int | None = None) -> ApplicationEvent:
    moment = START + (number if minute is None else minute) * MINUTE
    return ApplicationEvent(f"{organisation}-{number}", "applied", moment, moment, "test", organisation, f"a{number}")


def test_every_record_arrives_once_in_the_partition_of_its_organisation(setup: Setup) -> None:
    sent = [event(n, f"R{n % 7}") for n in range(2000)]
    report = setup.ingest(setup.write("one.ndjson", sent))
    assert (report.accepted, report.rejected, report.exit_code) == (2000, 0, 0)
    arrived = setup.events()
    for partition, records in arrived.items():
        assert records == [r for r in sent if partition_of(r.organisation.encode(), PARTITIONS) == partition]
        assert report.targets[partition] == len(records) - 1


def test_several_files_are_merged_by_time_and_equal_times_keep_the_order_of_the_files(setup: Setup) -> None:
    first = setup.write("first.ndjson", [event(1, minute=1), event(2, minute=5), event(3, minute=5)])
    second = setup.write("second.ndjson", [event(4, minute=0), event(5, minute=5), event(6, minute=9)])
    setup.ingest(first, second)
    (records,) = setup.events().values()
    assert [record.application_id for record in records] == ["a4", "a1", "a2", "a3", "a5", "a6"]


def test_file_that_goes_back_in_time_is_said_and_keeps_its_order(setup: Setup) -> None:
    unsorted = setup.write("unsorted.ndjson", [event(1, minute=50), event(2, minute=10), event(3, minute=60)])
    other = setup.write("other.ndjson", [event(4, minute=20), event(5, minute=55)])
    report = setup.ingest(unsorted, other)
    (records,) = setup.events().values()
    assert [record.application_id for record in records] == ["a4", "a1", "a2", "a5", "a3"]
    assert report.files[0].backward == 1
    assert "earlier than a line before" in "\n".join(report.lines())


def test_backfill_brackets_each_organisation(setup: Setup) -> None:
    path = setup.write("year.ndjson", [event(n, f"R{n % 2}") for n in range(10)])
    setup.ingest(path, backfill=True)
    by_organisation: dict[str, list[Any]] = defaultdict(list)
    for records in setup.events().values():
        for record in records:
            by_organisation[record.organisation].append(record)
    assert set(by_organisation) == {"R0", "R1"}
    for records in by_organisation.values():
        first, *between, last = records
        assert isinstance(first, Control)
        assert isinstance(last, Control)
        assert (first.kind, last.kind) == ("loading", "caught_up")
        assert first.event_time == between[0].event_time
        assert last.event_time == between[-1].event_time
        assert len(between) == 5


def test_backfill_sent_again_repeats_the_identities_of_its_controls(setup: Setup) -> None:
    path = setup.write("year.ndjson", [event(1)])
    setup.ingest(path, backfill=True)
    setup.ingest(path, backfill=True, again=True)
    (records,) = setup.events().values()
    assert records[:3] == records[3:]


def test_rejected_lines_are_named_and_become_dead_letters_once_while_neighbours_arrive(setup: Setup) -> None:
    bad = json.dumps({"record": "application_event", "event_type": "hired", "organisation": "RXX"}).encode() + b"\n"
    personal = write_line(event(3))[:-2] + b',"name":"Jo Doe"}\n'
    path = setup.write("mixed.ndjson", [event(1), bad, b"not json, Jo Doe\n", personal, event(2)])
    report = setup.ingest(path)
    assert (report.accepted, report.rejected, report.exit_code) == (2, 3, 1)
    said = "\n".join(report.lines())
    assert "mixed.ndjson, line 2, field event_type: expected one of applied" in said
    assert 'found "hired"' in said
    assert "line 3" in said
    letters = {letter.offset: letter for letter in setup.letters()}
    assert sorted(letters) == [2, 3, 4]
    assert letters[2].original == bad
    assert letters[3].original is None, "what is no JSON cannot be looked through"
    assert letters[4].original is None, "it names a person"
    assert {letter.topic for letter in letters.values()} == {f"ingest:{report.files[0].sha256}"}
    assert "Doe" not in repr([letter.detail for letter in letters.values()])


def test_with_a_pseudonym_key_no_raw_id_reaches_kafka(setup: Setup) -> None:
    setup.settings = setup.settings.model_copy(update={"pseudonym_key": SecretStr("a key")})
    bad = json.dumps({"record": "application_event", "application_id": "secret-2", "event_type": "x"}).encode()
    path = setup.write("ids.ndjson", [event(1)._replace(application_id="secret-1", event_id="e"), bad])
    setup.ingest(path)
    assert "secret" not in repr(setup.events())
    assert "secret" not in repr(setup.letters())


def test_file_that_went_in_is_skipped_and_again_sends_it(setup: Setup) -> None:
    path = setup.write("once.ndjson", [event(1), b"{}\n"])
    assert setup.ingest(path).exit_code == 1
    second = setup.ingest(path)
    assert (second.accepted, second.exit_code) == (0, 1), "its rejected line is still rejected"
    assert "went in on" in second.lines()[0]
    setup.ingest(path, again=True)
    (records,) = setup.events().values()
    assert len(records) == 2
    assert records[0] == records[1], "the same identity: counted once"
    assert {letter.offset for letter in setup.letters()} == {2}


def test_same_content_under_two_names_is_sent_once(setup: Setup) -> None:
    one, two = setup.write("a.ndjson", [event(1)]), setup.write("b.ndjson", [event(1)])
    report = setup.ingest(one, two)
    assert report.accepted == 1
    assert "same content as" in report.lines()[0]


def test_another_topic_has_an_empty_ledger(setup: Setup, kafka: Kafka) -> None:
    path = setup.write("once.ndjson", [event(1)])
    setup.ingest(path)
    other = Setup(kafka.bootstrap, setup.settings.state_dir)
    assert other.ingest(path).accepted == 1


def test_compressed_files_byte_order_marks_and_windows_line_ends_are_read(setup: Setup) -> None:
    lines = b"\xef\xbb\xbf" + write_line(event(1)).replace(b"\n", b"\r\n") + b"\n" + write_line(event(2)).strip()
    path = setup.folder / "windows.ndjson.gz"
    path.write_bytes(gzip.compress(lines))
    assert setup.ingest(path).accepted == 2


def test_line_of_a_megabyte_is_rejected_and_the_next_one_counts(setup: Setup) -> None:
    path = setup.write("long.ndjson", [b'{"x": "' + b"y" * 1_000_000 + b'"}\n', event(1)])
    report = setup.ingest(path)
    assert (report.accepted, report.rejected) == (1, 1)
    assert report.problems[0].problem.line == 1
    assert "262144 bytes" in str(report.problems[0].problem)


@pytest.mark.parametrize("backfill", [False, True])
def test_standard_input_is_read_like_a_file_and_left_nowhere(
    setup: Setup, monkeypatch: pytest.MonkeyPatch, *, backfill: bool
) -> None:
    class Stdin:
        buffer = io.BytesIO(b"".join(write_line(event(n)) for n in range(3)))

    monkeypatch.setattr(sys, "stdin", Stdin())
    assert setup.ingest("-", backfill=backfill).accepted == 3
    assert not list(setup.settings.state_dir.glob("stdin-*"))


def test_file_of_another_kind_is_refused_after_its_first_lines(setup: Setup) -> None:
    path = setup.write("people.csv", [b"Jo,Doe,1990-01-01\n"] * 5000)
    with pytest.raises(NoCanonicalFileError, match="Is it NDJSON"):
        setup.ingest(path)
    assert len(setup.letters()) == 100
    assert all(letter.original is None for letter in setup.letters())


def test_missing_file_and_folder_are_said_plainly_and_nothing_is_sent(setup: Setup) -> None:
    good = setup.write("good.ndjson", [event(1)])
    with pytest.raises(InputFileError, match="found nothing"):
        setup.ingest(good, setup.folder / "missing.ndjson")
    with pytest.raises(InputFileError, match="a folder"):
        setup.ingest(good, setup.folder)
    nowhere = setup.settings.model_copy(update={"bootstrap_servers": None})
    with pytest.raises(InputFileError, match="found nothing"):
        ingest(["missing.ndjson"], nowhere)
    assert setup.events() == {}


def test_damaged_compressed_file_says_after_which_line(setup: Setup) -> None:
    path = setup.folder / "torn.gz"
    path.write_bytes(gzip.compress(b"".join(write_line(event(n)) for n in range(5000)))[:-2000])
    with pytest.raises(InputFileError, match=r"after line \d+"):
        setup.ingest(path)
    assert not (setup.settings.state_dir / "ingested.jsonl").exists()


def test_missing_topic_wrong_partition_count_and_dead_broker_are_said(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "_ANSWER_SECONDS", 3.0)
    path = setup.write("one.ndjson", [event(1)])
    with pytest.raises(TopicsDifferError, match="parityflow topics apply"):
        ingest([path], setup.settings, to=Destination("nowhere", setup.to.dead_letters))
    with pytest.raises(TopicsDifferError, match="has 3 partitions, expected 5"):
        ingest([path], setup.settings.model_copy(update={"partitions": 5}), to=setup.to)
    with pytest.raises(BrokerUnreachableError, match="PARITYFLOW_BOOTSTRAP_SERVERS"):
        ingest([path], setup.settings.model_copy(update={"bootstrap_servers": "127.0.0.1:9"}), to=setup.to)


def test_wait_asks_for_exactly_what_was_sent_and_for_the_log_when_a_file_is_skipped(setup: Setup) -> None:
    path = setup.write("one.ndjson", [event(n) for n in range(5)])
    asked = 0

    def progress() -> Mapping[int, PartitionProgress]:
        nonlocal asked
        asked += 1
        reached = PartitionProgress(asked + 1, asked + 2)
        return dict.fromkeys(range(PARTITIONS), reached)

    assert setup.ingest(path, wait=progress).is_applied
    assert asked == 3, "the last record has offset 4, archived at the third question"
    report = setup.ingest(path, wait=progress)
    assert report.is_applied
    assert set(report.targets.values()) == {4}


def test_interrupt_keeps_what_was_sent_and_the_file_out_of_the_ledger(setup: Setup) -> None:
    path = setup.write("long.ndjson", [event(n) for n in range(3000)])

    def interrupt(step: Step) -> None:
        if step.phase == "sending":
            raise KeyboardInterrupt

    report = setup.ingest(path, progress=interrupt)
    assert report.exit_code == 130
    assert "goes on" in "\n".join(report.lines())
    assert setup.ingest(path).accepted == 3000, "the whole file is sent again"


def test_simulation_goes_straight_into_the_topic_bracketed_and_whole(setup: Setup) -> None:
    simulation = SimulationSettings(seed=3, start=START, days=40, organisations=3, vacancies=1500)
    report = run_simulation(setup.settings, simulation, to=setup.to)
    arrived = [record for records in setup.events().values() for record in records]
    controls = [record for record in arrived if isinstance(record, Control)]
    assert Counter(record.kind for record in controls) == {"loading": 3, "caught_up": 3}
    assert len(arrived) - len(controls) == report.backfilled
    expected = Counter(record.event_id for record in simulate(simulation))
    assert Counter(r.event_id for r in arrived if not isinstance(r, Control)) == expected
