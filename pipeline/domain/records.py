"""The canonical records: what a source says, what the agents answer, what their state holds.

Each class mirrors one schema in ``schemas/avro`` field by field **in the same order**: the codec builds a record from
the decoded values by position, which costs 0.7 us for 33 fields where a frozen dataclass costs 9 us. A test holds the
two together. Times are integer milliseconds since 1970 in UTC, days are local day numbers (days since 1970-01-01).
"""

from collections.abc import Sequence
from typing import NamedTuple

new = tuple.__new__
"""``new(Record, (value, ...))`` does what ``Record(value, ...)`` does, at half its cost."""


class Check(NamedTuple):
    """One pre-employment check of a candidate: what is checked and how far it is."""

    kind: str
    status: str


class Offer(NamedTuple):
    """Terms of an offer that are monitored: the starting salary point of the pay band."""

    salary_point: int | None = None


class ApplicationEvent(NamedTuple):
    """One thing that happened to one application (``recruitment.events.v1``)."""

    event_id: str
    event_type: str
    event_time: int
    observed_time: int
    source_system: str
    organisation: str
    application_id: str
    vacancy_id: str | None = None
    source_event_id: str | None = None
    action_id: str | None = None
    candidate_id: str | None = None
    stage: str | None = None
    corrects: str | None = None
    voids: str | None = None
    reason_code: str | None = None
    decision_method: str | None = None
    decision_model: str | None = None
    decision_audit_ref: str | None = None
    selection_method: str | None = None
    route: str | None = None
    channel: str | None = None
    internal: bool | None = None
    acting_up: bool | None = None
    guaranteed_interview: bool | None = None
    meets_essential: bool | None = None
    non_nhs_experience: bool | None = None
    adjustment: str | None = None
    check: Check | None = None
    offer: Offer | None = None
    positive_action: str | None = None
    merged_into: str | None = None


class VacancyEvent(NamedTuple):
    """One change of a vacancy; attributes that are null say nothing (last write per attribute wins)."""

    event_id: str
    event_type: str
    event_time: int
    observed_time: int
    source_system: str
    organisation: str
    vacancy_id: str
    source_event_id: str | None = None
    reference: str | None = None
    title: str | None = None
    directorate: str | None = None
    staff_group: str | None = None
    job_role: str | None = None
    afc_band: str | None = None
    engagement_type: str | None = None
    contract_type: str | None = None
    working_pattern: str | None = None
    flexible_advertised: bool | None = None
    advertised: bool | None = None
    positive_action: str | None = None
    job_description_words: int | None = None
    inclusion_factor: bool | None = None
    posts: int | None = None
    sift_round: str | None = None
    longlisting_used: bool | None = None
    views: int | None = None
    closing_date: int | None = None
    ats_url: str | None = None


class Answer(NamedTuple):
    """One equality answer: a coded value of a code set, or the kind of its absence."""

    characteristic: str
    codeset: str | None = None
    code: str | None = None
    unknown: str | None = None


class EqualityAnswers(NamedTuple):
    """What one applicant answered (or an objection: ``status`` = withdrawn)."""

    event_id: str
    event_time: int
    organisation: str
    application_id: str
    status: str
    collected_at: str
    answers: Sequence[Answer]
    source_system: str | None = None
    observed_time: int | None = None


class TableCount(NamedTuple):
    """One cell of an equality table of a vacancy."""

    codeset: str | None
    code: str | None
    unknown: str | None
    count: int  # type: ignore[assignment]  # hides a tuple method that no record needs


class VacancyEqualityTable(NamedTuple):
    """Equality counts of one vacancy, stage and characteristic, for systems that give only tables."""

    event_id: str
    organisation: str
    vacancy_id: str
    as_of: int
    stage: str
    characteristic: str
    counts: Sequence[TableCount]
    source_system: str | None = None


class AlertAction(NamedTuple):
    """What a person decided about a case: acknowledge, baseline, intervention, close."""

    event_id: str
    event_time: int
    organisation: str
    series_id: str
    action: str
    until: int | None = None
    note_ref: str | None = None


class Control(NamedTuple):
    """A record that changes how later records are folded: loading, caught_up, content."""

    event_id: str
    event_time: int
    organisation: str
    kind: str
    content_name: str | None = None
    content_hash: str | None = None


class Tick(NamedTuple):
    """The minute, written once a minute into every partition; its identity is the minute itself."""

    minute: int


class Contribution(NamedTuple):
    """What one application adds to the counts: an arrival at a stage, or the outcome of a step.

    ``kind`` is ``arrival`` or ``outcome``; ``name`` is the stage or the step; ``outcome`` is empty for arrivals.
    ``day`` is the local day it counts on, ``entry_day`` that of entering the step, ``at`` the event time in
    milliseconds.
    """

    kind: str
    name: str
    outcome: str
    day: int
    entry_day: int
    at: int
    implied: bool = False
    method: str | None = None


class Transition(NamedTuple):
    """Contributions of one application that one input record added (+1) or took back (-1)."""

    offset: int
    index: int  # type: ignore[assignment]  # hides a tuple method that no record needs
    sign: int
    organisation: str
    application_id: str
    vacancy_id: str | None
    route: str | None
    internal: bool | None
    guaranteed_interview: bool | None
    groups: Sequence[str]
    contributions: Sequence[Contribution]


class Ignored(NamedTuple):
    """An input record that changed nothing on purpose, and why (repeated, erased, ...)."""

    offset: int
    index: int  # type: ignore[assignment]  # hides a tuple method that no record needs
    reason: str


class TransitionBatch(NamedTuple):
    """All that one chunk of one input partition changed; covers ``(from, to]`` even when nothing changed.

    A position is (input offset, index of the output within that record); ``WHOLE_RECORD`` as index means that the
    record was applied completely.
    """

    epoch: int
    partition: int
    from_offset: int
    from_index: int
    to_offset: int
    to_index: int
    appended_at: int
    fold_version: int
    ignored: Sequence[Ignored]
    transitions: Sequence[Transition]


WHOLE_RECORD = 2**31 - 1
"""Output index that closes a record: every possible output of it lies before."""


class StageCount(NamedTuple):
    """One cell of a window: people per arrival or outcome, characteristic and group."""

    kind: str
    name: str
    outcome: str
    characteristic: str | None
    group: str | None
    count: int  # type: ignore[assignment]  # hides a tuple method that no record needs


class StageCounts(NamedTuple):
    """Counts of one organisation over one window of local days, ``[start_day, end_day)``."""

    epoch: int
    organisation: str
    window_days: int
    start_day: int
    end_day: int
    offset: int
    index: int  # type: ignore[assignment]  # hides a tuple method that no record needs
    counts: Sequence[StageCount]


class DeadLetter(NamedTuple):
    """A record that could not be counted: where it was, how long, what it hashes to, at most 64 kB of it."""

    topic: str
    partition: int
    offset: int
    reason: str
    detail: str
    length: int
    sha256: bytes
    original: bytes | None


class Epoch(NamedTuple):
    """Which epoch is current: written once by ``topics apply`` and by each finished rebuild."""

    epoch: int
    positions: dict[str, int]
