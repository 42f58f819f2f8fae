"""Fixtures of the fault tests."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from pipeline.simulation.simulate import a_year_until, simulate
from tests.conftest import StartBroker
from tests.fault.harness import Lab
from tests.fault.streams import Wire, wire

MOST_RECORDS = 100_000
NewLab = Callable[..., Lab]


@pytest.fixture(scope="session")
def records() -> list[Wire]:
    """Simulated recruitment of twelve organisations in the last year, work for each of four partitions."""
    year = a_year_until(datetime.fromtimestamp(time.time(), UTC), seed=11)
    plan = replace(year, organisations=12, vacancies=6_000, merges=0.01, erasures=0.003, reinstatements=0.02)
    return [wire(record) for record in islice(simulate(plan), MOST_RECORDS)]


@pytest.fixture
def new_lab(start_broker: StartBroker, tmp_path: Path) -> Iterator[NewLab]:
    """Make laboratories: ``new_lab(session_timeout=3)``; all their processes end with the test."""
    labs: list[Lab] = []

    def make(*, session_timeout: float = 6.0, overrides: Mapping[str, str] | None = None) -> Lab:
        folder = tmp_path / f"lab{len(labs)}"
        folder.mkdir()
        lab = Lab(start_broker(overrides), folder, session_timeout)
        labs.append(lab)
        lab.apply_topics()
        return lab

    yield make
    for lab in labs:
        lab.close()


@pytest.fixture
def lab(new_lab: NewLab) -> Lab:
    """A laboratory with a broker of its own."""
    return new_lab()
