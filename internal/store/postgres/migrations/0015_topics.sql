-- +goose Up

CREATE TABLE topics ( -- of the platform's own
    name       TEXT COLLATE "C" PRIMARY KEY,
    document   TEXT COLLATE "C" NOT NULL, -- JSON of the rest
    from_file  BIGINT NOT NULL,           -- 1: topics_file names it, and takes it away again
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

INSERT INTO meta (name, value) VALUES ('topics', 0); -- counts their changes

-- +goose Down
