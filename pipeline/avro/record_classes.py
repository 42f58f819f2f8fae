"""Which class a record of the wire or of the state becomes: one table, extended by one line a record."""

from pipeline.domain import records, state

WRITTEN: tuple[type[tuple[object, ...]], ...] = (
    records.VacancyEvent,
    records.ApplicationEvent,
    records.EqualityAnswers,
    records.VacancyEqualityTable,
    records.AlertAction,
    records.Control,
    records.Tick,
    records.TransitionBatch,
    records.StageCounts,
    records.DeadLetter,
    records.Epoch,
    state.ApplicationState,
    state.VacancyState,
    state.OrganisationState,
    state.DayCounts,
    state.PartitionState,
    state.Departure,
)
"""Records with a schema id of their own."""

NESTED: tuple[type[tuple[object, ...]], ...] = (
    records.Check,
    records.Offer,
    records.Answer,
    records.TableCount,
    records.Transition,
    records.Contribution,
    records.Ignored,
    records.StageCount,
)
"""Records that occur only inside others."""

RECORD_CLASSES = {record.__name__: record for record in (*WRITTEN, *NESTED)}
"""Class by the name of its schema."""
