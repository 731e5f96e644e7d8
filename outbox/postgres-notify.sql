
-- Wakes the relay at the commit, so that it need not ask. Postgres lets transactions that notify commit one
-- after the other: leave it out (outbox sql --notify=false) where many commit at once; the relay asks then.
CREATE OR REPLACE FUNCTION atlas_webhooks_outbox_notify() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('atlas_webhooks_outbox', '');
    RETURN NULL;
END
$$;

DROP TRIGGER IF EXISTS atlas_webhooks_outbox_notify ON atlas_webhooks_outbox;
CREATE TRIGGER atlas_webhooks_outbox_notify AFTER INSERT ON atlas_webhooks_outbox
    FOR EACH STATEMENT EXECUTE FUNCTION atlas_webhooks_outbox_notify();
