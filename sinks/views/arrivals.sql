-- How many people arrived at each stage, in buckets of time.
-- audiences: recruitment
-- period: instants
-- parameter organisation texts: employers; all when left out
-- parameter vacancy texts: vacancies; all when left out
-- parameter bucket positive = 86400000: width of a bucket in milliseconds
SELECT
    at_ms - at_ms % $bucket AS "time",
    name AS stage,
    CAST(sum(sign) AS BIGINT) AS people
FROM current_transitions
WHERE kind = 'arrival'
    AND at_ms >= $from_ms
    AND at_ms < $to_ms
    AND ($organisation::VARCHAR[] IS NULL OR list_contains($organisation::VARCHAR[], organisation))
    AND ($vacancy::VARCHAR[] IS NULL OR list_contains($vacancy::VARCHAR[], vacancy_id))
GROUP BY ALL
HAVING sum(sign) <> 0
ORDER BY ALL
LIMIT 50000
