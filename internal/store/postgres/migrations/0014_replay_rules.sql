-- +goose Up

-- What decides whether an event is wanted, where that is not the rule of its time.
ALTER TABLE replays ADD COLUMN rule_topics TEXT COLLATE "C" DEFAULT NULL;
ALTER TABLE replays ADD COLUMN rule_filter TEXT COLLATE "C" DEFAULT NULL;

-- +goose Down
