-- Newer windows replace older ones; a window that an agent sent again after a restart changes nothing.
DELETE FROM stage_counts s USING incoming_stage_counts i
WHERE s.epoch = i.epoch AND s.organisation = i.organisation AND s.window_days = i.window_days
    AND (s."offset", s.idx) <= (i."offset", i.idx);

INSERT INTO stage_counts
SELECT i.* FROM incoming_stage_counts i
WHERE NOT EXISTS (
    SELECT 1 FROM stage_counts s
    WHERE s.epoch = i.epoch AND s.organisation = i.organisation AND s.window_days = i.window_days
);
