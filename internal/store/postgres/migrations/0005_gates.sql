-- +goose Up

-- Until when a webhook waits as a whole, because its endpoint asked for that (429, 503, Retry-After).
ALTER TABLE cursors ADD COLUMN not_before BIGINT DEFAULT NULL;                  -- null: it does not
ALTER TABLE cursors ADD COLUMN gate_wait_us BIGINT NOT NULL DEFAULT 0;          -- what was asked for: more is never left of it
ALTER TABLE cursors ADD COLUMN gate_reason TEXT NOT NULL DEFAULT '';
ALTER TABLE cursors ADD COLUMN gate_version BIGINT NOT NULL DEFAULT 0;          -- endpoint_version that asked; another does not wait
ALTER TABLE cursors ADD COLUMN throttles BIGINT NOT NULL DEFAULT 0;             -- such answers in a row

-- +goose Down
