"""The Prometheus metrics of the history process: operations only, never a person, an answer or a count of people."""

from dataclasses import dataclass
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_COMMIT_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
_VIEW_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


@dataclass(frozen=True, slots=True)
class HistoryMetrics:
    """Every metric of the process, in a registry of its own."""

    registry: CollectorRegistry
    records: Counter
    rows: Counter
    commit_seconds: Histogram
    failed_commits: Counter
    last_commit: Gauge
    lag: Gauge
    file_bytes: Gauge
    ready: Gauge
    view_seconds: Histogram
    view_errors: Counter

    @classmethod
    def create(cls) -> Self:
        """Build the metrics."""
        registry = CollectorRegistry()
        return cls(
            registry=registry,
            records=Counter(
                "parityflow_history_records", "Records read from Kafka and committed", ["topic"], registry=registry
            ),
            rows=Counter("parityflow_history_rows", "Rows committed to the history file", ["table"], registry=registry),
            commit_seconds=Histogram(
                "parityflow_history_commit_seconds",
                "Time to commit one batch",
                buckets=_COMMIT_BUCKETS,
                registry=registry,
            ),
            failed_commits=Counter(
                "parityflow_history_failed_commits", "Commits that failed and were tried again", registry=registry
            ),
            last_commit=Gauge(
                "parityflow_history_last_commit_timestamp_seconds",
                "When the last batch was committed",
                registry=registry,
            ),
            lag=Gauge(
                "parityflow_history_lag_records",
                "Records in the topic that are not in the file",
                ["topic", "partition"],
                registry=registry,
            ),
            file_bytes=Gauge(
                "parityflow_history_file_bytes", "Size of the history file with its write-ahead log", registry=registry
            ),
            ready=Gauge("parityflow_history_ready", "1 while the file is being written", registry=registry),
            view_seconds=Histogram(
                "parityflow_board_view_seconds",
                "Time to answer one view",
                ["view"],
                buckets=_VIEW_BUCKETS,
                registry=registry,
            ),
            view_errors=Counter(
                "parityflow_board_view_errors", "Requests refused or failed", ["status"], registry=registry
            ),
        )
