-- +goose Up

ALTER TABLE events ADD COLUMN changes BYTEA DEFAULT NULL; -- JSON of what a derived event changed
ALTER TABLE webhooks ADD COLUMN include_changes BIGINT NOT NULL DEFAULT 0; -- 1: bodies say what changed

-- +goose Down
