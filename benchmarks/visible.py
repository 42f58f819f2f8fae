"""From a record's sending to its person in a board view, with worker and history running, polled as a board would."""

import json
import threading
import time
import urllib.request
from collections import Counter
from statistics import quantiles
from typing import Any

from confluent_kafka import Producer

from benchmarks.rig import HISTORY, PARTITIONS, WORKER, BenchmarkFailedError, Progress, rig
from pipeline.codec import Codec, LocalResolver
from pipeline.domain.records import ApplicationEvent
from pipeline.topics import EVENTS, partition_of

RATE = 200
POLL_SECONDS = 0.05
PATIENCE_SECONDS = 60
SETTLING_SECONDS = 3
"""Records of the first seconds start caches and queries; they are sent, and left out."""
TARGET, AIM = 2.0, 1.0


class _Sender(threading.Thread):
    """Sends one application after the other at a steady rate, in turn for one organisation a partition."""

    def __init__(self, bootstrap: str, count: int) -> None:
        super().__init__(daemon=True)
        self._address = bootstrap
        self._count = count
        self.organisations = _organisations()
        self.sent: dict[str, list[float]] = {name: [] for name in self.organisations}

    def run(self) -> None:
        producer = Producer({"bootstrap.servers": self._address, "linger.ms": 5, "acks": "all", "log_level": 0})
        codec, began = Codec(LocalResolver.load()), time.monotonic()
        for number in range(self._count):
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
            name, now = self.organisations[number % PARTITIONS], int(time.time() * 1000)
            event = ApplicationEvent(f"e{number}", "applied", now, now, "bench", name, f"a{number}", f"v{number // 50}")
            key = name.encode()
            self.sent[name].append(time.monotonic())
            producer.produce(EVENTS, codec.encode(event), key, partition_of(key, PARTITIONS))
            producer.poll(0)
        producer.flush(30)


def run(seconds: int) -> dict[str, Any]:
    """Measure the delay of every record: a person is visible when the view counts as many as were sent before.

    Raises:
        BenchmarkFailedError: the view counts more than was sent, or not all in the end.
    """
    with rig() as running:
        running.start(*WORKER)
        running.start(*HISTORY)
        boards, tokens = (running.settings.state_dir / name for name in ("boards.json", "tokens.json"))
        running.wait_until(
            lambda: boards.exists() and tokens.exists(), PATIENCE_SECONDS, "history and its tokens are there"
        )
        url, token = json.loads(boards.read_text())["url"], json.loads(tokens.read_text())["recruitment"]
        sender = _Sender(running.bootstrap, seconds * RATE)
        request = urllib.request.Request(f"{url}/boards/funnel", headers={"Authorization": f"Bearer {token}"})
        progress = Progress(running.bootstrap)
        running.wait_until(lambda: progress.applied() > 0, PATIENCE_SECONDS, "the worker has applied its first tick")
        progress.close()
        sender.start()
        visible: dict[str, list[float]] = {name: [] for name in sender.organisations}
        deadline = time.monotonic() + seconds + PATIENCE_SECONDS
        while sender.is_alive() or sum(map(len, visible.values())) < seconds * RATE:
            if time.monotonic() > deadline:
                raise BenchmarkFailedError("not every record became visible")
            _poll(request, visible)
            time.sleep(POLL_SECONDS)
    delays = []
    for name, sent in sender.sent.items():
        if len(visible[name]) != len(sent):
            raise BenchmarkFailedError("the view counts another number than was sent")
        settled = sent[0] + SETTLING_SECONDS
        delays += [seen - at for at, seen in zip(sent, visible[name], strict=True) if at > settled]
    cuts = quantiles(delays, n=100)
    return {
        "records": len(delays),
        "records_per_second": RATE,
        "seconds_to_visible": {"p50": round(cuts[49], 3), "p95": round(cuts[94], 3), "p99": round(cuts[98], 3)},
        "slowest_seconds": round(max(delays), 3),
        "target_p99_seconds": TARGET,
        "aim_p99_seconds": AIM,
    }


def _poll(request: urllib.request.Request, visible: dict[str, list[float]]) -> None:
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = Counter({row["organisation"]: row["waiting"] for row in json.load(answer)["rows"]})
    now = time.monotonic()
    for name, seen in visible.items():
        seen.extend([now] * (found[name] - len(seen)))


def _organisations() -> list[str]:
    """Return an organisation for each partition."""
    names: dict[int, str] = {}
    number = 0
    while len(names) < PARTITIONS:
        names.setdefault(partition_of(f"BENCH-{number}".encode(), PARTITIONS), f"BENCH-{number}")
        number += 1
    return [names[partition] for partition in range(PARTITIONS)]
