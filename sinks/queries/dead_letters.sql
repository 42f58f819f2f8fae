-- The records that could not be counted, in the order of the log, with the kept bytes in base64.
-- parameter reason text: only this reason
-- parameter limit positive = 1000: how many
SELECT
    topic,
    partition,
    "offset",
    reason,
    detail,
    length,
    hex(sha256) AS sha256,
    base64(original) AS original,
    received_ms
FROM dead_letters
WHERE ($reason::VARCHAR IS NULL OR reason = $reason)
ORDER BY topic, partition, "offset"
LIMIT $limit
