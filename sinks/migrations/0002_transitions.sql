-- One row per contribution of a transition. A count is the sum of sign over the rows of the current epoch.
-- Append-only, without key or index. The column at_ms is the field "at" of the record (a reserved word in SQL).
CREATE TABLE transitions (
    epoch INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,    -- of the input record that caused it
    idx INTEGER NOT NULL,        -- which output of that record
    sign TINYINT NOT NULL,       -- +1 added, -1 taken back
    organisation VARCHAR NOT NULL,
    vacancy_id VARCHAR,
    application_id VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,       -- arrival or outcome
    name VARCHAR NOT NULL,       -- the stage or the step
    outcome VARCHAR NOT NULL,    -- empty for arrivals
    day INTEGER NOT NULL,        -- local days since 1970-01-01
    entry_day INTEGER NOT NULL,
    at_ms BIGINT NOT NULL,
    implied BOOLEAN NOT NULL,
    method VARCHAR,
    route VARCHAR,
    internal BOOLEAN,
    guaranteed_interview BOOLEAN,
    ethnicity VARCHAR NOT NULL,
    disability VARCHAR NOT NULL,
    sex VARCHAR NOT NULL,
    gender_reassignment VARCHAR NOT NULL,
    age VARCHAR NOT NULL,
    religion VARCHAR NOT NULL,
    sexual_orientation VARCHAR NOT NULL,
    marital_status VARCHAR NOT NULL,
    pregnancy_maternity VARCHAR NOT NULL
);
