-- +goose Up

-- The times in which this store never went back; the one with the highest number lasts. Another one
-- begins when a copy was restored, that may lack what was acknowledged.
CREATE TABLE eras (
    number       INTEGER PRIMARY KEY,
    id           TEXT NOT NULL,
    began_at     INTEGER NOT NULL,
    cause        TEXT NOT NULL,                    -- '' = the first one
    missing_from INTEGER,                          -- what was acknowledged from then on
    missing_to   INTEGER,                          -- to then may be missing; null: nothing is
    system       TEXT NOT NULL,                    -- '' and 0 here
    timeline     INTEGER NOT NULL,
    database     INTEGER NOT NULL,
    written      INTEGER NOT NULL
);

-- What each number of a rule's matches is higher by than their count: no number is given twice, even
-- when it is not known how far the count had come.
ALTER TABLE rules ADD COLUMN leap INTEGER NOT NULL DEFAULT 0;

-- +goose Down
