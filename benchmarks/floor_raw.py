"""The floor: confluent-kafka ``consume``, fastavro, a dictionary. Nothing is kept when it ends; prints what it took."""

import io
import json
import pickle
import resource
import sys
import time
from pathlib import Path

import fastavro
from confluent_kafka import Consumer, TopicPartition

from benchmarks.rig import PARTITIONS
from benchmarks.small_events import DAY_MS, SCHEMA, SMALL_HEADER
from pipeline.topics import EVENTS


def main(bootstrap: str, total: int, warm_up: int, counts_file: str) -> None:
    """Count ``total`` events from the beginning of the topic."""
    parsed = fastavro.parse_schema(SCHEMA)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "benchmark.floor",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    consumer.assign([TopicPartition(EVENTS, partition, 0) for partition in range(PARTITIONS)])
    counts: dict[tuple[str, int, str, str, str], int] = {}
    read, schemaless_reader = 0, fastavro.schemaless_reader
    began = None
    while read < total:
        for message in consumer.consume(5000, 1.0):
            value = message.value()
            if value is None or not value.startswith(SMALL_HEADER):
                continue
            body = io.BytesIO(value)
            body.seek(5)
            event = schemaless_reader(body, parsed, None)
            day, organisation, stage = event["event_time"] // DAY_MS, event["organisation"], event["stage"]
            for characteristic in ("ethnicity", "disability", "sex"):
                key = (organisation, day, characteristic, event[characteristic], stage)
                counts[key] = counts.get(key, 0) + 1
            read += 1
        if began is None and read >= warm_up:
            began = read, cpu(), time.monotonic()
    events = read - began[0]
    print(json.dumps({"events": events, "cpu": cpu() - began[1], "seconds": time.monotonic() - began[2]}))
    consumer.close()
    Path(counts_file).write_bytes(pickle.dumps(counts))


def cpu() -> float:
    """Return the CPU seconds of this process so far, all its threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
