-- How far everything is. These small tables are rewritten with every batch, in its transaction.
CREATE TABLE source_offsets (
    topic VARCHAR NOT NULL,
    partition INTEGER NOT NULL,
    topic_id VARCHAR NOT NULL,   -- a topic that was deleted and made again has another one
    first_offset BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    committed_ms BIGINT NOT NULL
);

-- How far the input is applied, by what the batches of transitions say.
CREATE TABLE progress (
    epoch INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    to_offset BIGINT NOT NULL,
    to_index INTEGER NOT NULL,
    appended_at BIGINT NOT NULL
);

-- Records that change nothing by rule, by reason.
CREATE TABLE ignored (
    epoch INTEGER NOT NULL,
    partition INTEGER NOT NULL,
    reason VARCHAR NOT NULL,
    records BIGINT NOT NULL
);

-- The epoch that is read (state current) and the one that is being built beside it (state announced).
CREATE TABLE epochs (
    epoch INTEGER NOT NULL,
    state VARCHAR NOT NULL,
    positions MAP(VARCHAR, BIGINT) NOT NULL  -- last input offset that the rebuild folded, per partition
);

CREATE VIEW current_transitions AS
    SELECT * FROM transitions WHERE epoch = (SELECT max(epoch) FROM epochs WHERE state = 'current');

-- Transitions with what decides the population: bank and agency engagements are "bank", the international route
-- belongs to neither, anything unknown counts as core.
CREATE VIEW counted_transitions AS
    SELECT
        t.*,
        CASE
            WHEN v.engagement_type IN ('bank', 'agency') THEN 'bank'
            WHEN t.route = 'international' THEN 'international'
            ELSE 'core'
        END AS population
    FROM current_transitions t
    LEFT JOIN vacancies v USING (organisation, vacancy_id);
