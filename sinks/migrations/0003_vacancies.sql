-- What vacancy events said, as they came, and what follows from them: per attribute the last write by
-- (event_time, event_id). The first table is the source of the second and makes a late event, or one that turns out
-- to be a dead letter, a matter of deriving a vacancy again.
CREATE TABLE vacancy_changes (
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,
    event_id VARCHAR NOT NULL,
    event_type VARCHAR NOT NULL,
    event_time BIGINT NOT NULL,
    observed_time BIGINT,
    source_system VARCHAR,
    organisation VARCHAR NOT NULL,
    vacancy_id VARCHAR NOT NULL,
    source_event_id VARCHAR,
    reference VARCHAR,
    title VARCHAR,
    directorate VARCHAR,
    staff_group VARCHAR,
    job_role VARCHAR,
    afc_band VARCHAR,
    engagement_type VARCHAR,
    contract_type VARCHAR,
    working_pattern VARCHAR,
    flexible_advertised BOOLEAN,
    advertised BOOLEAN,
    positive_action VARCHAR,
    job_description_words BIGINT,
    inclusion_factor BOOLEAN,
    posts BIGINT,
    sift_round VARCHAR,
    longlisting_used BOOLEAN,
    views BIGINT,
    closing_date BIGINT,
    ats_url VARCHAR
);

CREATE TABLE vacancies (
    organisation VARCHAR NOT NULL,
    vacancy_id VARCHAR NOT NULL,
    status VARCHAR,              -- open, closed or withdrawn; null when no event said so
    status_ms BIGINT,            -- event time of that
    opened_ms BIGINT,            -- first opening
    changed_ms BIGINT NOT NULL,  -- event time of the last event
    reference VARCHAR,
    title VARCHAR,
    directorate VARCHAR,
    staff_group VARCHAR,
    job_role VARCHAR,
    afc_band VARCHAR,
    engagement_type VARCHAR,
    contract_type VARCHAR,
    working_pattern VARCHAR,
    flexible_advertised BOOLEAN,
    advertised BOOLEAN,
    positive_action VARCHAR,
    job_description_words BIGINT,
    inclusion_factor BOOLEAN,
    posts BIGINT,
    sift_round VARCHAR,
    longlisting_used BOOLEAN,
    views BIGINT,
    closing_date BIGINT,
    ats_url VARCHAR
);
