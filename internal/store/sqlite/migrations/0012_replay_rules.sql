-- +goose Up

-- What decides whether an event is wanted, where that is not the rule of its time.
ALTER TABLE replays ADD COLUMN rule_topics TEXT DEFAULT NULL;
ALTER TABLE replays ADD COLUMN rule_filter TEXT DEFAULT NULL;

-- +goose Down
