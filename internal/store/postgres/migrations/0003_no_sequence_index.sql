-- +goose Up

-- Sequences ascend with offsets: the primary key is searched instead, and a delivery has one tree less
-- to write to.
DROP INDEX attempts_sequence;

-- +goose Down
