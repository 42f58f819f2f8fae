"""Published tables as events: Berkeley's admissions of 1973 and medical appointments of twelve London trusts.

Counts are exactly the published ones; times are spread evenly over the period in an order that never changes,
so the files are the same on every machine. Sources: ``pipeline/reference/examples/README.md``.
"""

import csv
import random
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from pipeline.domain.records import Answer, ApplicationEvent, EqualityAnswers, VacancyEvent
from pipeline.intake.ndjson import Canonical, time_of, write_line
from pipeline.intake.times import at

BERKELEY = "BERKELEY-1973"
LONDON = "LONDON-12-MEDICAL-2020-21"

_SOURCE_SYSTEM = "published_table"
_DATA = "reference/examples"
_SEED = 1973
_DAY = 86_400_000
_T = TypeVar("_T")
_SEXES = {"male": Answer("sex", "nhs_stated_gender", "1"), "female": Answer("sex", "nhs_stated_gender", "2")}


def write_examples(folder: Path) -> list[Path]:
    """Write both examples as canonical NDJSON, and the page that cites their sources.

    Args:
        folder: where to; made if it does not exist.

    Returns:
        The NDJSON files, smallest first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, records in (
        ("berkeley-1973.ndjson", berkeley_records()),
        ("london-medical-2020-21.ndjson", london_records()),
    ):
        path = folder / name
        with path.open("wb") as out:
            out.writelines(map(write_line, records))
        written.append(path)
    (folder / "README.md").write_text(_text("README.md"), encoding="utf-8")
    return written


def berkeley_records() -> list[Canonical]:
    """Return the 4,526 applications of Berkeley 1973 in order of time: departments are vacancies.

    All decisions fall within 20 days, so that the round of every department is complete when it is judged.
    """
    opened, closes = at(1972, 12, 1), at(1973, 1, 15)
    decided = at(1973, 3, 1)
    records: list[Canonical] = []
    people: list[tuple[str, str, bool]] = []
    for row in _rows("berkeley_1973.csv"):
        admitted, applied = int(row["admitted"]), int(row["applied"])
        people += [(row["department"], row["sex"], number < admitted) for number in range(applied)]
    departments = sorted({department for department, _, _ in people})
    for department in departments:
        records += _department(department, opened, closes)
    for number, (department, sex, is_admitted) in enumerate(_shuffled(people)):
        application = f"berkeley-{number + 1:04d}"
        applied_at = _spread(number, len(people), opened + _DAY, closes)
        decided_at = _spread(number, len(people), decided, decided + 20 * _DAY)
        last = "shortlisted" if is_admitted else "rejected"
        records += _application(BERKELEY, application, department, applied_at, _SEXES[sex])
        records.append(_decision(BERKELEY, application, department, decided_at, kind=last, stage="shortlisted"))
    return _in_order(records)


def london_records() -> list[Canonical]:
    """Return the 101,439 applications to twelve London trusts in order of time; no vacancies are known."""
    start, days = at(2020, 4, 1), 300
    records: list[Canonical] = []
    people: list[tuple[str, int]] = []
    for row in _rows("london_medical_2020_21.csv"):
        reached = [int(row["offered"]), int(row["shortlisted"]), int(row["applied"])]
        people += [(row["ethnic_group"], 2)] * reached[0]
        people += [(row["ethnic_group"], 1)] * (reached[1] - reached[0])
        people += [(row["ethnic_group"], 0)] * (reached[2] - reached[1])
    for number, (group, furthest) in enumerate(_shuffled(people)):
        application = f"london-{number + 1:06d}"
        applied_at = _spread(number, len(people), start, start + days * _DAY)
        answer = Answer("ethnicity", "local:broad_ethnic_group", group)
        records += _application(LONDON, application, None, applied_at, answer)
        sifted_at = applied_at + 21 * _DAY
        sifted = "shortlisted" if furthest else "rejected"
        records.append(_decision(LONDON, application, None, sifted_at, kind=sifted, stage="shortlisted"))
        if furthest:
            chosen = "offered" if furthest > 1 else "rejected"
            records.append(_decision(LONDON, application, None, sifted_at + 21 * _DAY, kind=chosen, stage="offered"))
    return _in_order(records)


def _department(department: str, opened: int, closes: int) -> Iterator[Canonical]:
    for kind, moment in (("opened", opened), ("closed", closes)):
        yield VacancyEvent(
            event_id=f"berkeley-department-{department}-{kind}",
            event_type=kind,
            event_time=moment,
            observed_time=moment,
            source_system=_SOURCE_SYSTEM,
            organisation=BERKELEY,
            vacancy_id=department,
            reference=f"Department {department}" if kind == "opened" else None,
            title=f"Graduate programme, department {department}" if kind == "opened" else None,
            advertised=True if kind == "opened" else None,
            longlisting_used=False if kind == "opened" else None,
            closing_date=closes // _DAY if kind == "opened" else None,
        )


def _application(
    organisation: str, application: str, vacancy: str | None, moment: int, answer: Answer
) -> Iterator[Canonical]:
    yield ApplicationEvent(
        event_id=f"{application}-applied",
        event_type="applied",
        event_time=moment,
        observed_time=moment,
        source_system=_SOURCE_SYSTEM,
        organisation=organisation,
        application_id=application,
        vacancy_id=vacancy,
    )
    yield EqualityAnswers(
        event_id=f"{application}-answers",
        event_time=moment,
        organisation=organisation,
        application_id=application,
        status="given",
        collected_at="application",
        answers=(answer,),
        source_system=_SOURCE_SYSTEM,
    )


def _decision(
    organisation: str, application: str, vacancy: str | None, moment: int, *, kind: str, stage: str
) -> Canonical:
    return ApplicationEvent(
        event_id=f"{application}-{stage if kind == 'rejected' else kind}",
        event_type=kind,
        event_time=moment,
        observed_time=moment,
        source_system=_SOURCE_SYSTEM,
        organisation=organisation,
        application_id=application,
        vacancy_id=vacancy,
        stage=stage if kind == "rejected" else None,
        decision_method="human",
    )


def _shuffled(people: list[_T]) -> list[_T]:
    """Return the people in an order that mixes groups; the same everywhere, as only ``random()`` is used."""
    generator = random.Random(_SEED)  # noqa: S311 - a fixed order, no secret
    keys = [generator.random() for _ in people]
    return [people[i] for i in sorted(range(len(people)), key=keys.__getitem__)]


def _spread(number: int, total: int, start: int, end: int) -> int:
    return start + (end - start) * number // total // 1000 * 1000


def _in_order(records: list[Canonical]) -> list[Canonical]:
    return sorted(records, key=time_of)


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(_text(name).splitlines()))


def _text(name: str) -> str:
    return files("pipeline").joinpath(_DATA, name).read_text(encoding="utf-8")
