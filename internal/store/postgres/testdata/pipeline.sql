BEGIN ISOLATION LEVEL READ COMMITTED
SELECT s.webhook, s.bucket, s.delivered, s.failed, s.retried, s.latency, s.arrival FROM unnest($1::bigint[], $2::bigint[]) AS g (webhook, bucket) JOIN stats s ON s.webhook = g.webhook AND s.bucket = g.bucket
  $1 = []int64 [1]
  $2 = []int64 [2]
UPDATE replays r SET place = greatest(r.place, g.place), started = r.started + g.started, delivered = r.delivered + g.delivered, failed = r.failed + g.failed, status = CASE WHEN g.done AND r.status = 'running' THEN 'done' ELSE r.status END, finished_at = CASE WHEN g.done AND r.status = 'running' THEN $1 ELSE r.finished_at END FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[]) AS g (key, place, started, delivered, failed, done) WHERE r.key = g.key
  $1 = int64 1772366400000000
  $2 = []int64 [1]
  $3 = []int64 [2]
  $4 = []int64 [3]
  $5 = []int64 [4]
  $6 = []int64 [5]
  $7 = []bool [true]
INSERT INTO attempts (webhook, "offset", number, sequence, kind, counted, version, timestamp_text, format, replay, started_at, dns_us, connect_us, tls_us, first_byte_us, total_us, reused, outcome, status_code, error_class, error_detail, answer_header, answer_body) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::text[], $19::bigint[], $20::text[], $21::bytea[], $22::bytea[], $23::bytea[])
  $1 = []int64 [1 1]
  $2 = []int64 [2 14]
  $3 = []int64 [3 1]
  $4 = []int64 [4 0]
  $5 = []string ["live" "manual"]
  $6 = []int64 [1 0]
  $7 = []int64 [5 0]
  $8 = []string ["6" ""]
  $9 = []string ["string" ""]
  $10 = []int64 [7 0]
  $11 = []int64 [1772366400000000 1772366400000000]
  $12 = []int64 [8 0]
  $13 = []int64 [9 0]
  $14 = []int64 [10 0]
  $15 = []int64 [11 0]
  $16 = []int64 [12 0]
  $17 = []int64 [1 0]
  $18 = []string ["retry" "delivered"]
  $19 = []int64 [13 0]
  $20 = []string ["unrecordable" ""]
  $21 = [][]uint8 ["detail" ""]
  $22 = [][]uint8 ["header" null]
  $23 = [][]uint8 ["" null]
INSERT INTO parked (webhook, kind, "offset", partition, sequence, object_key, attempts, step, due_at, parked_at, reason, replay, throttles) SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::bigint[], $13::bigint[]) ON CONFLICT (webhook, kind, "offset") DO UPDATE SET attempts = excluded.attempts, step = excluded.step, due_at = excluded.due_at, parked_at = excluded.parked_at, reason = excluded.reason, replay = excluded.replay, throttles = excluded.throttles
  $1 = []int64 [1]
  $2 = []string ["live"]
  $3 = []int64 [2]
  $4 = []int64 [3]
  $5 = []int64 [4]
  $6 = []string ["o"]
  $7 = []int64 [5]
  $8 = []int64 [6]
  $9 = []*int64 [1772366460000000]
  $10 = []int64 [1772366400000000]
  $11 = []string ["why"]
  $12 = []int64 [8]
  $13 = []int64 [7]
DELETE FROM parked USING unnest($1::bigint[], $2::text[], $3::bigint[]) AS g (webhook, kind, "offset") WHERE parked.webhook = g.webhook AND parked.kind = g.kind AND parked."offset" = g."offset"
  $1 = []int64 [1]
  $2 = []string ["live"]
  $3 = []int64 [3]
SELECT FROM replays WHERE key IN ( SELECT replay FROM parked JOIN unnest($1::bigint[], $2::bigint[]) AS g (of, at) ON webhook = g.of AND "offset" = g.at WHERE kind = 'replay') FOR NO KEY UPDATE
  $1 = []int64 [1]
  $2 = []int64 [14]
WITH gone AS ( DELETE FROM parked USING unnest($1::bigint[], $2::bigint[]) AS g (of, at) WHERE webhook = g.of AND kind IN ('live', 'manual', 'replay') AND "offset" = g.at RETURNING webhook, kind, "offset", partition, sequence, object_key, attempts, step, throttles, due_at, parked_at, CASE WHEN kind = 'replay' AND EXISTS (SELECT 1 FROM replays r WHERE r.key = parked.replay AND r.status = 'cancelled') THEN 'cancelled' ELSE reason END, replay, (SELECT coalesce(max(a.number), 0) FROM attempts a WHERE a.webhook = parked.webhook AND a."offset" = parked."offset") ), counted AS ( UPDATE cursors SET delivered = delivered + x.n FROM (SELECT webhook AS of, count(*) AS n FROM gone WHERE kind = 'live' GROUP BY webhook) AS x WHERE webhook = x.of ), replayed AS ( UPDATE replays SET delivered = delivered + x.n FROM (SELECT replay AS of, count(*) AS n FROM gone WHERE kind = 'replay' GROUP BY replay) AS x WHERE key = x.of ) SELECT * FROM gone
  $1 = []int64 [1]
  $2 = []int64 [14]
UPDATE parked SET due_at = $1, parked_at = $1, reason = 'released' FROM unnest($2::bigint[], $3::bigint[]) AS g (of, at) WHERE webhook = g.of AND kind = 'live' AND "offset" = g.at AND due_at IS NULL RETURNING webhook, kind, "offset", partition, sequence, object_key, attempts, step, throttles, due_at, parked_at, CASE WHEN kind = 'replay' AND EXISTS (SELECT 1 FROM replays r WHERE r.key = parked.replay AND r.status = 'cancelled') THEN 'cancelled' ELSE reason END, replay, (SELECT coalesce(max(a.number), 0) FROM attempts a WHERE a.webhook = parked.webhook AND a."offset" = parked."offset")
  $1 = int64 1772366400000000
  $2 = []int64 [1]
  $3 = []int64 [4]
UPDATE parked SET due_at = $1, parked_at = $1, reason = 'released' FROM ( SELECT DISTINCT g.of, f.at FROM unnest($2::bigint[], $3::text[]) AS g (of, object) CROSS JOIN LATERAL ( SELECT min(e."offset") AS at FROM parked e WHERE e.webhook = g.of AND e.object_key = g.object AND e.kind = 'live') AS f) AS g WHERE webhook = g.of AND kind = 'live' AND "offset" = g.at AND due_at IS NULL RETURNING webhook, kind, "offset", partition, sequence, object_key, attempts, step, throttles, due_at, parked_at, CASE WHEN kind = 'replay' AND EXISTS (SELECT 1 FROM replays r WHERE r.key = parked.replay AND r.status = 'cancelled') THEN 'cancelled' ELSE reason END, replay, (SELECT coalesce(max(a.number), 0) FROM attempts a WHERE a.webhook = parked.webhook AND a."offset" = parked."offset")
  $1 = int64 1772366400000000
  $2 = []int64 [1]
  $3 = []string ["p"]
WITH moved AS ( UPDATE cursors c SET detached = g.detached, "offset" = g."offset", sequence = g.sequence, delivered = c.delivered + g.delivered, failed = c.failed + g.failed, skipped = c.skipped + g.skipped, failing_since = g.failing_since, failing_hours = g.failing_hours, last_failing_hour = g.last_failing_hour, consecutive_failures = g.consecutive_failures, last_success_at = g.last_success_at, last_failure_at = g.last_failure_at, probe_at = g.probe_at, probe_step = g.probe_step FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[]) AS g (webhook, detached, "offset", sequence, delivered, failed, skipped, failing_since, failing_hours, last_failing_hour, consecutive_failures, last_success_at, last_failure_at, probe_at, probe_step) WHERE c.webhook = g.webhook AND c."offset" <= g."offset" AND c.sequence <= g.sequence RETURNING 1 ) SELECT 1 / CASE WHEN (SELECT count(*) FROM moved) = (SELECT count(*) FROM cursors WHERE webhook = ANY($1)) THEN 1 ELSE 0 END
  $1 = []int64 [1]
  $2 = []int64 [1]
  $3 = []int64 [2]
  $4 = []int64 [3]
  $5 = []int64 [4]
  $6 = []int64 [5]
  $7 = []int64 [6]
  $8 = []*int64 [1772366400000000]
  $9 = []int64 [7]
  $10 = []int64 [8]
  $11 = []int64 [9]
  $12 = []*int64 [1772366460000000]
  $13 = []*int64 [null]
  $14 = []*int64 [1772366400000000]
  $15 = []int64 [10]
UPDATE cursors c SET not_before = g.not_before, gate_wait_us = g.gate_wait_us, gate_reason = g.gate_reason, gate_version = g.gate_version, throttles = g.throttles FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[]) AS g (webhook, not_before, gate_wait_us, gate_reason, gate_version, throttles) WHERE c.webhook = g.webhook
  $1 = []int64 [1]
  $2 = []*int64 [1772366460000000]
  $3 = []int64 [1000000]
  $4 = []string ["wait"]
  $5 = []int64 [2]
  $6 = []int64 [3]
UPDATE owners o SET swept = g.swept FROM unnest($1::bigint[], $2::bigint[]) AS g (partition, swept) WHERE o.partition = g.partition AND o.swept < g.swept
  $1 = []int64 [4]
  $2 = []int64 [5]
DELETE FROM parked WHERE kind = 'replay' AND replay = $1 AND webhook = (SELECT webhook FROM replays WHERE key = $1 AND status = 'cancelled')
  $1 = int64 1
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
UPDATE owners SET config_version = config_version + 1 WHERE partition = $1 RETURNING config_version
  $1 = int64 2
WITH ended AS ( UPDATE webhooks SET status = $1, status_reason = $2, version = version + 1, updated_at = $3 WHERE key = $4 AND endpoint_version = $5 AND status = 'ACTIVE' AND deleted_at IS NULL RETURNING key, company, id ), told AS ( INSERT INTO notices (id, company, webhook, at, kind, detail) SELECT $6, company, key, $3, 'disabled', $9 FROM ended ) INSERT INTO audit (id, company, at, actor, action, object, request_id, detail) SELECT $7, company, $3, 'engine', 'webhook.disabled', id, '', $8 FROM ended
  $1 = string "INACTIVE"
  $2 = string "gone"
  $3 = int64 1772366400000000
  $4 = int64 1
  $5 = int64 3
  $6 = string "id"
  $7 = string "id"
  $8 = string "{\"reason\":\"gone\"}"
  $9 = string "since then"
UPDATE webhooks SET changed = (SELECT config_version FROM owners WHERE partition = $1) WHERE key = $2
  $1 = int64 2
  $2 = int64 1
INSERT INTO stats (webhook, bucket, delivered, failed, retried, latency, arrival) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[]) ON CONFLICT (webhook, bucket) DO UPDATE SET delivered = excluded.delivered, failed = excluded.failed, retried = excluded.retried, latency = excluded.latency, arrival = excluded.arrival
  $1 = []int64 [1]
  $2 = []int64 [2]
  $3 = []int64 [3]
  $4 = []int64 [4]
  $5 = []int64 [5]
  $6 = [][]uint8 ["\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"]
  $7 = [][]uint8 ["\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"]
INSERT INTO answers (webhook, slot, "offset", number, header, body) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[]) ON CONFLICT (webhook, slot) DO UPDATE SET "offset" = excluded."offset", number = excluded.number, header = excluded.header, body = excluded.body
  $1 = []int64 [1]
  $2 = []int64 [2]
  $3 = []int64 [3]
  $4 = []int64 [4]
  $5 = [][]uint8 ["h"]
  $6 = [][]uint8 [""]
INSERT INTO notices (id, company, webhook, at, kind, detail) SELECT g.id, w.company, w.key, $1, g.kind, g.detail FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[]) AS g (id, webhook, kind, detail) JOIN webhooks w ON w.key = g.webhook
  $1 = int64 1772366400000000
  $2 = []string ["id"]
  $3 = []int64 [1]
  $4 = []string ["down"]
  $5 = []string ["since then"]
WITH g AS MATERIALIZED ( SELECT * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bytea[], $9::bigint[], $10::bigint[], $11::bytea[], $12::boolean[]) WITH ORDINALITY AS g (caller, company, id, topic, object_key, data, digest, occurred_at, expires_at, changes, look, n) ), known AS MATERIALIZED ( SELECT g.n, g.caller, e.digest <> g.digest AS clash, e.* FROM g CROSS JOIN LATERAL ( SELECT x.partition, x."offset", x.id, x.company, x.topic, x.object_key, x.digest, x.occurred_at, x.accepted_at FROM events x WHERE x.company = g.company AND x.id = g.id UNION ALL SELECT x.partition, 0, x.id, x.company, x.topic, x.object_key, x.digest, x.occurred_at, x.accepted_at FROM scheduled x WHERE x.company = g.company AND x.id = g.id LIMIT 1) AS e WHERE g.look ), last AS MATERIALIZED ( SELECT greatest(e."offset", p.base_offset) AS "offset", greatest(e.accepted_at, coalesce($13::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS accepted_at FROM partitions p LEFT JOIN LATERAL (SELECT x."offset", x.accepted_at FROM events x WHERE x.partition = p.id ORDER BY x."offset" DESC LIMIT 1) AS e ON true WHERE p.id = $1 AND ($14::text = '' OR p.xmin::text = $14) ), fresh AS ( INSERT INTO events (partition, "offset", id, company, topic, object_key, data, digest, occurred_at, expires_at, changes, accepted_at) SELECT $1, last."offset" + row_number() OVER (ORDER BY g.n), g.id, g.company, g.topic, g.object_key, g.data, g.digest, g.occurred_at, g.expires_at, g.changes, last.accepted_at FROM g CROSS JOIN last WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.n = g.n) AND NOT EXISTS (SELECT 1 FROM known k WHERE k.clash AND k.caller = g.caller) RETURNING "offset", id, company, accepted_at ), version AS ( SELECT config_version FROM owners WHERE partition = $1 ) SELECT config_version, true AS fresh, $1::bigint AS partition, "offset", id, company, '' AS topic, '' AS object_key, '' ::bytea AS digest, NULL::bigint AS occurred_at, accepted_at FROM fresh, version UNION ALL SELECT config_version, false, partition, "offset", id, company, topic, object_key, digest, occurred_at, accepted_at FROM known, version
  $1 = int64 2
  $2 = []int64 [0 0]
  $3 = []int64 [1 1]
  $4 = []string ["e1" "e2"]
  $5 = []string ["t" "u"]
  $6 = []string ["o" ""]
  $7 = [][]uint8 ["1" ""]
  $8 = [][]uint8 ["\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"]
  $9 = []*int64 [1772366400000000 null]
  $10 = []*int64 [null null]
  $11 = [][]uint8 [null null]
  $12 = []bool [true false]
  $13 = int64 1772366400000000
  $14 = string ""
WITH g AS MATERIALIZED ( SELECT * FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bytea[], $8::bytea[], $9::bigint[], $10::bigint[], $11::bytea[], $12::boolean[], $14::bigint[]) WITH ORDINALITY AS g (caller, company, id, topic, object_key, data, digest, occurred_at, expires_at, changes, look, partition, n) ), known AS MATERIALIZED ( SELECT g.n, g.caller, e.digest <> g.digest AS clash, e.* FROM g CROSS JOIN LATERAL ( SELECT x.partition, x."offset", x.id, x.company, x.topic, x.object_key, x.digest, x.occurred_at, x.accepted_at FROM events x WHERE x.company = g.company AND x.id = g.id UNION ALL SELECT x.partition, 0, x.id, x.company, x.topic, x.object_key, x.digest, x.occurred_at, x.accepted_at FROM scheduled x WHERE x.company = g.company AND x.id = g.id LIMIT 1) AS e WHERE g.look ), last AS MATERIALIZED ( SELECT p.id AS partition, greatest(e."offset", p.base_offset) AS "offset", greatest(e.accepted_at, coalesce($13::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint)) AS accepted_at FROM partitions p LEFT JOIN LATERAL (SELECT x."offset", x.accepted_at FROM events x WHERE x.partition = p.id ORDER BY x."offset" DESC LIMIT 1) AS e ON true JOIN unnest($1::bigint[], $15::text[]) AS same (id, row) ON same.id = p.id AND (same.row = '' OR p.xmin::text = same.row) ), fresh AS ( INSERT INTO events (partition, "offset", id, company, topic, object_key, data, digest, occurred_at, expires_at, changes, accepted_at) SELECT g.partition, last."offset" + row_number() OVER (PARTITION BY g.partition ORDER BY g.n), g.id, g.company, g.topic, g.object_key, g.data, g.digest, g.occurred_at, g.expires_at, g.changes, last.accepted_at FROM g JOIN last USING (partition) WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.n = g.n) AND NOT EXISTS (SELECT 1 FROM known k WHERE k.clash AND k.caller = g.caller) RETURNING partition, "offset", id, company, accepted_at ) SELECT config_version, true AS fresh, f.partition, "offset", id, company, '' AS topic, '' AS object_key, '' ::bytea AS digest, NULL::bigint AS occurred_at, accepted_at FROM fresh f JOIN owners o ON o.partition = f.partition UNION ALL SELECT config_version, false, k.partition, "offset", id, company, topic, object_key, digest, occurred_at, accepted_at FROM known k JOIN owners o ON o.partition = k.partition
  $1 = []int64 [2 3]
  $2 = []int64 [0 0]
  $3 = []int64 [1 1]
  $4 = []string ["e1" "e2"]
  $5 = []string ["t" "u"]
  $6 = []string ["o" ""]
  $7 = [][]uint8 ["1" ""]
  $8 = [][]uint8 ["\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"]
  $9 = []*int64 [1772366400000000 null]
  $10 = []*int64 [null null]
  $11 = [][]uint8 [null null]
  $12 = []bool [true false]
  $13 = int64 1772366400000000
  $14 = []int64 [2 3]
  $15 = []string ["" ""]
