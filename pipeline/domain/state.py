"""What the FUNNEL agent keeps of a partition: typed keys and the stored form of their values.

A partition's state is one table from bytes to bytes. The first byte of a key says what its value is. Lists of events
are kept as columns: Avro reads an array of numbers or strings several times faster than an array of records.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

APPLICATION = b"a"
VACANCY = b"v"
ORGANISATION = b"o"
DAY = b"d"
DEPARTURE = b"g"
PARTITION = b"p"
"""Key of the partition's own state: what is applied, of which input, in which epoch."""


class ApplicationState(NamedTuple):
    """Facts of one application; the first two fields alone rebuild the in-memory index.

    ``event_codes`` holds ``EVENT_CODE_BYTES`` bytes an event: kind, stage, method, route, flags, index into
    ``vacancies``. ``answer_codes`` holds two bytes an answer: characteristic (plus 128 when collected after
    application) and the index of its source in ``source_times`` / ``source_ids``.
    """

    last_event: int
    vacancies: Sequence[str]
    event_times: Sequence[int]
    event_codes: bytes
    event_ids: Sequence[str]
    event_actions: Sequence[str]
    merge_targets: Sequence[str]
    voided: Sequence[str]
    answer_codes: bytes
    answer_groups: Sequence[str]
    source_times: Sequence[int]
    source_ids: Sequence[str]
    cluster: Sequence[str]


class ApplicationHead(NamedTuple):
    """The first fields of an ``ApplicationState``: all that the index needs of an application."""

    last_event: int
    vacancies: Sequence[str]


class VacancyState(NamedTuple):
    """The two facts of a vacancy that decide outcomes, each with the write that set it last."""

    last_event: int
    status: str
    status_time: int
    status_id: str
    longlisting_used: bool | None
    longlisting_time: int
    longlisting_id: str


class OrganisationState(NamedTuple):
    """Clock and marks of one organisation."""

    loading: bool
    watermark: int
    changed: bool
    published_day: int
    retired_before: int
    failures: int
    content: dict[str, str]


class DayCounts(NamedTuple):
    """Counts of one organisation on one local day: for each cell its number of groups, then groups and counts in order.

    A group is the number of the characteristic (0-8), a colon and the group; the total of a cell has an empty group.
    """

    cells: Sequence[str]
    sizes: Sequence[int]
    groups: Sequence[str]
    counts: Sequence[int]


class PartitionState(NamedTuple):
    """How far one input partition is applied, and which input that is."""

    epoch: int
    topic_id: str
    partitions: int
    fold_version: int
    applied_offset: int
    applied_steps: int
    applied_index: int
    tick_minute: int


class Departure(NamedTuple):
    """An application that is no longer kept: it left 400 days after its last event, or was erased."""

    reason: str


def application_key(organisation: str, application_id: str) -> bytes:
    """Return the state key of an application."""
    return b"a" + organisation.encode() + b"\0" + application_id.encode()


def vacancy_key(organisation: str, vacancy_id: str) -> bytes:
    """Return the state key of a vacancy."""
    return b"v" + organisation.encode() + b"\0" + vacancy_id.encode()


@lru_cache(maxsize=4096)
def organisation_key(organisation: str) -> bytes:
    """Return the state key of an organisation."""
    return b"o" + organisation.encode()


@lru_cache(maxsize=16384)
def day_key(organisation: str, day: int) -> bytes:
    """Return the state key of an organisation's counts on one local day."""
    return b"d" + organisation.encode() + b"\0" + str(day).encode()


def departure_key(organisation: str, application_id: str) -> bytes:
    """Return the key under which a departed application is remembered: a hash, nothing that names it."""
    return b"g" + hashlib.sha256(organisation.encode() + b"\0" + application_id.encode()).digest()[:16]


def split_key(key: bytes) -> tuple[str, str]:
    """Return organisation and identifier of an application, vacancy or day key."""
    organisation, _, identifier = key[1:].partition(b"\0")
    return organisation.decode(), identifier.decode()
