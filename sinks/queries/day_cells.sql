-- Every count that there is: people per employer, day, arrival or outcome, characteristic and group, and the same without
-- characteristic (null). Cells that add up to nothing are left out. One scan gives all ten divisions.
-- parameter organisation texts: employers; all when left out
-- parameter from_day integer: first local day, days since 1970-01-01
-- parameter to_day integer: first local day after the period
SELECT
    organisation,
    day,
    kind,
    name,
    outcome,
    CASE
        WHEN GROUPING(ethnicity) = 0 THEN 'ethnicity'
        WHEN GROUPING(disability) = 0 THEN 'disability'
        WHEN GROUPING(sex) = 0 THEN 'sex'
        WHEN GROUPING(gender_reassignment) = 0 THEN 'gender_reassignment'
        WHEN GROUPING(age) = 0 THEN 'age'
        WHEN GROUPING(religion) = 0 THEN 'religion'
        WHEN GROUPING(sexual_orientation) = 0 THEN 'sexual_orientation'
        WHEN GROUPING(marital_status) = 0 THEN 'marital_status'
        WHEN GROUPING(pregnancy_maternity) = 0 THEN 'pregnancy_maternity'
    END AS characteristic,
    coalesce(ethnicity, disability, sex, gender_reassignment, age,
        religion, sexual_orientation, marital_status, pregnancy_maternity) AS "group",
    CAST(sum(sign) AS BIGINT) AS people
FROM current_transitions
WHERE ($organisation::VARCHAR[] IS NULL OR list_contains($organisation::VARCHAR[], organisation))
    AND ($from_day::INTEGER IS NULL OR day >= $from_day)
    AND ($to_day::INTEGER IS NULL OR day < $to_day)
GROUP BY
    GROUPING SETS (
        (organisation, day, kind, name, outcome),
        (organisation, day, kind, name, outcome, ethnicity),
        (organisation, day, kind, name, outcome, disability),
        (organisation, day, kind, name, outcome, sex),
        (organisation, day, kind, name, outcome, gender_reassignment),
        (organisation, day, kind, name, outcome, age),
        (organisation, day, kind, name, outcome, religion),
        (organisation, day, kind, name, outcome, sexual_orientation),
        (organisation, day, kind, name, outcome, marital_status),
        (organisation, day, kind, name, outcome, pregnancy_maternity)
    )
HAVING sum(sign) <> 0
