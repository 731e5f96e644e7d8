-- +goose Up

-- Hash of the company key, or of the console's session, that made the key, with which it ends. Null:
-- an operator made it, or, before
-- this step, the key that created_by names.
ALTER TABLE api_keys ADD COLUMN maker BYTEA DEFAULT NULL;
CREATE INDEX api_keys_revoked ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX api_keys_expired ON api_keys (expires_at) WHERE expires_at IS NOT NULL;

-- Sessions of the console that began with a key.
CREATE TABLE sessions (
    hash       BYTEA PRIMARY KEY,                -- SHA-256 of what the browser keeps sealed
    maker      BYTEA NOT NULL,                   -- hash of the key, with which it ends
    expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_age ON sessions (expires_at);

ALTER TABLE audit ADD COLUMN address TEXT COLLATE "C" NOT NULL DEFAULT '';  -- from where it was asked for
CREATE INDEX audit_age ON audit (at);

-- What a record that nobody will look up any more is known by: its age.
ALTER TABLE records ADD COLUMN made_at TIMESTAMPTZ NOT NULL DEFAULT now();

-- +goose Down
