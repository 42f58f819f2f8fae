"""The plain counting job: small events, and what counting them must give.

A record says that one application reached a stage, and three characteristics of its applicant. The job counts people
per organisation, day, characteristic, group and stage.
"""

import io
import random
from collections import Counter
from typing import Any, NamedTuple

import fastavro

from benchmarks.rig import PARTITIONS
from pipeline.codec import HEADER
from pipeline.topics import partition_of

STAGES = ("applied", "longlisted", "shortlisted", "interviewed", "offered", "started")
GROUPS = {
    "ethnicity": ("white_british", "white_other", "indian", "pakistani", "african", "caribbean", "chinese", "unknown"),
    "disability": ("yes", "no", "unknown"),
    "sex": ("female", "male", "unknown"),
}
SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "SmallEvent",
    "doc": "One application reached a stage.",
    "fields": [
        {"name": "event_id", "type": "string", "doc": "Identity."},
        {"name": "organisation", "type": "string", "doc": "Employer."},
        {"name": "application_id", "type": "string", "doc": "Application."},
        {"name": "event_time", "type": "long", "doc": "Milliseconds since 1970 in UTC."},
        {"name": "stage", "type": {"type": "enum", "name": "SmallStage", "symbols": list(STAGES)}, "doc": "Stage."},
        *({"name": name, "type": "string", "doc": "Group."} for name in GROUPS),
    ],
}
SCHEMA_ID = 900
SMALL_HEADER = HEADER.pack(0, SCHEMA_ID)
DAY_MS = 86_400_000
START_DAY = 20_000
DAYS = 90
ORGANISATIONS = 40
DISORDERED = 0.02
"""Share of events that come up to three days late."""

Counts = Counter[tuple[str, int, str, str, str]]
"""People by (organisation, day, characteristic, group, stage)."""


class SmallEvent(NamedTuple):
    """One record, by position."""

    event_id: str
    organisation: str
    application_id: str
    event_time: int
    stage: str
    ethnicity: str
    disability: str
    sex: str


def small_events(count: int, seed: int = 1) -> tuple[list[list[tuple[bytes, bytes]]], Counts]:
    """Return (key, value) of every event by partition in the order of time, and the counts that follow."""
    random_ = random.Random(seed)
    parsed = fastavro.parse_schema(SCHEMA)
    logs: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTITIONS)]
    counts: Counts = Counter()
    for number in range(count):
        organisation = f"R{random_.randrange(ORGANISATIONS):03d}"
        event_time = START_DAY * DAY_MS + DAYS * DAY_MS * number // count
        if random_.random() < DISORDERED:
            event_time -= int(random_.random() * 3 * DAY_MS)
        stage = random_.choice(STAGES)
        groups = {name: random_.choice(found) for name, found in GROUPS.items()}
        record = {
            "event_id": f"e{number:015d}",
            "organisation": organisation,
            "application_id": f"a{number // 3:011d}",
            "event_time": event_time,
            "stage": stage,
            **groups,
        }
        out = io.BytesIO()
        out.write(SMALL_HEADER)
        fastavro.schemaless_writer(out, parsed, record)
        key = organisation.encode()
        logs[partition_of(key, PARTITIONS)].append((key, out.getvalue()))
        for characteristic, group in groups.items():
            counts[organisation, event_time // DAY_MS, characteristic, group, stage] += 1
    return logs, counts
