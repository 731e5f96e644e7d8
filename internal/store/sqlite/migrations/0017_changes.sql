-- +goose Up

ALTER TABLE events ADD COLUMN changes BLOB DEFAULT NULL; -- JSON of what a derived event changed
ALTER TABLE webhooks ADD COLUMN include_changes INTEGER NOT NULL DEFAULT 0; -- 1: bodies say what changed

-- +goose Down
