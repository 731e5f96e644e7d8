-- +goose Up

ALTER TABLE webhooks ADD COLUMN signature_ed25519 BIGINT NOT NULL DEFAULT 0;
ALTER TABLE webhooks ADD COLUMN http_signature BIGINT NOT NULL DEFAULT 0;

-- Pairs of ed25519 keys of companies.
CREATE TABLE signing_keys (
    id          TEXT COLLATE "C" PRIMARY KEY,  -- the kid that receivers know
    company     BIGINT NOT NULL,
    public      BYTEA NOT NULL,     -- 32 bytes
    private     BYTEA NOT NULL,     -- the seed, sealed
    active_from BIGINT NOT NULL,     -- it signs from then on, until the next of the company does
    created_at  BIGINT NOT NULL
);
CREATE INDEX signing_keys_company ON signing_keys (company, active_from, id);

-- +goose Down
