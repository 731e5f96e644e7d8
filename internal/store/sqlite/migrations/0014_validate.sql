-- +goose Up

ALTER TABLE companies ADD COLUMN validate TEXT NOT NULL DEFAULT ''; -- off, warn, reject; '': what the topic says
CREATE INDEX companies_validating ON companies (id) WHERE validate <> '';

CREATE TABLE topic_checks ( -- what was found of events by their topic's schema
    topic      TEXT PRIMARY KEY,
    checked    INTEGER NOT NULL,
    violations INTEGER NOT NULL, -- events
    rejected   INTEGER NOT NULL, -- of them
    unchecked  INTEGER NOT NULL,
    last       TEXT NOT NULL,    -- JSON of the last events with violations
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;

-- +goose Down
