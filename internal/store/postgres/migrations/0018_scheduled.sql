-- +goose Up

ALTER TABLE events ADD COLUMN expires_at BIGINT DEFAULT NULL;

-- Events that enter the log at a time of their own, and those that were called off before. An id that
-- stands here is taken.
CREATE TABLE scheduled (
    company      BIGINT NOT NULL,
    id           TEXT COLLATE "C" NOT NULL,
    partition    BIGINT NOT NULL,
    topic        TEXT COLLATE "C" NOT NULL,
    object_key   TEXT COLLATE "C" NOT NULL,
    data         BYTEA NOT NULL,
    digest       BYTEA NOT NULL,
    occurred_at  BIGINT,
    expires_at   BIGINT,
    deliver_at   BIGINT NOT NULL,
    accepted_at  BIGINT NOT NULL,   -- ascends within a batch
    cancelled_at BIGINT,
    PRIMARY KEY (company, id)
);
CREATE INDEX scheduled_due ON scheduled (partition, deliver_at) WHERE cancelled_at IS NULL;
CREATE INDEX scheduled_company ON scheduled (company, deliver_at, id) WHERE cancelled_at IS NULL;
CREATE INDEX scheduled_cancelled ON scheduled (company, deliver_at, id) WHERE cancelled_at IS NOT NULL;
CREATE INDEX scheduled_over ON scheduled (cancelled_at) WHERE cancelled_at IS NOT NULL;

-- Events that were called off when they were in the log, and no attempt had been made.
CREATE TABLE cancellations (
    company  BIGINT NOT NULL,
    "offset" BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (company, "offset")
);

-- +goose Down
