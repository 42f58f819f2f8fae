-- Vacancies, newest first, with how many people applied.
-- audiences: recruitment
-- parameter organisation texts: employers; all when left out
-- parameter status texts: open, closed, withdrawn; all when left out
-- parameter limit positive = 1000: how many
WITH applied AS (
    SELECT organisation, vacancy_id, sum(sign) AS applications, max(at_ms) AS last_ms
    FROM current_transitions
    WHERE kind = 'arrival' AND name = 'applied' AND vacancy_id IS NOT NULL
    GROUP BY organisation, vacancy_id
    HAVING sum(sign) > 0
)
SELECT
    organisation,
    vacancy_id,
    v.reference,
    v.title,
    v.status,
    CAST(coalesce(a.applications, 0) AS BIGINT) AS applications,
    v.posts,
    v.opened_ms AS opened,
    v.closing_date,
    a.last_ms AS last_application,
    v.ats_url
FROM vacancies v
FULL JOIN applied a USING (organisation, vacancy_id)
WHERE ($organisation::VARCHAR[] IS NULL OR list_contains($organisation::VARCHAR[], organisation))
    AND ($status::VARCHAR[] IS NULL OR list_contains($status::VARCHAR[], v.status))
ORDER BY coalesce(v.opened_ms, a.last_ms) DESC, organisation, vacancy_id
LIMIT $limit
