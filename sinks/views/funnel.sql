-- Who waits at which stage now. An application waits at the furthest stage it has reached until it is decided: before
-- acceptance by the outcome overall, after it by starting or by the outcome of onboarding.
-- audiences: recruitment
-- parameter organisation texts: employers; all when left out
-- parameter vacancy texts: vacancies; all when left out
-- parameter by organisation|vacancy = organisation: a row per stage and employer, or per stage and vacancy
WITH application AS (
    SELECT
        organisation,
        vacancy_id,
        sum(sign) FILTER (kind = 'arrival' AND name = 'applied') AS applied,
        sum(sign) FILTER (kind = 'arrival' AND name = 'longlisted') AS longlisted,
        sum(sign) FILTER (kind = 'arrival' AND name = 'shortlisted') AS shortlisted,
        sum(sign) FILTER (kind = 'arrival' AND name = 'interviewed') AS interviewed,
        sum(sign) FILTER (kind = 'arrival' AND name = 'offered') AS offered,
        sum(sign) FILTER (kind = 'arrival' AND name = 'accepted') AS accepted,
        sum(sign) FILTER (kind = 'arrival' AND name = 'started') AS started,
        sum(sign) FILTER (kind = 'outcome' AND name = 'overall') AS decided,
        sum(sign) FILTER (kind = 'outcome' AND name = 'onboarding') AS settled,
        max(at_ms) FILTER (kind = 'arrival' AND sign > 0) AS since_ms
    FROM current_transitions
    WHERE ($organisation::VARCHAR[] IS NULL OR list_contains($organisation::VARCHAR[], organisation))
        AND ($vacancy::VARCHAR[] IS NULL OR list_contains($vacancy::VARCHAR[], vacancy_id))
    GROUP BY organisation, vacancy_id, application_id
),
waiting AS (
    SELECT
        organisation,
        CASE WHEN $by = 'vacancy' THEN vacancy_id END AS vacancy_id,
        CASE
            WHEN accepted > 0 THEN 'accepted'
            WHEN offered > 0 THEN 'offered'
            WHEN interviewed > 0 THEN 'interviewed'
            WHEN shortlisted > 0 THEN 'shortlisted'
            WHEN longlisted > 0 THEN 'longlisted'
            ELSE 'applied'
        END AS stage,
        since_ms
    FROM application
    WHERE applied > 0
        AND coalesce(started, 0) = 0
        AND CASE WHEN accepted > 0 THEN coalesce(settled, 0) = 0 ELSE coalesce(decided, 0) = 0 END
)
SELECT
    w.organisation,
    w.vacancy_id,
    any_value(v.reference) AS reference,
    any_value(v.title) AS title,
    w.stage,
    list_position(['applied', 'longlisted', 'shortlisted', 'interviewed', 'offered', 'accepted'], w.stage) AS stage_order,
    count(*) AS waiting,
    min(w.since_ms) AS longest_since
FROM waiting w
LEFT JOIN vacancies v ON v.organisation = w.organisation AND v.vacancy_id = w.vacancy_id
GROUP BY w.organisation, w.vacancy_id, w.stage
ORDER BY w.organisation, w.vacancy_id, stage_order
LIMIT 10000
