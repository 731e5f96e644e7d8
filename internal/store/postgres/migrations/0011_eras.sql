-- +goose Up

-- The times in which this database never went back; the one with the highest number lasts. Another one
-- begins when a standby was promoted, or a copy restored, that may lack what was acknowledged. Its row
-- is written once: a row that another transaction than that wrote was loaded from a copy.
CREATE TABLE eras (
    number       BIGINT PRIMARY KEY,
    id           TEXT COLLATE "C" NOT NULL,
    began_at     BIGINT NOT NULL,
    cause        TEXT COLLATE "C" NOT NULL,        -- '' = the first one
    missing_from BIGINT,                           -- what was acknowledged from then on
    missing_to   BIGINT,                           -- to then may be missing; null: nothing is
    system       TEXT COLLATE "C" NOT NULL,        -- the server's identifier, '' = not known
    timeline     BIGINT NOT NULL,                  -- of its log, 0 = not known
    database     BIGINT NOT NULL,
    written      BIGINT NOT NULL                   -- the transaction that wrote this row
);

-- What each number of a rule's matches is higher by than their count: no number is given twice, even
-- when it is not known how far the count had come.
ALTER TABLE rules ADD COLUMN leap BIGINT NOT NULL DEFAULT 0;

-- Written anew, at random, at each renewal of the lease, and when that was.
ALTER TABLE nodes ADD COLUMN beat TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE nodes ADD COLUMN beat_at BIGINT NOT NULL DEFAULT 0;

-- +goose Down
