-- +goose Up

-- How often in a row the receiver asked to wait when it got this delivery: an event that alone is
-- answered so does not hold up its webhook.
ALTER TABLE parked ADD COLUMN throttles BIGINT NOT NULL DEFAULT 0;

-- +goose Down
