-- The newest counts of each organisation and window, as the agents published them: one row a window, cells nested,
-- because they are replaced whole.
CREATE TABLE stage_counts (
    epoch INTEGER NOT NULL,
    organisation VARCHAR NOT NULL,
    window_days INTEGER NOT NULL,
    start_day INTEGER NOT NULL,
    end_day INTEGER NOT NULL,    -- exclusive
    "offset" BIGINT NOT NULL,
    idx INTEGER NOT NULL,
    counts STRUCT(kind VARCHAR, name VARCHAR, outcome VARCHAR, characteristic VARCHAR, "group" VARCHAR, count BIGINT)[]
        NOT NULL
);
