-- +goose Up

-- Facts about this database: when it was made, the counters that hand out keys.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta (name, value) VALUES ('company_key', 0), ('webhook_key', 0), ('replay_key', 0);

CREATE TABLE companies (
    key              INTEGER PRIMARY KEY,
    id               TEXT NOT NULL UNIQUE,
    partition        INTEGER NOT NULL,
    signature_scheme TEXT NOT NULL DEFAULT '', -- '' = the server's default
    data_format      TEXT NOT NULL DEFAULT '',
    allow_networks   TEXT NOT NULL DEFAULT '', -- CIDRs, comma-separated
    max_webhooks     INTEGER NOT NULL DEFAULT 0, -- 0 = no limit
    purged_offset    INTEGER NOT NULL DEFAULT 0, -- events up to here are gone, or going
    created_at       INTEGER NOT NULL,          -- here and everywhere: microseconds since 1970, UTC
    updated_at       INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    company      INTEGER NOT NULL,              -- 0 = operator key
    name         TEXT NOT NULL,
    scope        TEXT NOT NULL,                 -- operator, write, read
    hash         BLOB NOT NULL UNIQUE,          -- SHA-256 of the whole text
    hint         TEXT NOT NULL,                 -- its last four characters
    created_by   TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_company ON api_keys (company, id);

-- Links that open the console, once each, and the sessions that they opened.
CREATE TABLE links (
    id                 TEXT PRIMARY KEY,
    company            INTEGER NOT NULL,
    scope              TEXT NOT NULL,           -- write, read
    maker              BLOB NOT NULL,           -- hash of the key that made it, with which it ends
    token_hash         BLOB NOT NULL UNIQUE,
    created_by         TEXT NOT NULL,
    created_at         INTEGER NOT NULL,
    expires_at         INTEGER NOT NULL,        -- of the token
    used_at            INTEGER,
    session_hash       BLOB UNIQUE,
    session_expires_at INTEGER,
    revoked_at         INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX links_company ON links (company, id);
CREATE INDEX links_age ON links (created_at);

CREATE TABLE audit (
    id         TEXT PRIMARY KEY,
    company    INTEGER NOT NULL,                -- 0 = none
    at         INTEGER NOT NULL,
    actor      TEXT NOT NULL,                   -- a key's id, 'operator' or 'engine'
    action     TEXT NOT NULL,
    object     TEXT NOT NULL,                   -- the id of what was changed
    request_id TEXT NOT NULL,
    detail     TEXT NOT NULL                    -- a JSON object
) STRICT, WITHOUT ROWID;
CREATE INDEX audit_company ON audit (company, id);

-- Answers to POSTs that carried an Idempotency-Key.
CREATE TABLE idempotency (
    company    INTEGER NOT NULL,
    key        TEXT NOT NULL,
    route      TEXT NOT NULL,
    digest     BLOB NOT NULL,
    status     INTEGER NOT NULL,
    answer     BLOB NOT NULL,                   -- sealed: it can hold a secret
    created_at INTEGER NOT NULL,
    PRIMARY KEY (company, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_age ON idempotency (created_at);

-- One row a partition: its owner, the low-water mark of its attached webhooks, and the count of
-- configuration changes in it.
CREATE TABLE owners (
    partition      INTEGER PRIMARY KEY,
    node_id        TEXT NOT NULL DEFAULT '',
    swept          INTEGER NOT NULL DEFAULT 0,
    config_version INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO owners (partition) VALUES (0);

CREATE TABLE webhooks (
    key                 INTEGER PRIMARY KEY,
    id                  TEXT NOT NULL UNIQUE,
    company             INTEGER NOT NULL,
    partition           INTEGER NOT NULL,
    endpoint            TEXT NOT NULL,
    endpoint_version    INTEGER NOT NULL,
    endpoint_since      INTEGER NOT NULL,
    status              TEXT NOT NULL,
    status_reason       TEXT NOT NULL,
    topics              TEXT NOT NULL,          -- JSON array of patterns
    filter              TEXT NOT NULL,
    description         TEXT NOT NULL,
    metadata            TEXT NOT NULL,          -- JSON object
    signature_scheme    TEXT NOT NULL,
    data_format         TEXT NOT NULL,
    headers             BLOB NOT NULL,          -- sealed JSON array
    ordering            TEXT NOT NULL,
    max_concurrency     INTEGER NOT NULL,
    rate_limit          REAL NOT NULL,
    timeout_ms          INTEGER NOT NULL,
    retry_schedule      TEXT NOT NULL,          -- JSON array of seconds
    secret              BLOB NOT NULL,          -- sealed
    previous_secret     BLOB,                   -- sealed; during a rotation
    previous_expires_at INTEGER,
    secret_activated    INTEGER NOT NULL DEFAULT 0,
    version             INTEGER NOT NULL,
    changed             INTEGER NOT NULL,       -- owners.config_version of its last change
    created_at          INTEGER NOT NULL,
    updated_at          INTEGER NOT NULL,
    deleted_at          INTEGER
) STRICT;
CREATE INDEX webhooks_company ON webhooks (company, id) WHERE deleted_at IS NULL;
CREATE INDEX webhooks_endpoint ON webhooks (company, endpoint) WHERE deleted_at IS NULL; -- is there a duplicate?
CREATE INDEX webhooks_expiring ON webhooks (previous_expires_at) WHERE previous_expires_at IS NOT NULL;
CREATE INDEX webhooks_deleted ON webhooks (deleted_at) WHERE deleted_at IS NOT NULL; -- what to erase
CREATE INDEX webhooks_changed ON webhooks (partition, changed); -- the owner asks what changed

CREATE TABLE rules (
    webhook     INTEGER NOT NULL,
    from_offset INTEGER NOT NULL,
    topics      TEXT NOT NULL,
    filter      TEXT NOT NULL,
    PRIMARY KEY (webhook, from_offset)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors (
    webhook              INTEGER PRIMARY KEY,
    detached             INTEGER NOT NULL,
    offset               INTEGER NOT NULL,
    sequence             INTEGER NOT NULL,
    delivered            INTEGER NOT NULL DEFAULT 0,
    failed               INTEGER NOT NULL DEFAULT 0,
    skipped              INTEGER NOT NULL DEFAULT 0,
    failing_since        INTEGER,
    failing_hours        INTEGER NOT NULL DEFAULT 0,
    last_failing_hour    INTEGER NOT NULL DEFAULT 0,
    consecutive_failures INTEGER NOT NULL DEFAULT 0,
    last_success_at      INTEGER,
    last_failure_at      INTEGER,
    probe_at             INTEGER,
    probe_step           INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE events (
    offset      INTEGER PRIMARY KEY,
    id          TEXT NOT NULL,
    company     INTEGER NOT NULL,
    topic       TEXT NOT NULL,
    object_key  TEXT NOT NULL,
    data        BLOB NOT NULL,
    digest      BLOB NOT NULL,
    occurred_at INTEGER,
    accepted_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_id ON events (company, id);
CREATE INDEX events_company ON events (company, offset, topic, object_key); -- a backlog is read without payloads
CREATE INDEX events_object ON events (company, object_key, offset, topic) WHERE object_key <> '';

CREATE TABLE attempts (
    webhook        INTEGER NOT NULL,
    offset         INTEGER NOT NULL,
    number         INTEGER NOT NULL,
    sequence       INTEGER NOT NULL,
    kind           TEXT NOT NULL,
    counted        INTEGER NOT NULL,
    version        INTEGER NOT NULL,
    timestamp_text TEXT NOT NULL,
    format         TEXT NOT NULL,
    replay         INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    dns_us         INTEGER NOT NULL,
    connect_us     INTEGER NOT NULL,
    tls_us         INTEGER NOT NULL,
    first_byte_us  INTEGER NOT NULL,
    total_us       INTEGER NOT NULL,
    outcome        TEXT NOT NULL,
    status_code    INTEGER NOT NULL,
    error_class    TEXT NOT NULL,
    error_detail   BLOB NOT NULL,
    answer_header  BLOB,
    answer_body    BLOB,
    PRIMARY KEY (webhook, offset, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_failed ON attempts (webhook, offset, outcome) WHERE outcome <> 'delivered';
CREATE INDEX attempts_sequence ON attempts (webhook, sequence) WHERE number = 1 AND kind = 'live';

-- What the last 20 successes of a webhook answered: a ring, so that it never needs a purge.
CREATE TABLE answers (
    webhook INTEGER NOT NULL,
    slot    INTEGER NOT NULL,
    offset  INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    header  BLOB NOT NULL,
    body    BLOB NOT NULL,
    PRIMARY KEY (webhook, slot)
) STRICT, WITHOUT ROWID;

CREATE TABLE parked (
    webhook    INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    offset     INTEGER NOT NULL,
    partition  INTEGER NOT NULL,
    sequence   INTEGER NOT NULL,
    object_key TEXT NOT NULL,
    attempts   INTEGER NOT NULL,
    step       INTEGER NOT NULL,
    due_at     INTEGER,
    reason     TEXT NOT NULL,
    replay     INTEGER NOT NULL,
    PRIMARY KEY (webhook, kind, offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX parked_due ON parked (partition, due_at) WHERE due_at IS NOT NULL; -- what to load next
CREATE INDEX parked_webhook ON parked (webhook, due_at) WHERE due_at IS NOT NULL;   -- what a lane loads next
CREATE INDEX parked_object ON parked (webhook, object_key, offset);             -- what a settled delivery releases

CREATE TABLE skips (
    webhook     INTEGER NOT NULL,
    from_offset INTEGER NOT NULL,
    to_offset   INTEGER NOT NULL,
    reason      TEXT NOT NULL,
    at          INTEGER NOT NULL,
    PRIMARY KEY (webhook, from_offset, to_offset)
) STRICT, WITHOUT ROWID;

-- Results that the store itself refused, with the reason: set aside so that their group could be recorded.
CREATE TABLE unrecordable (
    webhook INTEGER NOT NULL,
    offset  INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    error   BLOB NOT NULL,
    PRIMARY KEY (webhook, offset, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE stats (
    webhook   INTEGER NOT NULL,
    bucket    INTEGER NOT NULL,                 -- minutes since 1970
    delivered INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    retried   INTEGER NOT NULL,
    latency   BLOB NOT NULL,                    -- histogram of the endpoint's answers
    arrival   BLOB NOT NULL,                    -- histogram of accept to delivered
    PRIMARY KEY (webhook, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE replays (
    key         INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
    webhook     INTEGER NOT NULL,
    status      TEXT NOT NULL,                  -- running, done, cancelled
    from_at     INTEGER NOT NULL,               -- as asked for
    to_at       INTEGER,
    from_offset INTEGER NOT NULL,               -- first offset to look at
    to_offset   INTEGER NOT NULL,               -- last one
    place       INTEGER NOT NULL,               -- offsets up to here have been looked at
    covers      TEXT NOT NULL,                  -- all, failed, undelivered
    topic       TEXT NOT NULL,
    rate        REAL NOT NULL,
    started     INTEGER NOT NULL DEFAULT 0,
    delivered   INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    created_at  INTEGER NOT NULL,
    finished_at INTEGER
) STRICT;
CREATE INDEX replays_webhook ON replays (webhook, key);
CREATE UNIQUE INDEX replays_running ON replays (webhook) WHERE status = 'running'; -- one at a time

-- Test deliveries, beside the lane.
CREATE TABLE tests (
    id       TEXT PRIMARY KEY,
    webhook  INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    topic    TEXT NOT NULL,
    data     BLOB NOT NULL,
    attempt  BLOB NOT NULL                      -- JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX tests_webhook ON tests (webhook, id);

CREATE TABLE notices (
    id      TEXT PRIMARY KEY,
    company INTEGER NOT NULL,
    webhook INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    kind    TEXT NOT NULL,                      -- down, recovered, disabled, expiring, expired, unrecordable
    detail  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX notices_company ON notices (company, id);

-- +goose Down
