-- +goose Up

ALTER TABLE webhooks ADD COLUMN tls_compat BIGINT NOT NULL DEFAULT 0; -- 1: TLS without the key shares that old middleboxes swallow

-- +goose Down
