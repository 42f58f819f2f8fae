-- How many records could not be counted, by reason and topic.
SELECT topic, reason, count(*) AS records
FROM dead_letters
GROUP BY topic, reason
ORDER BY topic, reason
