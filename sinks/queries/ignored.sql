-- Input records that changed nothing by rule, by reason.
SELECT reason, CAST(sum(records) AS BIGINT) AS records
FROM ignored
WHERE epoch = (SELECT max(epoch) FROM epochs WHERE state = 'current')
GROUP BY reason
ORDER BY reason
