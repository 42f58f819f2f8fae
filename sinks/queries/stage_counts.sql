-- The newest window counts that the agents published: a row a cell.
-- parameter organisation texts: employers; all when left out
-- parameter window_days integer: only windows of this length
WITH cell AS (
    SELECT organisation, window_days, start_day, end_day, unnest(counts) AS cell
    FROM stage_counts
    WHERE epoch = (SELECT max(epoch) FROM epochs WHERE state = 'current')
        AND ($organisation::VARCHAR[] IS NULL OR list_contains($organisation::VARCHAR[], organisation))
        AND ($window_days::INTEGER IS NULL OR window_days = $window_days)
)
SELECT
    organisation,
    window_days,
    start_day,
    end_day,
    cell.kind,
    cell.name,
    cell.outcome,
    cell.characteristic,
    cell."group",
    cell.count AS people
FROM cell
ORDER BY organisation, window_days
