"""An outage writes one line a second, not thousands; nobody else's lines are touched."""

import logging

from agents.repeated_errors import RepeatedErrors


def record(name, message):
    return logging.LogRecord(name, logging.ERROR, "", 0, message, (), None)


def test_message_that_the_library_repeats_passes_once_a_second():
    repeated = RepeatedErrors()
    passed = [repeated.filter(record("aiokafka", "Unable connect to node %s")) for _ in range(1_000)]
    assert passed[0]
    assert sum(passed) <= 2
    assert repeated.filter(record("aiokafka", "another message"))


def test_other_lines_pass_as_often_as_they_come():
    repeated = RepeatedErrors()
    assert all(repeated.filter(record("agents.funnel", "the same")) for _ in range(3))
