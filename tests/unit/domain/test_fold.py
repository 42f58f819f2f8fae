"""The fold's clock: what may still be counted, when windows are published, when applications leave and days retire."""

import pytest

from pipeline.counting.inputs import RawInput
from pipeline.domain.records import (
    Answer,
    ApplicationEvent,
    Control,
    DeadLetter,
    EqualityAnswers,
    StageCounts,
    Tick,
    TransitionBatch,
    VacancyEvent,
)
from pipeline.domain.state import APPLICATION, DAY, DEPARTURE
from tests.memory_partition import CODEC, MemoryPartition

DAY_MS = 86_400_000
NOW = 20_000 * DAY_MS + 3_600_000


def event(number, kind, at=NOW, application="a", **more):
    return ApplicationEvent(f"e{number}", kind, at, at, "test", "R1H", application, **more)


def tick(at):
    return Tick(at // 60_000)


class Log:
    """Appends records to a partition, each at a moment."""

    def __init__(self):
        self.partition = MemoryPartition()
        self.offset = 0

    def append(self, *records, at=NOW):
        for record in records:
            key = None if isinstance(record, Tick) else record.organisation.encode()
            self.partition.feed([RawInput(self.offset, at, key, CODEC.encode(record))])
            self.offset += 1
        return self

    def dead_letters(self):
        return [letter.reason for letter in self.partition.sent(DeadLetter)]

    def ignored(self):
        return [one.reason for batch in self.partition.sent(TransitionBatch) for one in batch.ignored]

    def stored(self, prefix):
        return [key for key in self.partition.stored if key[:1] == prefix]


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (NOW + DAY_MS + 1, "future_event_time"),
        (0, "implausible_event_time"),
        (NOW - 401 * DAY_MS, "too_late"),
    ],
)
def test_impossible_time_is_a_dead_letter(at, reason):
    assert Log().append(event(1, "applied", at)).dead_letters() == [reason]


def test_past_is_welcome_while_loading():
    old = NOW - 5_000 * DAY_MS
    log = Log().append(Control("c", NOW, "R1H", "loading"), event(1, "applied", old))
    assert log.dead_letters() == []
    assert len(log.partition.transition_cells()) == 10


def test_tick_publishes_an_organisation_that_changed_and_not_twice():
    log = Log().append(event(1, "applied"), tick(NOW), tick(NOW + 60_000))
    published = log.partition.sent(StageCounts)
    assert [counts.window_days for counts in published] == [1, 7, 28, 91, 365]
    assert all(counts.end_day == 20_001 for counts in published)
    assert published[0].counts[0][:3] == ("arrival", "applied", "")


def test_new_day_publishes_everybody_and_moves_the_windows():
    log = Log().append(event(1, "applied"), tick(NOW)).append(tick(NOW + DAY_MS), at=NOW + DAY_MS)
    today = log.partition.sent(StageCounts)[5:]
    assert [len(counts.counts) for counts in today] == [0, 10, 10, 10, 10]


def test_repeated_tick_is_ignored_and_counted():
    assert Log().append(tick(NOW), tick(NOW)).ignored() == ["repeated"]


def test_application_leaves_400_days_after_its_last_event_and_cannot_be_revived():
    later = NOW + 400 * DAY_MS + 60_000
    log = Log().append(event(1, "applied")).append(tick(later), at=later)
    assert log.stored(APPLICATION) == []
    assert len(log.stored(DEPARTURE)) == 1
    log.append(event(2, "rejected", later), at=later)
    assert log.dead_letters() == ["too_late"]
    assert len(log.partition.transition_cells()) == 10, "what it counted stays"


def test_application_of_a_loading_organisation_does_not_leave():
    later = NOW + 500 * DAY_MS
    log = Log().append(event(1, "applied"), Control("c", NOW, "R1H", "loading")).append(tick(later), at=later)
    assert len(log.stored(APPLICATION)) == 1


def test_days_beyond_the_longest_window_retire_from_the_state():
    later = NOW + 401 * DAY_MS
    log = Log().append(event(1, "applied")).append(tick(later), at=later)
    assert log.stored(DAY) == []


def test_late_answer_moves_every_earlier_count_to_the_new_group():
    log = Log().append(event(1, "applied"), event(2, "rejected"))
    answer = {"characteristic": "sex", "codeset": "nhs_stated_gender", "code": "2", "unknown": None}
    record = EqualityAnswers("q", NOW, "R1H", "a", "given", "application", [Answer(**answer)])
    log.append(record)
    by_sex = {cell[6] for cell in log.partition.transition_cells() if cell[5] == "sex"}
    assert by_sex == {"nhs_stated_gender:2"}


def test_objection_acts_on_live_counts_at_once():
    log = Log().append(event(1, "applied"))
    log.append(EqualityAnswers("q", NOW, "R1H", "a", "withdrawn", "application", []))
    groups = {cell[6] for cell in log.partition.transition_cells() if cell[5]}
    assert groups == {"unknown:withdrawn"}


def test_erased_person_leaves_nothing_but_a_hash():
    log = Log().append(event(1, "applied", application="person-17"), event(2, "erased", application="person-17"))
    assert log.partition.transition_cells() == {}
    assert not any(b"person-17" in key or b"person-17" in value for key, value in log.partition.stored.items())
    log.append(event(3, "shortlisted", application="person-17"))
    assert log.ignored() == ["erased"]
    assert log.partition.transition_cells() == {}


def test_withdrawn_vacancy_voids_its_pending_applications_in_steps_that_can_be_interrupted():
    log = Log()
    log.append(*(event(number, "applied", application=f"a{number:03}", vacancy_id="v") for number in range(250)))
    withdrawal = VacancyEvent("w", "withdrawn", NOW, NOW, "test", "R1H", "v")
    raw = [RawInput(log.offset, NOW, b"R1H", CODEC.encode(withdrawal))]
    log.partition.folder.extend(raw, 1)
    chunk = log.partition.folder.finish()
    assert chunk.state.applied_steps == 1
    log.partition.restart()
    log.partition.feed(raw, max_steps=1)
    voided = log.partition.transition_cells()["R1H", 20_000, "outcome", "shortlisting", "void", None, None]
    assert voided == 250


def test_failing_fold_puts_the_record_aside_and_goes_on(monkeypatch):
    log = Log().append(event(1, "applied"))

    def explode(*_):
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("pipeline.domain.fold.applications.with_event", explode)
        log.append(event(2, "shortlisted"))
    log.append(event(3, "rejected"))
    assert log.dead_letters() == ["fold_failed"]
    assert log.partition.state_cells() == log.partition.transition_cells()
