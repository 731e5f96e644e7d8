-- +goose Up

-- What upkeep looks for, over all companies at once: statistics by their age, and the webhooks that
-- stand at a place of their own.
CREATE INDEX stats_age ON stats (bucket, webhook);
CREATE INDEX cursors_detached ON cursors (webhook) WHERE detached = 1;

-- +goose Down
