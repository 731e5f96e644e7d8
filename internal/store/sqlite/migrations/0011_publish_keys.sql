-- +goose Up

ALTER TABLE api_keys ADD COLUMN topic_prefix TEXT NOT NULL DEFAULT ''; -- of a publish key: the only topics that it publishes; empty: all

-- +goose Down
