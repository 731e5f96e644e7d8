-- +goose Up

CREATE TABLE topics ( -- of the platform's own
    name       TEXT PRIMARY KEY,
    document   TEXT NOT NULL,    -- JSON of the rest
    from_file  INTEGER NOT NULL, -- 1: topics_file names it, and takes it away again
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;

INSERT INTO meta (name, value) VALUES ('topics', 0); -- counts their changes

-- +goose Down
