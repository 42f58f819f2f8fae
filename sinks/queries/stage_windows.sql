-- Which windows the agents last published, with the position after which each holds.
-- parameter organisation texts: employers; all when left out
SELECT organisation, window_days, start_day, end_day, "offset", idx, len(counts) AS cells
FROM stage_counts
WHERE epoch = (SELECT max(epoch) FROM epochs WHERE state = 'current')
    AND ($organisation::VARCHAR[] IS NULL OR list_contains($organisation::VARCHAR[], organisation))
ORDER BY organisation, window_days
