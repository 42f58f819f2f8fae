"""The stream: the stories of all vacancies in order of delivery, as untidy as real delivery is.

Memory holds the stories of the adverts that are open or being decided, never the whole simulation: a story is
written when its advert opens, and none of its records is delivered before that.
"""

from collections.abc import Iterator
from heapq import heappop, heappush, heapreplace
from random import Random
from typing import Final, NamedTuple

from pipeline.domain.records import EqualityAnswers
from pipeline.intake.ndjson import Canonical
from pipeline.simulation.plan import SimulationSettings
from pipeline.simulation.story import Story
from pipeline.simulation.vacancies import HOUR_MS, openings

_SECOND_MS: Final = 1_000
_PROMPT_SECONDS: Final = 4.0
_LATE_HOURS: Final = 2.0
_RETRY_HOURS: Final = 16
"""Webhooks are tried again for about 15 hours. **Source:** Greenhouse API documentation, webhooks."""
_BATCH_SHARE: Final = 0.1
_BATCH_HOURS: Final = 72


class Delivery(NamedTuple):
    """One record and the moment at which intake sees it, milliseconds since 1970 in UTC."""

    at: int
    record: Canonical


def deliveries(settings: SimulationSettings, random: Random | None = None) -> Iterator[Delivery]:
    """Yield what intake sees, in the order in which it sees it, until the end of the simulation.

    Args:
        settings: what is simulated.
        random: decides everything; by default one made from the seed.
    """
    random = random or Random(settings.seed)  # noqa: S311 - a simulation, no secret
    vacancies = openings(settings, Random(random.getrandbits(64)))  # noqa: S311
    end = settings.end
    # Each entry is (time of its next delivery, number of the story, its next deliveries in reverse order).
    stories: list[tuple[int, int, list[Delivery]]] = []
    for number, vacancy in enumerate(vacancies):
        while stories and stories[0][0] < vacancy.opened:
            yield _next(stories)
        own = Random(random.getrandbits(64))  # noqa: S311
        delivered = _deliver(Story(vacancy, settings, own).write(), settings, own)
        heappush(stories, (delivered[-1].at, number, delivered))
    while stories and (end is None or stories[0][0] < end):
        yield _next(stories)


def simulate(settings: SimulationSettings, random: Random | None = None) -> Iterator[Canonical]:
    """Yield the records alone, in order of delivery; see ``deliveries``.

    Args:
        settings: what is simulated.
        random: decides everything; by default one made from the seed.
    """
    for delivery in deliveries(settings, random):
        yield delivery.record


def _next(stories: list[tuple[int, int, list[Delivery]]]) -> Delivery:
    """Take the earliest delivery out of the heap of stories."""
    _, number, waiting = stories[0]
    delivery = waiting.pop()
    if waiting:
        heapreplace(stories, (waiting[-1].at, number, waiting))
    else:
        heappop(stories)
    return delivery


def _deliver(records: list[Canonical], settings: SimulationSettings, random: Random) -> list[Delivery]:
    """Return the deliveries of a story, last first; records of one moment keep their order in most cases."""
    deliveries = []
    for record in records:
        event_time = record.event_time  # type: ignore[union-attr]
        delay = int(random.random() * _PROMPT_SECONDS * _SECOND_MS)
        if random.random() < settings.disorder:
            is_batch = random.random() < _BATCH_SHARE
            hours = random.random() * _BATCH_HOURS if is_batch else random.expovariate(1 / _LATE_HOURS)
            delay += int(min(hours, _BATCH_HOURS) * HOUR_MS)
        at = event_time + delay
        seen = record if type(record) is EqualityAnswers else record._replace(observed_time=at)  # type: ignore[call-arg]
        deliveries.append(Delivery(at, seen))
        if random.random() < settings.duplicates:
            deliveries.append(Delivery(at + int(random.random() * _RETRY_HOURS * HOUR_MS), seen))
    deliveries.sort(key=_at, reverse=True)
    return deliveries


def _at(delivery: Delivery) -> int:
    return delivery.at
