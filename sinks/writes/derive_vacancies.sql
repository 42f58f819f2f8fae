-- Derive the touched vacancies anew from all that was said about them: per attribute the last write by
-- (event_time, event_id). Events that turned out to be dead letters say nothing. A vacancy is withdrawn when that is the
-- last of withdrawn, reopened and opened; closing it does not undo that.
INSERT INTO vacancies
WITH change AS (
    SELECT c.*
    FROM vacancy_changes c
    JOIN touched_vacancies t USING (organisation, vacancy_id)
    WHERE NOT EXISTS (
        SELECT 1 FROM dead_letters d
        WHERE d.topic = $events AND d.partition = c.partition AND d."offset" = c."offset"
    )
),
derived AS (
    SELECT
        organisation,
        vacancy_id,
        arg_max(event_type, (event_time, event_id))
            FILTER (event_type IN ('opened', 'reopened', 'withdrawn')) = 'withdrawn' AS is_withdrawn,
        arg_max(event_type, (event_time, event_id))
            FILTER (event_type IN ('opened', 'reopened', 'closed')) AS advert,
        max(event_time) FILTER (event_type = 'withdrawn') AS withdrawn_ms,
        max(event_time) FILTER (event_type IN ('opened', 'reopened', 'closed')) AS advert_ms,
        min(event_time) FILTER (event_type = 'opened') AS opened_ms,
        max(event_time) AS changed_ms,
        arg_max(reference, (event_time, event_id)) FILTER (reference IS NOT NULL) AS reference,
        arg_max(title, (event_time, event_id)) FILTER (title IS NOT NULL) AS title,
        arg_max(directorate, (event_time, event_id)) FILTER (directorate IS NOT NULL) AS directorate,
        arg_max(staff_group, (event_time, event_id)) FILTER (staff_group IS NOT NULL) AS staff_group,
        arg_max(job_role, (event_time, event_id)) FILTER (job_role IS NOT NULL) AS job_role,
        arg_max(afc_band, (event_time, event_id)) FILTER (afc_band IS NOT NULL) AS afc_band,
        arg_max(engagement_type, (event_time, event_id)) FILTER (engagement_type IS NOT NULL) AS engagement_type,
        arg_max(contract_type, (event_time, event_id)) FILTER (contract_type IS NOT NULL) AS contract_type,
        arg_max(working_pattern, (event_time, event_id)) FILTER (working_pattern IS NOT NULL) AS working_pattern,
        arg_max(flexible_advertised, (event_time, event_id)) FILTER (flexible_advertised IS NOT NULL) AS flexible_advertised,
        arg_max(advertised, (event_time, event_id)) FILTER (advertised IS NOT NULL) AS advertised,
        arg_max(positive_action, (event_time, event_id)) FILTER (positive_action IS NOT NULL) AS positive_action,
        arg_max(job_description_words, (event_time, event_id)) FILTER (job_description_words IS NOT NULL) AS job_description_words,
        arg_max(inclusion_factor, (event_time, event_id)) FILTER (inclusion_factor IS NOT NULL) AS inclusion_factor,
        arg_max(posts, (event_time, event_id)) FILTER (posts IS NOT NULL) AS posts,
        arg_max(sift_round, (event_time, event_id)) FILTER (sift_round IS NOT NULL) AS sift_round,
        arg_max(longlisting_used, (event_time, event_id)) FILTER (longlisting_used IS NOT NULL) AS longlisting_used,
        arg_max(views, (event_time, event_id)) FILTER (views IS NOT NULL) AS views,
        arg_max(closing_date, (event_time, event_id)) FILTER (closing_date IS NOT NULL) AS closing_date,
        arg_max(ats_url, (event_time, event_id)) FILTER (ats_url IS NOT NULL) AS ats_url
    FROM change
    GROUP BY organisation, vacancy_id
)
SELECT
    organisation,
    vacancy_id,
    CASE WHEN is_withdrawn THEN 'withdrawn' WHEN advert = 'closed' THEN 'closed' WHEN advert IS NOT NULL THEN 'open' END,
    CASE WHEN is_withdrawn THEN withdrawn_ms ELSE advert_ms END,
    opened_ms,
    changed_ms,
    reference,
    title,
    directorate,
    staff_group,
    job_role,
    afc_band,
    engagement_type,
    contract_type,
    working_pattern,
    flexible_advertised,
    advertised,
    positive_action,
    job_description_words,
    inclusion_factor,
    posts,
    sift_round,
    longlisting_used,
    views,
    closing_date,
    ats_url
FROM derived;
