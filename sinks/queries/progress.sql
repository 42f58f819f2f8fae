-- How far each partition of the input log is archived and applied, per epoch. A row a partition and epoch; epoch and
-- position are null while nothing is applied.
SELECT
    s.partition,
    s.first_offset AS archived_from,
    s.next_offset AS archived_to,
    p.epoch,
    coalesce(p.epoch = (SELECT max(epoch) FROM epochs WHERE state = 'current'), false) AS is_current,
    p.to_offset,
    p.to_index,
    p.appended_at,
    s.committed_ms
FROM source_offsets s
LEFT JOIN progress p USING (partition)
WHERE s.topic = 'recruitment.events.v1'
ORDER BY s.partition, p.epoch
