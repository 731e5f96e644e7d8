-- +goose Up

-- Which process a node is, for those that start on the same machine: '' where none can tell.
ALTER TABLE nodes ADD COLUMN process TEXT NOT NULL DEFAULT '';

-- +goose Down
