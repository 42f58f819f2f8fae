-- A dead letter is counted once by where its record was, however often it is reported.
INSERT INTO dead_letters
SELECT i.* FROM incoming_dead_letters i
WHERE NOT EXISTS (
    SELECT 1 FROM dead_letters d
    WHERE d.topic = i.topic AND d.partition = i.partition AND d."offset" = i."offset"
);
