-- +goose Up

CREATE TABLE dead_letters ( -- messages of sources that cannot be accepted as they are
    id           TEXT PRIMARY KEY,
    source       TEXT NOT NULL,
    message_key  TEXT NOT NULL, -- names the message within its source
    size         INTEGER NOT NULL,           -- of the message as it came; more than body where that was cut
    at           INTEGER NOT NULL,           -- when it was set aside
    written_at   INTEGER,                    -- when its producer wrote it; null: the source does not tell
    event_id     TEXT NOT NULL, -- that it gets where it names none
    code         TEXT NOT NULL, -- why it was refused last
    reason       TEXT NOT NULL,
    retries      INTEGER NOT NULL,           -- in vain
    content_type TEXT NOT NULL,
    attributes   TEXT NOT NULL, -- JSON; of a CloudEvent in binary mode
    company      TEXT NOT NULL, -- the only one that the source may publish for; empty: any
    body         BLOB NOT NULL
);

CREATE UNIQUE INDEX dead_letters_message ON dead_letters (source, message_key); -- a message that comes again is set aside once
CREATE INDEX dead_letters_source ON dead_letters (source, id, size);            -- lists, counts and sums by source
CREATE INDEX dead_letters_at ON dead_letters (at);                              -- retention

-- +goose Down
