-- Where history reads on in every partition of every topic, and since where it has read.
SELECT topic, partition, topic_id, first_offset, next_offset, committed_ms
FROM source_offsets
ORDER BY topic, partition
