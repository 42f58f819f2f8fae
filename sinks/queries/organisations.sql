-- Employers that have applications or vacancies, with how many of each.
SELECT
    organisation,
    CAST(coalesce(a.applications, 0) AS BIGINT) AS applications,
    coalesce(v.vacancies, 0) AS vacancies
FROM (
    SELECT organisation, sum(sign) AS applications
    FROM current_transitions
    WHERE kind = 'arrival' AND name = 'applied'
    GROUP BY organisation
) a
FULL JOIN (SELECT organisation, count(*) AS vacancies FROM vacancies GROUP BY organisation) v USING (organisation)
ORDER BY organisation
