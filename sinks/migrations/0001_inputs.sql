-- The archive: every record of the input log as it was, poison included. Replay, erasure and reconcile stand on it.
-- Append-only, without key or index: rows and offsets are written in one transaction, so nothing can come twice.
CREATE TABLE inputs (
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,
    append_ms BIGINT NOT NULL,   -- when the broker appended it, milliseconds since 1970 in UTC
    key BLOB,
    value BLOB
);
