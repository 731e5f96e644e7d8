-- +goose Up

-- Facts about this database: when it was made, the counters that hand out keys.
CREATE TABLE meta (
    name  TEXT COLLATE "C" PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO meta (name, value) VALUES ('company_key', 0), ('webhook_key', 0), ('replay_key', 0),
    ('changes', 0); -- its row is the lock that makes configuration changes take turns

CREATE TABLE companies (
    key              BIGINT PRIMARY KEY,
    id               TEXT COLLATE "C" NOT NULL UNIQUE,
    partition        BIGINT NOT NULL,
    signature_scheme TEXT COLLATE "C" NOT NULL DEFAULT '', -- '' = the server's default
    data_format      TEXT COLLATE "C" NOT NULL DEFAULT '',
    allow_networks   TEXT COLLATE "C" NOT NULL DEFAULT '', -- CIDRs, comma-separated
    max_webhooks     BIGINT NOT NULL DEFAULT 0, -- 0 = no limit
    purged_offset    BIGINT NOT NULL DEFAULT 0, -- events up to here are gone, or going
    created_at       BIGINT NOT NULL,          -- here and everywhere: microseconds since 1970, UTC
    updated_at       BIGINT NOT NULL
);

CREATE TABLE api_keys (
    id           TEXT COLLATE "C" PRIMARY KEY,
    company      BIGINT NOT NULL,              -- 0 = operator key
    name         TEXT COLLATE "C" NOT NULL,
    scope        TEXT COLLATE "C" NOT NULL,                 -- operator, write, read
    hash         BYTEA NOT NULL UNIQUE,          -- SHA-256 of the whole text
    hint         TEXT COLLATE "C" NOT NULL,                 -- its last four characters
    created_by   TEXT COLLATE "C" NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT,
    revoked_at   BIGINT
);
CREATE INDEX api_keys_company ON api_keys (company, id);

-- Links that open the console, once each, and the sessions that they opened.
CREATE TABLE links (
    id                 TEXT COLLATE "C" PRIMARY KEY,
    company            BIGINT NOT NULL,
    scope              TEXT COLLATE "C" NOT NULL,           -- write, read
    maker              BYTEA NOT NULL,           -- hash of the key that made it, with which it ends
    token_hash         BYTEA NOT NULL UNIQUE,
    created_by         TEXT COLLATE "C" NOT NULL,
    created_at         BIGINT NOT NULL,
    expires_at         BIGINT NOT NULL,        -- of the token
    used_at            BIGINT,
    session_hash       BYTEA UNIQUE,
    session_expires_at BIGINT,
    revoked_at         BIGINT
);
CREATE INDEX links_company ON links (company, id);
CREATE INDEX links_age ON links (created_at);

CREATE TABLE audit (
    id         TEXT COLLATE "C" PRIMARY KEY,
    company    BIGINT NOT NULL,                -- 0 = none
    at         BIGINT NOT NULL,
    actor      TEXT COLLATE "C" NOT NULL,                   -- a key's id, 'operator' or 'engine'
    action     TEXT COLLATE "C" NOT NULL,
    object     TEXT COLLATE "C" NOT NULL,                   -- the id of what was changed
    request_id TEXT COLLATE "C" NOT NULL,
    detail     TEXT COLLATE "C" NOT NULL                    -- a JSON object
);
CREATE INDEX audit_company ON audit (company, id);

-- Answers to POSTs that carried an Idempotency-Key.
CREATE TABLE idempotency (
    company    BIGINT NOT NULL,
    key        TEXT COLLATE "C" NOT NULL,
    route      TEXT COLLATE "C" NOT NULL,
    digest     BYTEA NOT NULL,
    status     BIGINT NOT NULL,
    answer     BYTEA NOT NULL,                   -- sealed: it can hold a secret
    created_at BIGINT NOT NULL,
    PRIMARY KEY (company, key)
);

CREATE INDEX idempotency_age ON idempotency (created_at);

-- One row a partition: its owner, the low-water mark of its attached webhooks, and the count of
-- configuration changes in it.
CREATE TABLE owners (
    partition      BIGINT PRIMARY KEY,
    node_id        TEXT COLLATE "C" NOT NULL DEFAULT '',
    swept          BIGINT NOT NULL DEFAULT 0,
    config_version BIGINT NOT NULL DEFAULT 0
);
INSERT INTO owners (partition) SELECT generate_series(0, 63);

-- The append lock of each partition: its row is locked, never updated. Offsets begin after base_offset.
CREATE TABLE partitions (
    id          BIGINT PRIMARY KEY,
    base_offset BIGINT NOT NULL DEFAULT 0
);
INSERT INTO partitions (id) SELECT generate_series(0, 63);

-- A node is a row per start. Its lease is on this database's clock; dead is for ever.
CREATE TABLE nodes (
    id          TEXT COLLATE "C" PRIMARY KEY,
    url         TEXT COLLATE "C" NOT NULL,     -- where the other nodes reach it
    version     TEXT COLLATE "C" NOT NULL,
    started_at  BIGINT NOT NULL,
    lease_until TIMESTAMPTZ NOT NULL,
    in_flight   BIGINT NOT NULL,               -- attempts, at the last renewal
    leaving     BOOLEAN NOT NULL,              -- it hands its partitions over and takes none
    dead        BOOLEAN NOT NULL,
    UNIQUE (id, dead)                          -- makes dead a part of the key: sharing it keeps a node alive, not its lease
);

CREATE TABLE webhooks (
    key                 BIGINT PRIMARY KEY,
    id                  TEXT COLLATE "C" NOT NULL UNIQUE,
    company             BIGINT NOT NULL,
    partition           BIGINT NOT NULL,
    endpoint            TEXT COLLATE "C" NOT NULL,
    endpoint_version    BIGINT NOT NULL,
    endpoint_since      BIGINT NOT NULL,
    status              TEXT COLLATE "C" NOT NULL,
    status_reason       TEXT COLLATE "C" NOT NULL,
    topics              TEXT COLLATE "C" NOT NULL,          -- JSON array of patterns
    filter              TEXT COLLATE "C" NOT NULL,
    description         TEXT COLLATE "C" NOT NULL,
    metadata            TEXT COLLATE "C" NOT NULL,          -- JSON object
    signature_scheme    TEXT COLLATE "C" NOT NULL,
    data_format         TEXT COLLATE "C" NOT NULL,
    headers             BYTEA NOT NULL,          -- sealed JSON array
    ordering            TEXT COLLATE "C" NOT NULL,
    max_concurrency     BIGINT NOT NULL,
    rate_limit          DOUBLE PRECISION NOT NULL,
    timeout_ms          BIGINT NOT NULL,
    retry_schedule      TEXT COLLATE "C" NOT NULL,          -- JSON array of seconds
    secret              BYTEA NOT NULL,          -- sealed
    previous_secret     BYTEA,                   -- sealed; during a rotation
    previous_expires_at BIGINT,
    secret_activated    BIGINT NOT NULL DEFAULT 0,
    version             BIGINT NOT NULL,
    changed             BIGINT NOT NULL,       -- owners.config_version of its last change
    created_at          BIGINT NOT NULL,
    updated_at          BIGINT NOT NULL,
    deleted_at          BIGINT
);
CREATE INDEX webhooks_company ON webhooks (company, id) WHERE deleted_at IS NULL;
CREATE INDEX webhooks_endpoint ON webhooks (company, endpoint) WHERE deleted_at IS NULL; -- is there a duplicate?
CREATE INDEX webhooks_expiring ON webhooks (previous_expires_at) WHERE previous_expires_at IS NOT NULL;
CREATE INDEX webhooks_deleted ON webhooks (deleted_at) WHERE deleted_at IS NOT NULL; -- what to erase
CREATE INDEX webhooks_changed ON webhooks (partition, changed); -- the owner asks what changed

CREATE TABLE rules (
    webhook     BIGINT NOT NULL,
    from_offset BIGINT NOT NULL,
    topics      TEXT COLLATE "C" NOT NULL,
    filter      TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (webhook, from_offset)
);

CREATE TABLE cursors (
    webhook              BIGINT PRIMARY KEY,
    detached             BIGINT NOT NULL,
    "offset"              BIGINT NOT NULL,
    sequence             BIGINT NOT NULL,
    delivered            BIGINT NOT NULL DEFAULT 0,
    failed               BIGINT NOT NULL DEFAULT 0,
    skipped              BIGINT NOT NULL DEFAULT 0,
    failing_since        BIGINT,
    failing_hours        BIGINT NOT NULL DEFAULT 0,
    last_failing_hour    BIGINT NOT NULL DEFAULT 0,
    consecutive_failures BIGINT NOT NULL DEFAULT 0,
    last_success_at      BIGINT,
    last_failure_at      BIGINT,
    probe_at             BIGINT,
    probe_step           BIGINT NOT NULL DEFAULT 0
);

CREATE TABLE events (
    partition   BIGINT NOT NULL,
    "offset"    BIGINT NOT NULL,
    id          TEXT COLLATE "C" NOT NULL,
    company     BIGINT NOT NULL,
    topic       TEXT COLLATE "C" NOT NULL,
    object_key  TEXT COLLATE "C" NOT NULL,
    data        BYTEA NOT NULL,
    digest      BYTEA NOT NULL,
    occurred_at BIGINT,
    accepted_at BIGINT NOT NULL,
    PRIMARY KEY (partition, "offset")
);
CREATE UNIQUE INDEX events_id ON events (company, id);
CREATE INDEX events_company ON events (company, "offset", topic, object_key); -- a backlog is read without payloads
CREATE INDEX events_object ON events (company, object_key, "offset", topic) WHERE object_key <> '';

CREATE TABLE attempts (
    webhook        BIGINT NOT NULL,
    "offset"        BIGINT NOT NULL,
    number         BIGINT NOT NULL,
    sequence       BIGINT NOT NULL,
    kind           TEXT COLLATE "C" NOT NULL,
    counted        BIGINT NOT NULL,
    version        BIGINT NOT NULL,
    timestamp_text TEXT COLLATE "C" NOT NULL,
    format         TEXT COLLATE "C" NOT NULL,
    replay         BIGINT NOT NULL,
    started_at     BIGINT NOT NULL,
    dns_us         BIGINT NOT NULL,
    connect_us     BIGINT NOT NULL,
    tls_us         BIGINT NOT NULL,
    first_byte_us  BIGINT NOT NULL,
    total_us       BIGINT NOT NULL,
    outcome        TEXT COLLATE "C" NOT NULL,
    status_code    BIGINT NOT NULL,
    error_class    TEXT COLLATE "C" NOT NULL,
    error_detail   BYTEA NOT NULL,
    answer_header  BYTEA,
    answer_body    BYTEA,
    PRIMARY KEY (webhook, "offset", number)
);
CREATE INDEX attempts_failed ON attempts (webhook, "offset", outcome) WHERE outcome <> 'delivered';
CREATE INDEX attempts_sequence ON attempts (webhook, sequence) WHERE number = 1 AND kind = 'live';

-- What the last 20 successes of a webhook answered: a ring, so that it never needs a purge.
CREATE TABLE answers (
    webhook BIGINT NOT NULL,
    slot    BIGINT NOT NULL,
    "offset" BIGINT NOT NULL,
    number  BIGINT NOT NULL,
    header  BYTEA NOT NULL,
    body    BYTEA NOT NULL,
    PRIMARY KEY (webhook, slot)
);

CREATE TABLE parked (
    webhook    BIGINT NOT NULL,
    kind       TEXT COLLATE "C" NOT NULL,
    "offset"    BIGINT NOT NULL,
    partition  BIGINT NOT NULL,
    sequence   BIGINT NOT NULL,
    object_key TEXT COLLATE "C" NOT NULL,
    attempts   BIGINT NOT NULL,
    step       BIGINT NOT NULL,
    due_at     BIGINT,
    reason     TEXT COLLATE "C" NOT NULL,
    replay     BIGINT NOT NULL,
    PRIMARY KEY (webhook, kind, "offset")
);
CREATE INDEX parked_due ON parked (partition, due_at) WHERE due_at IS NOT NULL; -- what to load next
CREATE INDEX parked_webhook ON parked (webhook, due_at) WHERE due_at IS NOT NULL;   -- what a lane loads next
CREATE INDEX parked_object ON parked (webhook, object_key, "offset");             -- what a settled delivery releases

CREATE TABLE skips (
    webhook     BIGINT NOT NULL,
    from_offset BIGINT NOT NULL,
    to_offset   BIGINT NOT NULL,
    reason      TEXT COLLATE "C" NOT NULL,
    at          BIGINT NOT NULL,
    PRIMARY KEY (webhook, from_offset, to_offset)
);

-- Results that the store itself refused, with the reason: set aside so that their group could be recorded.
CREATE TABLE unrecordable (
    webhook BIGINT NOT NULL,
    "offset" BIGINT NOT NULL,
    number  BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    error   BYTEA NOT NULL,
    PRIMARY KEY (webhook, "offset", number)
);

CREATE TABLE stats (
    webhook   BIGINT NOT NULL,
    bucket    BIGINT NOT NULL,                 -- minutes since 1970
    delivered BIGINT NOT NULL,
    failed    BIGINT NOT NULL,
    retried   BIGINT NOT NULL,
    latency   BYTEA NOT NULL,                    -- histogram of the endpoint's answers
    arrival   BYTEA NOT NULL,                    -- histogram of accept to delivered
    PRIMARY KEY (webhook, bucket)
);

CREATE TABLE replays (
    key         BIGINT PRIMARY KEY,
    id          TEXT COLLATE "C" NOT NULL UNIQUE,
    webhook     BIGINT NOT NULL,
    status      TEXT COLLATE "C" NOT NULL,                  -- running, done, cancelled
    from_at     BIGINT NOT NULL,               -- as asked for
    to_at       BIGINT,
    from_offset BIGINT NOT NULL,               -- first offset to look at
    to_offset   BIGINT NOT NULL,               -- last one
    place       BIGINT NOT NULL,               -- offsets up to here have been looked at
    covers      TEXT COLLATE "C" NOT NULL,                  -- all, failed, undelivered
    topic       TEXT COLLATE "C" NOT NULL,
    rate        DOUBLE PRECISION NOT NULL,
    started     BIGINT NOT NULL DEFAULT 0,
    delivered   BIGINT NOT NULL DEFAULT 0,
    failed      BIGINT NOT NULL DEFAULT 0,
    created_at  BIGINT NOT NULL,
    finished_at BIGINT
);
CREATE INDEX replays_webhook ON replays (webhook, key);
CREATE UNIQUE INDEX replays_running ON replays (webhook) WHERE status = 'running'; -- one at a time

-- Test deliveries, beside the lane.
CREATE TABLE tests (
    id       TEXT COLLATE "C" PRIMARY KEY,
    webhook  BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    topic    TEXT COLLATE "C" NOT NULL,
    data     BYTEA NOT NULL,
    attempt  BYTEA NOT NULL                      -- JSON
);
CREATE INDEX tests_webhook ON tests (webhook, id);

CREATE TABLE notices (
    id      TEXT COLLATE "C" PRIMARY KEY,
    company BIGINT NOT NULL,
    webhook BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    kind    TEXT COLLATE "C" NOT NULL,                      -- down, recovered, disabled, expiring, expired, unrecordable
    detail  TEXT COLLATE "C" NOT NULL
);
CREATE INDEX notices_company ON notices (company, id);

-- +goose Down
