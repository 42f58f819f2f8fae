-- People per outcome of a step, vacancy and group, by the day of the decision (decision form).
-- parameter organisation texts required: employers
-- parameter step text required: longlisting, shortlisting, interview, offer, appointment, onboarding or overall
-- parameter characteristic ethnicity|disability|sex|gender_reassignment|age|religion|sexual_orientation|marital_status|pregnancy_maternity: what to divide by; the whole step when left out
-- parameter from_day integer: first local day, days since 1970-01-01
-- parameter to_day integer: first local day after the period
-- parameter population all|core|bank = all: which engagements and routes
SELECT
    organisation,
    vacancy_id,
    CASE $characteristic
        WHEN 'ethnicity' THEN ethnicity
        WHEN 'disability' THEN disability
        WHEN 'sex' THEN sex
        WHEN 'gender_reassignment' THEN gender_reassignment
        WHEN 'age' THEN age
        WHEN 'religion' THEN religion
        WHEN 'sexual_orientation' THEN sexual_orientation
        WHEN 'marital_status' THEN marital_status
        WHEN 'pregnancy_maternity' THEN pregnancy_maternity
    END AS "group",
    outcome,
    CAST(sum(sign) AS BIGINT) AS people
FROM counted_transitions
WHERE kind = 'outcome'
    AND name = $step
    AND list_contains($organisation::VARCHAR[], organisation)
    AND ($from_day::INTEGER IS NULL OR day >= $from_day)
    AND ($to_day::INTEGER IS NULL OR day < $to_day)
    AND ($population = 'all' OR population = $population)
GROUP BY ALL
HAVING sum(sign) <> 0
ORDER BY ALL
