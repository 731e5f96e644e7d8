-- The outbox of Atlas Webhooks on Postgres 12 or later: one table, into which a producer writes in the
-- transaction that changes its own data, and from which the relay takes what was committed.
--
-- Producers need INSERT on the table (and EXECUTE on the functions), the relay SELECT and DELETE.

CREATE TABLE IF NOT EXISTS atlas_webhooks_outbox (
    -- Order within an object: a transaction that has the object's lock takes the id while it holds it. The
    -- sequence must not have a CACHE, by which sessions would number ahead.
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    uuid        uuid NOT NULL DEFAULT gen_random_uuid(), -- the event's id: accepted once, however often it is read
    company_id  text NOT NULL,
    event       text,        -- the topic; NULL for a change
    object_type text,        -- conversation, customer, customer_note or account, of a change; NULL for an event
    object_id   text,        -- NULL: the document's id
    data        json,        -- of an event; the type json keeps the text as it was written
    before_data json,        -- of a change; NULL: the object was created
    after_data  json,        -- of a change; NULL: the object was deleted
    occurred_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT atlas_webhooks_event_or_change CHECK ((event IS NULL) <> (object_type IS NULL))
) WITH (
    -- Rows live for a moment: what is dead goes soon, whatever the table's size.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_cost_delay = 0
);

-- Call it behind the statement that changed the object, so that the id is taken while its lock is held.
CREATE OR REPLACE FUNCTION atlas_webhooks_publish(
    company_id text, event text, data json, object_id text DEFAULT NULL,
    occurred_at timestamptz DEFAULT NULL, uuid uuid DEFAULT gen_random_uuid()
) RETURNS uuid LANGUAGE sql AS $$
    INSERT INTO atlas_webhooks_outbox (uuid, company_id, event, object_id, data, occurred_at)
    VALUES ($6, $1, $2, $4, $3, $5) RETURNING uuid
$$;

CREATE OR REPLACE FUNCTION atlas_webhooks_publish_change(
    company_id text, object_type text, before_data json, after_data json,
    occurred_at timestamptz DEFAULT NULL, uuid uuid DEFAULT gen_random_uuid()
) RETURNS uuid LANGUAGE sql AS $$
    INSERT INTO atlas_webhooks_outbox (uuid, company_id, object_type, before_data, after_data, occurred_at)
    VALUES ($6, $1, $2, $3, $4, $5) RETURNING uuid
$$;
