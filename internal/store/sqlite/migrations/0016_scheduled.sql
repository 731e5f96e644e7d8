-- +goose Up

ALTER TABLE events ADD COLUMN expires_at INTEGER DEFAULT NULL;

-- Events that enter the log at a time of their own, and those that were called off before. An id that
-- stands here is taken.
CREATE TABLE scheduled (
    company      INTEGER NOT NULL,
    id           TEXT NOT NULL,
    partition    INTEGER NOT NULL,
    topic        TEXT NOT NULL,
    object_key   TEXT NOT NULL,
    data         BLOB NOT NULL,
    digest       BLOB NOT NULL,
    occurred_at  INTEGER,
    expires_at   INTEGER,
    deliver_at   INTEGER NOT NULL,
    accepted_at  INTEGER NOT NULL,   -- ascends within a batch
    cancelled_at INTEGER,
    PRIMARY KEY (company, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX scheduled_due ON scheduled (partition, deliver_at) WHERE cancelled_at IS NULL;
CREATE INDEX scheduled_company ON scheduled (company, deliver_at, id) WHERE cancelled_at IS NULL;
CREATE INDEX scheduled_cancelled ON scheduled (company, deliver_at, id) WHERE cancelled_at IS NOT NULL;
CREATE INDEX scheduled_over ON scheduled (cancelled_at) WHERE cancelled_at IS NOT NULL;

-- Events that were called off when they were in the log, and no attempt had been made.
CREATE TABLE cancellations (
    company INTEGER NOT NULL,
    offset  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (company, offset)
) STRICT, WITHOUT ROWID;

-- +goose Down
