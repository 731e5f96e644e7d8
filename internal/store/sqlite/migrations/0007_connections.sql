-- +goose Up

ALTER TABLE attempts ADD COLUMN reused INTEGER NOT NULL DEFAULT 0;           -- over a connection that had been used before
ALTER TABLE webhooks ADD COLUMN http_version TEXT NOT NULL DEFAULT 'auto'; -- auto or 1.1

-- +goose Down
