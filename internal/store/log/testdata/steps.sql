SAVEPOINT one
2 attempts
INSERT INTO parked (webhook, kind, "offset", partition, sequence, object_key, attempts, step, due_at, parked_at, reason, replay, throttles) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (webhook, kind, "offset") DO UPDATE SET attempts = excluded.attempts, step = excluded.step, due_at = excluded.due_at, parked_at = excluded.parked_at, reason = excluded.reason, replay = excluded.replay, throttles = excluded.throttles
  $1 = int64 1
  $2 = string "live"
  $3 = int64 2
  $4 = int64 3
  $5 = int64 4
  $6 = string "o"
  $7 = int64 5
  $8 = int64 6
  $9 = int64 1772366460000000
  $10 = int64 1772366400000000
  $11 = string "why"
  $12 = int64 8
  $13 = int64 7
DELETE FROM parked WHERE webhook = $1 AND kind = $2 AND "offset" = $3
  $1 = int64 1
  $2 = string "live"
  $3 = int64 3
DELETE FROM parked WHERE webhook = $1 AND kind IN ('live', 'manual', 'replay') AND "offset" = $2 RETURNING webhook, kind, "offset", partition, sequence, object_key, attempts, step, throttles, due_at, parked_at, CASE WHEN kind = 'replay' AND EXISTS (SELECT 1 FROM replays r WHERE r.key = parked.replay AND r.status = 'cancelled') THEN 'cancelled' ELSE reason END, replay, (SELECT coalesce(max(a.number), 0) FROM attempts a WHERE a.webhook = parked.webhook AND a."offset" = parked."offset")
  $1 = int64 1
  $2 = int64 14
UPDATE parked SET due_at = $1, parked_at = $1, reason = 'released' WHERE webhook = $2 AND kind = 'live' AND "offset" = $3 AND due_at IS NULL RETURNING webhook, kind, "offset", partition, sequence, object_key, attempts, step, throttles, due_at, parked_at, CASE WHEN kind = 'replay' AND EXISTS (SELECT 1 FROM replays r WHERE r.key = parked.replay AND r.status = 'cancelled') THEN 'cancelled' ELSE reason END, replay, (SELECT coalesce(max(a.number), 0) FROM attempts a WHERE a.webhook = parked.webhook AND a."offset" = parked."offset")
  $1 = int64 1772366400000000
  $2 = int64 1
  $3 = int64 4
UPDATE parked SET due_at = $1, parked_at = $1, reason = 'released' WHERE webhook = $2 AND kind = 'live' AND due_at IS NULL AND "offset" = (SELECT min("offset") FROM parked WHERE webhook = $2 AND object_key = $3 AND kind = 'live') RETURNING webhook, kind, "offset", partition, sequence, object_key, attempts, step, throttles, due_at, parked_at, CASE WHEN kind = 'replay' AND EXISTS (SELECT 1 FROM replays r WHERE r.key = parked.replay AND r.status = 'cancelled') THEN 'cancelled' ELSE reason END, replay, (SELECT coalesce(max(a.number), 0) FROM attempts a WHERE a.webhook = parked.webhook AND a."offset" = parked."offset")
  $1 = int64 1772366400000000
  $2 = int64 1
  $3 = string "p"
UPDATE cursors SET detached = $1, "offset" = $2, sequence = $3, delivered = delivered + $4, failed = failed + $5, skipped = skipped + $6, failing_since = $7, failing_hours = $8, last_failing_hour = $9, consecutive_failures = $10, last_success_at = $11, last_failure_at = $12, probe_at = $13, probe_step = $14 WHERE webhook = $15 AND "offset" <= $2 AND sequence <= $3
  $1 = int64 1
  $2 = int64 2
  $3 = int64 3
  $4 = int64 4
  $5 = int64 5
  $6 = int64 6
  $7 = int64 1772366400000000
  $8 = int64 7
  $9 = int64 8
  $10 = int64 9
  $11 = int64 1772366460000000
  $12 = <nil> null
  $13 = int64 1772366400000000
  $14 = int64 10
  $15 = int64 1
UPDATE cursors SET not_before = $1, gate_wait_us = $2, gate_reason = $3, gate_version = $4, throttles = $5 WHERE webhook = $6
  $1 = int64 1772366460000000
  $2 = int64 1000000
  $3 = string "wait"
  $4 = int64 2
  $5 = int64 3
  $6 = int64 1
UPDATE owners SET swept = $1 WHERE partition = $2 AND swept < $1
  $1 = int64 5
  $2 = int64 4
UPDATE replays SET place = CASE WHEN place < $1 THEN $1 ELSE place END, started = started + $2, delivered = delivered + $3, failed = failed + $4 WHERE key = $5
  $1 = int64 2
  $2 = int64 3
  $3 = int64 4
  $4 = int64 5
  $5 = int64 1
UPDATE replays SET status = 'done', finished_at = $1 WHERE key = $2 AND status = 'running'
  $1 = int64 1772366400000000
  $2 = int64 1
DELETE FROM parked WHERE kind = 'replay' AND replay = $1 AND webhook = (SELECT webhook FROM replays WHERE key = $1 AND status = 'cancelled')
  $1 = int64 1
UPDATE owners SET config_version = config_version + 1 WHERE partition = $1 RETURNING config_version
  $1 = int64 2
UPDATE webhooks SET status = $1, status_reason = $2, version = version + 1, changed = $3, updated_at = $4 WHERE key = $5 AND endpoint_version = $6 AND status = 'ACTIVE' AND deleted_at IS NULL
  $1 = string "INACTIVE"
  $2 = string "gone"
  $3 = int64 0
  $4 = int64 1772366400000000
  $5 = int64 1
  $6 = int64 3
INSERT INTO notices (id, company, webhook, at, kind, detail) SELECT $1, company, key, $2, $3, $4 FROM webhooks WHERE key = $5
  $1 = string "id"
  $2 = int64 1772366400000000
  $3 = string "disabled"
  $4 = string "since then"
  $5 = int64 1
INSERT INTO audit (id, company, at, actor, action, object, request_id, detail) SELECT $1, company, $2, 'engine', 'webhook.disabled', id, '', $3 FROM webhooks WHERE key = $4
  $1 = string "id"
  $2 = int64 1772366400000000
  $3 = string "{\"reason\":\"gone\"}"
  $4 = int64 1
RELEASE one
UPDATE parked SET due_at = due_at - parked_at + $1, parked_at = $1 WHERE (webhook, kind, "offset") IN ( SELECT webhook, kind, "offset" FROM parked WHERE partition = $2 AND due_at IS NOT NULL AND parked_at > $3 LIMIT $4)
  $1 = int64 1772366400000000
  $2 = int64 6
  $3 = int64 1772366405000000
  $4 = int64 1000
UPDATE parked SET due_at = $1, parked_at = $1, throttles = 0 WHERE webhook = $2 AND (kind, "offset") IN (SELECT kind, "offset" FROM parked WHERE webhook = $2 AND due_at > $1 AND parked_at BETWEEN $3 AND $1 ORDER BY due_at LIMIT $4)
  $1 = int64 1772366400000000
  $2 = int64 7
  $3 = int64 8
  $4 = int64 1000
SAVEPOINT one
SELECT latency, arrival FROM stats WHERE webhook = $1 AND bucket = $2
  $1 = int64 1
  $2 = int64 2
INSERT INTO stats (webhook, bucket, delivered, failed, retried, latency, arrival) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (webhook, bucket) DO UPDATE SET delivered = stats.delivered + excluded.delivered, failed = stats.failed + excluded.failed, retried = stats.retried + excluded.retried, latency = excluded.latency, arrival = excluded.arrival
  $1 = int64 1
  $2 = int64 2
  $3 = int64 3
  $4 = int64 4
  $5 = int64 5
  $6 = []uint8 "\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
  $7 = []uint8 "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
INSERT INTO answers (webhook, slot, "offset", number, header, body) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (webhook, slot) DO UPDATE SET "offset" = excluded."offset", number = excluded.number, header = excluded.header, body = excluded.body
  $1 = int64 1
  $2 = int64 2
  $3 = int64 3
  $4 = int64 4
  $5 = []uint8 "h"
  $6 = []uint8 ""
INSERT INTO notices (id, company, webhook, at, kind, detail) SELECT $1, company, key, $2, $3, $4 FROM webhooks WHERE key = $5
  $1 = string "id"
  $2 = int64 1772366400000000
  $3 = string "down"
  $4 = string "since then"
  $5 = int64 1
RELEASE one
