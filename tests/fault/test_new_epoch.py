"""The same input counted anew from offset 0, by one worker, by three, and by ``rebuild``: identical counts per day."""

import pytest

from pipeline.counting.epochs import announce_epoch, begin_epoch
from pipeline.reconcile.recount import Cell
from pipeline.topics import apply_topics, changelog_spec
from sinks.reader import open_history
from tests.fault.harness import HISTORY, Lab
from tests.fault.outputs import assert_same
from tests.fault.processes import Child, wait_until
from tests.fault.streams import CODEC, PARTITIONS, Wire

pytestmark = pytest.mark.broker


def _begin(lab: Lab, epoch: int) -> None:
    """Begin an epoch at the start of the input."""
    apply_topics(lab.admin, lab.bootstrap, [changelog_spec(epoch, PARTITIONS)], 1)
    begin_epoch(lab.admin, lab.bootstrap, CODEC, epoch, PARTITIONS)
    announce_epoch(lab.bootstrap, CODEC, epoch, {})


def _archived(lab: Lab) -> dict[int, int]:
    with open_history(lab.settings) as reader:
        return {row["partition"]: row["archived_to"] for row in reader.query("progress")}


def _count(lab: Lab, epoch: int, workers: int) -> dict[Cell, int]:
    watch = lab.watch(epoch)
    crew: list[Child] = []
    for _ in range(workers):
        crew.append(lab.start())
        crew[-1].wait_for("partition_assigned", 40)
    lab.wait_applied(watch, lab.input_ends(), 60)
    for worker in crew:
        assert worker.stop() == 0, worker.tail()
    lab.assert_exact(epoch)
    return lab.state_cells(epoch)


@pytest.mark.timeout(240)
def test_counting_anew_with_one_and_three_workers_and_by_rebuild_gives_identical_days(
    lab: Lab, records: list[Wire]
) -> None:
    lab.send(records[:25_000])
    first = _count(lab, 1, workers=1)
    _begin(lab, 2)
    assert_same("three workers", _count(lab, 2, workers=3), first)

    history = lab.start(HISTORY)
    history.wait_for("history_reading")
    wait_until(lambda: _archived(lab) == lab.input_ends(), 60, "history has the whole input")
    rebuilt = lab.start(("rebuild",))
    assert rebuilt.wait(90) == 0, rebuilt.tail()
    assert_same("rebuild", lab.state_cells(3), first)
    assert_same("outputs of rebuild", lab.outputs(3).cells, first)
    lab.send(records[25_000:30_000])
    _count(lab, 3, workers=1)
    assert history.stop() == 0
