-- +goose Up

CREATE TABLE dead_letters ( -- messages of sources that cannot be accepted as they are
    id           TEXT COLLATE "C" PRIMARY KEY,
    source       TEXT COLLATE "C" NOT NULL,
    message_key  TEXT COLLATE "C" NOT NULL, -- names the message within its source
    size         BIGINT NOT NULL,           -- of the message as it came; more than body where that was cut
    at           BIGINT NOT NULL,           -- when it was set aside
    written_at   BIGINT,                    -- when its producer wrote it; null: the source does not tell
    event_id     TEXT COLLATE "C" NOT NULL, -- that it gets where it names none
    code         TEXT COLLATE "C" NOT NULL, -- why it was refused last
    reason       TEXT COLLATE "C" NOT NULL,
    retries      BIGINT NOT NULL,           -- in vain
    content_type TEXT COLLATE "C" NOT NULL,
    attributes   TEXT COLLATE "C" NOT NULL, -- JSON; of a CloudEvent in binary mode
    company      TEXT COLLATE "C" NOT NULL, -- the only one that the source may publish for; empty: any
    body         BYTEA NOT NULL
);

CREATE UNIQUE INDEX dead_letters_message ON dead_letters (source, message_key); -- a message that comes again is set aside once
CREATE INDEX dead_letters_source ON dead_letters (source, id, size);            -- lists, counts and sums by source
CREATE INDEX dead_letters_at ON dead_letters (at);                              -- retention

-- +goose Down
