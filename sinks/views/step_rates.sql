-- How many people passed each step, by the day of the decision. Those who withdrew and those whose vacancy was withdrawn are
-- shown and stand outside the rate.
-- audiences: recruitment, equality, equality_analyst
-- period: days
-- closed characteristic: figures by characteristic stay closed to every audience until disclosure rules are in force
-- closed group: figures by characteristic stay closed to every audience until disclosure rules are in force
-- parameter organisation texts: employers; all when left out
-- parameter step texts: steps; all when left out
-- parameter population all|core|bank = all: which engagements and routes
SELECT
    organisation,
    name AS step,
    CAST(coalesce(sum(sign) FILTER (outcome = 'selected'), 0) AS BIGINT) AS selected,
    CAST(coalesce(sum(sign) FILTER (outcome = 'not_selected'), 0) AS BIGINT) AS not_selected,
    CAST(coalesce(sum(sign) FILTER (outcome = 'withdrew'), 0) AS BIGINT) AS withdrew,
    CAST(coalesce(sum(sign) FILTER (outcome = 'void'), 0) AS BIGINT) AS void,
    CASE
        WHEN sum(sign) FILTER (outcome IN ('selected', 'not_selected')) > 0
        THEN coalesce(sum(sign) FILTER (outcome = 'selected'), 0)::DOUBLE
            / sum(sign) FILTER (outcome IN ('selected', 'not_selected'))
    END AS rate
FROM counted_transitions
WHERE kind = 'outcome'
    AND day >= $from_day
    AND day < $to_day
    AND ($organisation::VARCHAR[] IS NULL OR list_contains($organisation::VARCHAR[], organisation))
    AND ($step::VARCHAR[] IS NULL OR list_contains($step::VARCHAR[], name))
    AND ($population = 'all' OR population = $population)
GROUP BY organisation, name
HAVING sum(abs(sign)) > 0
ORDER BY
    organisation,
    list_position(
        ['longlisting', 'shortlisting', 'interview', 'offer', 'appointment', 'onboarding', 'overall'], name
    )
LIMIT 10000
