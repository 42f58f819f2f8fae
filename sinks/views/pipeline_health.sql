-- How far and how fresh the data is: a row a measure. Positions are offsets of the input log, times epoch milliseconds.
-- audiences: operations
SELECT 'archived_to' AS measure, partition, NULL::VARCHAR AS reason, next_offset AS value
FROM source_offsets
WHERE topic = 'recruitment.events.v1'
UNION ALL
SELECT 'applied_to', partition, NULL, to_offset + 1
FROM progress
WHERE epoch = (SELECT max(epoch) FROM epochs WHERE state = 'current')
UNION ALL
SELECT 'behind', s.partition, NULL, greatest(0, s.next_offset - coalesce(p.to_offset + 1, s.first_offset))
FROM source_offsets s
LEFT JOIN progress p
    ON p.partition = s.partition AND p.epoch = (SELECT max(epoch) FROM epochs WHERE state = 'current')
WHERE s.topic = 'recruitment.events.v1'
UNION ALL
SELECT 'fresh_as_of', partition, NULL, appended_at
FROM progress
WHERE epoch = (SELECT max(epoch) FROM epochs WHERE state = 'current')
UNION ALL
SELECT 'dead_letters', NULL, reason, count(*) FROM dead_letters GROUP BY reason
UNION ALL
SELECT 'ignored', NULL, reason, CAST(sum(records) AS BIGINT)
FROM ignored
WHERE epoch = (SELECT max(epoch) FROM epochs WHERE state = 'current')
GROUP BY reason
UNION ALL
SELECT 'epoch', NULL, state, epoch FROM epochs
UNION ALL
SELECT 'committed_at', NULL, NULL, max(committed_ms) FROM source_offsets
UNION ALL
SELECT 'file_bytes', NULL, NULL, block_size * total_blocks FROM pragma_database_size()
ORDER BY measure, partition, reason
