-- +goose Up

-- When a parked delivery was given its due time: later than now, if the clock was set back since.
ALTER TABLE parked ADD COLUMN parked_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX parked_ahead ON parked (partition, parked_at) WHERE due_at IS NOT NULL; -- whose wait would outlast its step

-- +goose Down
