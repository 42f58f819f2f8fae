-- Make room for the touched vacancies, which are derived anew.
DELETE FROM vacancies v USING touched_vacancies t
WHERE v.organisation = t.organisation AND v.vacancy_id = t.vacancy_id;
