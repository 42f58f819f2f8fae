"""What the recount's counts may depend on: what was said, never how often or in which order it arrived."""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.codes import CHARACTERISTICS
from pipeline.reconcile.recount import Cell, Recount, recount, recount_as_of
from tests.archive import PARTITIONS, InputLog
from tests.strategies import APPEND_MS, application_records, histories

steady = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def count(records: list[Any]) -> Recount:
    log = InputLog(APPEND_MS).add(records)
    return recount(log.inputs, log.codec, partitions=PARTITIONS, timezone="Europe/London")


@steady
@given(records=application_records(), data=st.data())
def test_any_order_and_repetition_of_one_application_gives_equal_cells(records: list[Any], data: st.DataObject) -> None:
    repeated = [*records, *data.draw(st.lists(st.sampled_from(records), max_size=5))]
    assert count(data.draw(st.permutations(repeated))).cells == count(records).cells


@steady
@given(records=histories(controls=False), data=st.data())
def test_any_order_of_a_whole_history_gives_equal_cells(records: list[Any], data: st.DataObject) -> None:
    assert count(data.draw(st.permutations(records))).cells == count(records).cells


@steady
@given(records=histories())
def test_every_history_lies_within_the_cut_offs(records: list[Any]) -> None:
    assert count(records).rejected == ()


@steady
@given(records=histories())
def test_each_characteristic_parts_everybody(records: list[Any]) -> None:
    cells = count(records).cells
    parts: Counter[tuple[Cell, str]] = Counter()
    for cell, people in cells.items():
        if cell.characteristic is not None:
            parts[cell._replace(characteristic=None, group=None), cell.characteristic] += people
    everybody = {cell: people for cell, people in cells.items() if cell.characteristic is None}
    assert parts == {(cell, c): people for cell, people in everybody.items() for c in CHARACTERISTICS}


@steady
@given(records=histories())
def test_an_application_has_at_most_one_arrival_a_stage_and_one_outcome_a_step(records: list[Any]) -> None:
    for counted in count(records).contributions.values():
        assert max(Counter((one.kind, one.name) for one in counted).values()) == 1


@steady
@given(records=histories(organisations=2))
def test_organisations_do_not_touch_each_other(records: list[Any]) -> None:
    alone: Counter[Cell] = Counter()
    for organisation in {record.organisation for record in records}:
        alone.update(count([record for record in records if record.organisation == organisation]).cells)
    assert alone == count(records).cells


@steady
@given(records=histories(), data=st.data())
def test_an_organisation_as_of_an_offset_is_the_recount_of_the_log_until_there(
    records: list[Any], data: st.DataObject
) -> None:
    log = InputLog(APPEND_MS).add(records)
    cut = data.draw(st.sampled_from(log.inputs))
    organisation = cut.key.decode() if cut.key else ""
    then = [one for one in log.inputs if one.partition == cut.partition and one.offset <= cut.offset]
    cells = recount(then, log.codec, partitions=PARTITIONS, timezone="Europe/London").cells
    found = recount_as_of(
        log.inputs, log.codec, [(organisation, cut.offset)], partitions=PARTITIONS, timezone="Europe/London"
    )
    assert found == {
        (organisation, cut.offset): {cell: n for cell, n in cells.items() if cell.organisation == organisation}
    }
