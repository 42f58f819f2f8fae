"""Dead letters sent again: what can be read goes to its organisation, the rest is said."""

import base64

from pipeline.codec import Codec, LocalResolver
from pipeline.domain.records import ApplicationEvent, Tick
from pipeline.intake.replay import replay
from pipeline.topics import EVENTS

CODEC = Codec(LocalResolver.load())
EVENT = ApplicationEvent("e1", "applied", 1_700_000_000_000, 1_700_000_000_000, "trac", "R1H", "a1")


class Kept:
    def __init__(self):
        self.records, self.is_finished = [], False

    def send(self, record):
        self.records.append(record)

    def poll(self):
        """Nothing is due."""

    def finish(self):
        self.is_finished = True


def letter(original, topic=EVENTS, length=None):
    kept = base64.b64encode(original).decode() if original else None
    return {"topic": topic, "original": kept, "length": len(original) if length is None else length}


def test_readable_original_is_sent_to_its_organisation():
    sink = Kept()
    report = replay([letter(CODEC.encode(EVENT))], CODEC, sink)
    assert (sink.records, sink.is_finished, report.sent) == ([EVENT], True, 1)


def test_what_cannot_be_sent_is_counted_by_reason():
    letters = [
        letter(b"garbage"),
        letter(b""),
        letter(CODEC.encode(Tick(1))),
        letter(CODEC.encode(EVENT), topic="ingest:1f"),
        letter(CODEC.encode(EVENT), length=2_000_000),
    ]
    sink = Kept()
    report = replay(letters, CODEC, sink)
    assert sink.records == []
    assert sum(report.left.values()) == len(letters) == len(report.left)
