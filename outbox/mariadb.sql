-- The outbox of Atlas Webhooks on MariaDB 10.6 or MySQL 8.0.13, or later: one table, into which a producer
-- writes in the transaction that changes its own data, and from which the relay takes what was committed.
--
-- Producers need INSERT on the table (and EXECUTE on the procedures), the relay SELECT and DELETE.

CREATE TABLE IF NOT EXISTS atlas_webhooks_outbox (
    -- Order within an object: a transaction that has the object's lock takes the id while it holds it.
    id          BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    uuid        CHAR(36) CHARACTER SET ascii NOT NULL DEFAULT (UUID()), -- the event's id: accepted once, however often it is read
    company_id  VARCHAR(255) NOT NULL,
    event       VARCHAR(255), -- the topic; NULL for a change
    object_type VARCHAR(255), -- conversation, customer, customer_note or account, of a change; NULL for an event
    object_id   VARCHAR(1024), -- NULL: the document's id
    data        LONGTEXT,     -- of an event; a text, because the type JSON refuses or rewrites some documents
    before_data LONGTEXT,     -- of a change; NULL: the object was created
    after_data  LONGTEXT,     -- of a change; NULL: the object was deleted
    occurred_at DATETIME(6),  -- in UTC
    created_at  DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    CONSTRAINT atlas_webhooks_event_or_change CHECK ((event IS NULL) <> (object_type IS NULL))
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Call it behind the statement that changed the object, so that the id is taken while its lock is held.
DROP PROCEDURE IF EXISTS atlas_webhooks_publish;
CREATE PROCEDURE atlas_webhooks_publish(
    IN p_company_id VARCHAR(255) CHARACTER SET utf8mb4, IN p_event VARCHAR(255) CHARACTER SET utf8mb4,
    IN p_data LONGTEXT CHARACTER SET utf8mb4, IN p_object_id VARCHAR(1024) CHARACTER SET utf8mb4
) INSERT INTO atlas_webhooks_outbox (company_id, event, data, object_id) VALUES (p_company_id, p_event, p_data, p_object_id);

DROP PROCEDURE IF EXISTS atlas_webhooks_publish_change;
CREATE PROCEDURE atlas_webhooks_publish_change(
    IN p_company_id VARCHAR(255) CHARACTER SET utf8mb4, IN p_object_type VARCHAR(255) CHARACTER SET utf8mb4,
    IN p_before LONGTEXT CHARACTER SET utf8mb4, IN p_after LONGTEXT CHARACTER SET utf8mb4
) INSERT INTO atlas_webhooks_outbox (company_id, object_type, before_data, after_data) VALUES (p_company_id, p_object_type, p_before, p_after);
