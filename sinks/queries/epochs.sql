-- The epoch that is read, and the one that is being built beside it.
SELECT epoch, state, CAST(to_json(positions) AS VARCHAR) AS positions
FROM epochs
ORDER BY epoch
