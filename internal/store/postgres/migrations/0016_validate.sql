-- +goose Up

ALTER TABLE companies ADD COLUMN validate TEXT COLLATE "C" NOT NULL DEFAULT ''; -- off, warn, reject; '': what the topic says
CREATE INDEX companies_validating ON companies (id) WHERE validate <> '';

CREATE TABLE topic_checks ( -- what was found of events by their topic's schema
    topic      TEXT COLLATE "C" PRIMARY KEY,
    checked    BIGINT NOT NULL,
    violations BIGINT NOT NULL, -- events
    rejected   BIGINT NOT NULL, -- of them
    unchecked  BIGINT NOT NULL,
    last       TEXT COLLATE "C" NOT NULL,    -- JSON of the last events with violations
    updated_at BIGINT NOT NULL
);

-- +goose Down
