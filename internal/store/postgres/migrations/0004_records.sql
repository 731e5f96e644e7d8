-- +goose Up

-- A row for each record whose commit may have to be looked up: it is there if, and only if, the record
-- is. The next record takes it away again. One that is void was put there by who looked: the record
-- was not committed, and its own row would now clash.
CREATE TABLE records (
    id   TEXT COLLATE "C" PRIMARY KEY,
    void BOOLEAN NOT NULL DEFAULT false
);

-- +goose Down
