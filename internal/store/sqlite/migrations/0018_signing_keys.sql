-- +goose Up

ALTER TABLE webhooks ADD COLUMN signature_ed25519 INTEGER NOT NULL DEFAULT 0;
ALTER TABLE webhooks ADD COLUMN http_signature INTEGER NOT NULL DEFAULT 0;

-- Pairs of ed25519 keys of companies.
CREATE TABLE signing_keys (
    id          TEXT PRIMARY KEY,  -- the kid that receivers know
    company     INTEGER NOT NULL,
    public      BLOB NOT NULL,     -- 32 bytes
    private     BLOB NOT NULL,     -- the seed, sealed
    active_from INTEGER NOT NULL,     -- it signs from then on, until the next of the company does
    created_at  INTEGER NOT NULL
);
CREATE INDEX signing_keys_company ON signing_keys (company, active_from, id);

-- +goose Down
