"""Writing what must have arrived before the next thing is done."""

import pytest
from confluent_kafka import KafkaError

from pipeline.kafka_log import LogWriteError, LogWriter


def test_refused_record_is_an_error_at_the_end_not_a_silence():
    writer = LogWriter("127.0.0.1:1")
    writer._delivered(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), None)
    with pytest.raises(LogWriteError, match="too large"):
        writer.finish()


def test_nothing_written_is_nothing_missing():
    LogWriter("127.0.0.1:1").finish()
