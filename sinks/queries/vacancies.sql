-- Vacancies with all attributes, as last said.
-- parameter organisation texts: employers; all when left out
SELECT *
FROM vacancies
WHERE ($organisation::VARCHAR[] IS NULL OR list_contains($organisation::VARCHAR[], organisation))
ORDER BY organisation, vacancy_id
