-- Records that could not be counted, once per place in the log they came from.
CREATE TABLE dead_letters (
    topic VARCHAR NOT NULL,
    partition INTEGER NOT NULL,
    "offset" BIGINT NOT NULL,
    reason VARCHAR NOT NULL,
    detail VARCHAR NOT NULL,
    length BIGINT NOT NULL,
    sha256 BLOB NOT NULL,
    original BLOB,               -- at most 64 kB of it
    received_ms BIGINT NOT NULL
);
