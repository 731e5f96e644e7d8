package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// piped is a record as it goes to the database: in two turns, the first of which takes no lock. It
// begins the transaction, on a connection that is alive, and reads the statistics that are added to,
// which nobody else writes while the fence holds. The second is all the rest up to COMMIT. Where a
// statement fails, the database skips those behind it.
type piped struct {
	*recording
	e     *elephant
	r     *Record
	stats []Stat // as they will stand, one for each row
	at    map[statKey]int
	steps []step
}

type statKey struct {
	webhook hook.WebhookKey
	bucket  int64
}

// The fence of a pipeline: where the node is not alive, the division stops what follows.
const fencePipeline = `
	WITH me AS MATERIALIZED (SELECT FROM nodes WHERE id = $1 AND NOT dead AND ` + inEra + ` FOR KEY SHARE)
	SELECT 1 / count(*) FROM me`

// divisionByZero is how statements here say no.
const divisionByZero = "22012"

// pipelined writes a record, each kind of news in one statement.
func (e *elephant) pipelined(ctx context.Context, r *Record, done *recording) error {
	p := piped{recording: done, e: e, r: r, at: map[statKey]int{}}
	c, err := e.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release() // and close it, if the transaction is still open
	if err := pipeline(ctx, c.Conn(), p.begin()); err != nil {
		return err
	}
	alive := false
	if r.Node != "" {
		p.ask(func(r pgx.Rows) error {
			alive = r.Next()
			return r.Err()
		}, fencePipeline, done.fence(r.Node)...)
	}
	p.do(nameRecord, p.id)
	p.news()
	p.do(forgetRecords, p.settled)
	p.do(commit)
	err = pipeline(ctx, c.Conn(), p.steps)
	switch x, refused := errors.AsType[*pgconn.PgError](err); {
	case err == nil:
		return nil
	case refused && x.Code == divisionByZero && !alive && r.Node != "":
		return ErrFenced
	case ambiguous(err):
		return fmt.Errorf("%w: %w", errCommit, err)
	}
	return err
}

func (p *piped) begin() []step {
	var webhooks, buckets []int64
	for i := range p.r.Stats {
		s := &p.r.Stats[i]
		key := statKey{s.Webhook, s.Bucket}
		if j, twice := p.at[key]; twice {
			p.stats[j].add(s)
			continue
		}
		p.at[key] = len(p.stats)
		p.stats = append(p.stats, *s)
		webhooks, buckets = append(webhooks, int64(s.Webhook)), append(buckets, s.Bucket)
	}
	return []step{{query: begin}, {
		`
		SELECT s.webhook, s.bucket, s.delivered, s.failed, s.retried, s.latency, s.arrival
		FROM unnest($1::bigint[], $2::bigint[]) AS g (webhook, bucket) JOIN stats s ON s.webhook = g.webhook AND s.bucket = g.bucket`,
		[]any{webhooks, buckets},
		p.readStats,
	}}
}

func (p *piped) readStats(r pgx.Rows) error {
	for r.Next() {
		var had Stat
		var latency, arrival []byte
		if err := r.Scan(&had.Webhook, &had.Bucket, &had.Delivered, &had.Failed, &had.Retried, &latency, &arrival); err != nil {
			return err
		}
		if err := errors.Join(had.Latency.UnmarshalBinary(latency), had.Arrival.UnmarshalBinary(arrival)); err != nil {
			return err
		}
		p.stats[p.at[statKey{had.Webhook, had.Bucket}]].add(&had)
	}
	return r.Err()
}

// add adds another one's figures.
func (s *Stat) add(o *Stat) {
	s.Delivered, s.Failed, s.Retried = s.Delivered+o.Delivered, s.Failed+o.Failed, s.Retried+o.Retried
	s.Latency.Merge(&o.Latency)
	s.Arrival.Merge(&o.Arrival)
}

// news says everything that a record says. What is parked in the end comes before what that
// releases.
func (p *piped) news() {
	p.replays() // before what they parked, as who cancels one does
	p.attempts()
	p.parked()
	p.releases()
	for moves := p.r.Cursors; len(moves) > 0; {
		moves = p.cursors(moves)
	}
	p.gates()
	p.swept()
	for _, m := range p.r.Replays {
		p.do(freeCancelled, m.Key)
	}
	p.rewinds()
	for _, c := range p.r.Status {
		p.status(c)
	}
	p.addStats()
	p.answers()
	p.notices()
}

// do adds a statement, and ask one with an answer.
func (p *piped) do(query string, args ...any) { p.ask(nil, query, args...) }

func (p *piped) ask(read func(pgx.Rows) error, query string, args ...any) {
	p.steps = append(p.steps, step{query, args, read})
}

// column is one column of some rows, as an array for unnest: one text and one plan, whatever the
// number of rows.
func column[R, T any](rows []R, of func(R) T) []T {
	list := make([]T, len(rows))
	for i, r := range rows {
		list[i] = of(r)
	}
	return list
}

func (p *piped) attempts() {
	attempts := make([]*hook.Attempt, 0, len(p.r.Items))
	for i := range p.r.Items {
		if a := p.r.Items[i].Attempt; a != nil {
			attempts = append(attempts, a)
		}
	}
	if len(attempts) > 0 {
		p.do(insertAttemptArrays, attemptArrays(attempts)...)
	}
}

// parked writes what stands parked after the record, and takes away what does not.
func (p *piped) parked() {
	last := map[ParkedKey]*hook.Parked{} // nil = no longer parked
	for i := range p.r.Items {
		item := &p.r.Items[i]
		if x := item.Park; x != nil {
			last[ParkedKey{Webhook: x.Webhook, Kind: x.Kind, Offset: x.Offset}] = x
		}
		if k := item.Unpark; k != nil {
			last[ParkedKey{Webhook: k.Webhook, Kind: k.Kind, Offset: k.Offset}] = nil
		}
	}
	var park []*hook.Parked
	var unpark []ParkedKey
	for k, x := range last {
		if x != nil {
			park = append(park, x)
		} else {
			unpark = append(unpark, k)
		}
	}
	if len(park) > 0 {
		p.do(`
			INSERT INTO parked (webhook, kind, "offset", partition, sequence, object_key, attempts, step, due_at, parked_at, reason, replay, throttles)
			SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[],
				$9::bigint[], $10::bigint[], $11::text[], $12::bigint[], $13::bigint[])
			ON CONFLICT (webhook, kind, "offset") DO UPDATE SET attempts = excluded.attempts, step = excluded.step,
				due_at = excluded.due_at, parked_at = excluded.parked_at, reason = excluded.reason, replay = excluded.replay,
				throttles = excluded.throttles`,
			column(park, func(x *hook.Parked) int64 { return int64(x.Webhook) }), column(park, func(x *hook.Parked) string { return string(x.Kind) }),
			column(park, func(x *hook.Parked) int64 { return int64(x.Offset) }), column(park, func(x *hook.Parked) int64 { return int64(x.Partition) }),
			column(park, func(x *hook.Parked) int64 { return x.Sequence }), column(park, func(x *hook.Parked) string { return x.ObjectKey }),
			column(park, func(x *hook.Parked) int64 { return int64(x.Attempts) }), column(park, func(x *hook.Parked) int64 { return int64(x.Step) }),
			column(park, func(x *hook.Parked) *int64 { return microsOrNil(x.DueAt) }), column(park, func(x *hook.Parked) int64 { return micros(x.ParkedAt) }),
			column(park, func(x *hook.Parked) string { return x.Reason }),
			column(park, func(x *hook.Parked) int64 { return x.Replay }), column(park, func(x *hook.Parked) int64 { return int64(x.Throttles) }))
	}
	if len(unpark) > 0 {
		p.do(`
			DELETE FROM parked USING unnest($1::bigint[], $2::text[], $3::bigint[]) AS g (webhook, kind, "offset")
			WHERE parked.webhook = g.webhook AND parked.kind = g.kind AND parked."offset" = g."offset"`,
			column(unpark, func(k ParkedKey) int64 { return int64(k.Webhook) }), column(unpark, func(k ParkedKey) string { return string(k.Kind) }),
			column(unpark, func(k ParkedKey) int64 { return int64(k.Offset) }))
	}
}

// releases makes held deliveries due: those that nothing would release, and the first of each
// object whose earlier delivery is settled.
func (p *piped) releases() {
	var free, release []*ParkedKey
	for i := range p.r.Items {
		if k := p.r.Items[i].Free; k != nil {
			free = append(free, k)
		}
		if k := p.r.Items[i].Release; k != nil {
			release = append(release, k)
		}
	}
	if len(free) > 0 {
		p.ask(p.released, `
			UPDATE parked SET due_at = $1, parked_at = $1, reason = 'released' FROM unnest($2::bigint[], $3::bigint[]) AS g (of, at)
			WHERE webhook = g.of AND kind = 'live' AND "offset" = g.at AND due_at IS NULL
			RETURNING `+parkedColumns, micros(p.r.At), column(free, func(k *ParkedKey) int64 { return int64(k.Webhook) }),
			column(free, func(k *ParkedKey) int64 { return int64(k.Offset) }))
	}
	if len(release) > 0 {
		p.ask(p.released, `
			UPDATE parked SET due_at = $1, parked_at = $1, reason = 'released' FROM (
				SELECT DISTINCT g.of, f.at FROM unnest($2::bigint[], $3::text[]) AS g (of, object) CROSS JOIN LATERAL (
					SELECT min(e."offset") AS at FROM parked e WHERE e.webhook = g.of AND e.object_key = g.object AND e.kind = 'live') AS f) AS g
			WHERE webhook = g.of AND kind = 'live' AND "offset" = g.at AND due_at IS NULL
			RETURNING `+parkedColumns, micros(p.r.At), column(release, func(k *ParkedKey) int64 { return int64(k.Webhook) }),
			column(release, func(k *ParkedKey) string { return k.Object }))
	}
}

func (p *piped) released(r pgx.Rows) error {
	for r.Next() {
		x, err := scanParked(&answer{r, p.e})
		if err != nil {
			return err
		}
		p.out.Released = append(p.out.Released, x)
	}
	return r.Err()
}

// cursors moves each webhook's cursor once, and returns the moves of those that have another
// one. The division stops the pipeline where one would move back.
func (p *piped) cursors(moves []CursorMove) (more []CursorMove) {
	met := make(map[hook.WebhookKey]bool, len(moves))
	list := make([]*CursorMove, 0, len(moves))
	for i := range moves {
		if met[moves[i].Webhook] {
			more = append(more, moves[i])
			continue
		}
		met[moves[i].Webhook] = true
		list = append(list, &moves[i])
	}
	webhooks := column(list, func(c *CursorMove) int64 { return int64(c.Webhook) })
	p.do(`
		WITH moved AS (
			UPDATE cursors c SET detached = g.detached, "offset" = g."offset", sequence = g.sequence, delivered = c.delivered + g.delivered,
				failed = c.failed + g.failed, skipped = c.skipped + g.skipped, failing_since = g.failing_since, failing_hours = g.failing_hours,
				last_failing_hour = g.last_failing_hour, consecutive_failures = g.consecutive_failures, last_success_at = g.last_success_at,
				last_failure_at = g.last_failure_at, probe_at = g.probe_at, probe_step = g.probe_step
			FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
				$10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[]) AS g (webhook, detached, "offset", sequence,
				delivered, failed, skipped, failing_since, failing_hours, last_failing_hour, consecutive_failures, last_success_at, last_failure_at,
				probe_at, probe_step)
			WHERE c.webhook = g.webhook AND c."offset" <= g."offset" AND c.sequence <= g.sequence
			RETURNING 1
		)
		SELECT 1 / CASE WHEN (SELECT count(*) FROM moved) = (SELECT count(*) FROM cursors WHERE webhook = ANY($1)) THEN 1 ELSE 0 END`,
		webhooks, column(list, func(c *CursorMove) int64 { return flag(c.Detached) }),
		column(list, func(c *CursorMove) int64 { return int64(c.Offset) }), column(list, func(c *CursorMove) int64 { return c.Sequence }),
		column(list, func(c *CursorMove) int64 { return c.Delivered }), column(list, func(c *CursorMove) int64 { return c.Failed }),
		column(list, func(c *CursorMove) int64 { return c.Skipped }),
		column(list, func(c *CursorMove) *int64 { return microsOrNil(c.Health.FailingSince) }),
		column(list, func(c *CursorMove) int64 { return int64(c.Health.FailingHours) }),
		column(list, func(c *CursorMove) int64 { return c.Health.LastFailingHour }),
		column(list, func(c *CursorMove) int64 { return int64(c.Health.ConsecutiveFailures) }),
		column(list, func(c *CursorMove) *int64 { return microsOrNil(c.Health.LastSuccessAt) }),
		column(list, func(c *CursorMove) *int64 { return microsOrNil(c.Health.LastFailureAt) }),
		column(list, func(c *CursorMove) *int64 { return microsOrNil(c.Health.ProbeAt) }),
		column(list, func(c *CursorMove) int64 { return int64(c.Health.ProbeStep) }))
	return more
}

func (p *piped) gates() {
	last := make(map[hook.WebhookKey]GateMove, len(p.r.Gates))
	for _, m := range p.r.Gates {
		last[m.Webhook] = m
	}
	if len(last) == 0 {
		return
	}
	list := slices.Collect(maps.Values(last))
	p.do(`
		UPDATE cursors c SET not_before = g.not_before, gate_wait_us = g.wait, gate_reason = g.reason, gate_version = g.version, throttles = g.throttles
		FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[]) AS g (webhook, not_before, wait, reason, version, throttles)
		WHERE c.webhook = g.webhook`,
		column(list, func(m GateMove) int64 { return int64(m.Webhook) }), column(list, func(m GateMove) *int64 { return microsOrNil(m.Gate.NotBefore) }),
		column(list, func(m GateMove) int64 { return m.Gate.Wait.Microseconds() }), column(list, func(m GateMove) string { return m.Gate.Reason }),
		column(list, func(m GateMove) int64 { return m.Gate.EndpointVersion }), column(list, func(m GateMove) int64 { return int64(m.Gate.Throttles) }))
}

func (p *piped) swept() {
	if len(p.r.Swept) == 0 {
		return
	}
	partitions := slices.Sorted(maps.Keys(p.r.Swept))
	p.do(`
		UPDATE owners o SET swept = g.swept FROM unnest($1::bigint[], $2::bigint[]) AS g (partition, swept)
		WHERE o.partition = g.partition AND o.swept < g.swept`,
		column(partitions, func(x hook.Partition) int64 { return int64(x) }),
		column(partitions, func(x hook.Partition) int64 { return int64(p.r.Swept[x]) }))
}

func (p *piped) rewinds() {
	for _, x := range p.r.Rewind {
		read := func(r pgx.Rows) error {
			if r.Close(); r.CommandTag().RowsAffected() > 0 {
				p.out.Rewound = append(p.out.Rewound, x)
			}
			return r.Err()
		}
		p.ask(read, rewindParked, micros(p.r.At), int64(x), micros(p.r.At.Add(rewindFurther)), int64(rewindRows))
	}
}

func (p *piped) replays() {
	list := p.r.Replays
	if len(list) == 0 {
		return
	}
	p.do(`
		UPDATE replays r SET place = greatest(r.place, g.place), started = r.started + g.started, delivered = r.delivered + g.delivered,
			failed = r.failed + g.failed, status = CASE WHEN g.done AND r.status = 'running' THEN 'done' ELSE r.status END,
			finished_at = CASE WHEN g.done AND r.status = 'running' THEN $1 ELSE r.finished_at END
		FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[]) AS g (key, place, started, delivered, failed, done)
		WHERE r.key = g.key`,
		micros(p.r.At), column(list, func(m ReplayMove) int64 { return m.Key }), column(list, func(m ReplayMove) int64 { return int64(m.Place) }),
		column(list, func(m ReplayMove) int64 { return m.Started }), column(list, func(m ReplayMove) int64 { return m.Delivered }),
		column(list, func(m ReplayMove) int64 { return m.Failed }), column(list, func(m ReplayMove) bool { return m.Done }))
}

// status is about one endpoint version: a late 410 of an old endpoint must not hit the new one.
// Where the owner was faster, the engine is told to read how it stands.
func (p *piped) status(c StatusChange) {
	count := func(r pgx.Rows) error {
		var version int64
		if !r.Next() {
			return r.Err()
		}
		err := r.Scan(&version)
		p.session.changed(c.Partition, version)
		return err
	}
	p.ask(count, `UPDATE owners SET config_version = config_version + 1 WHERE partition = $1 RETURNING config_version`, int64(c.Partition))
	p.do(`
		WITH ended AS (
			UPDATE webhooks SET status = $1, status_reason = $2, version = version + 1, updated_at = $3
			WHERE key = $4 AND endpoint_version = $5 AND status = 'ACTIVE' AND deleted_at IS NULL
			RETURNING key, company, id
		), told AS (
			INSERT INTO notices (id, company, webhook, at, kind, detail) SELECT $6, company, key, $3, 'disabled', $2 FROM ended
		)
		INSERT INTO audit (id, company, at, actor, action, object, request_id, detail)
		SELECT $7, company, $3, 'engine', 'webhook.disabled', id, '', $8 FROM ended`,
		string(c.Status), c.Reason, micros(p.r.At), int64(c.Webhook), c.EndpointVersion, hook.NewID(hook.NoticePrefix, p.r.At),
		hook.NewID(hook.AuditPrefix, p.r.At), disabledDetail(c.Reason))
	p.do(`UPDATE webhooks SET changed = (SELECT config_version FROM owners WHERE partition = $1) WHERE key = $2`, int64(c.Partition), int64(c.Webhook))
}

func (p *piped) addStats() {
	if len(p.stats) == 0 {
		return
	}
	histogram := func(h hook.Histogram) []byte {
		text, _ := h.AppendBinary(nil) // never fails
		return text
	}
	p.do(`
		INSERT INTO stats (webhook, bucket, delivered, failed, retried, latency, arrival)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bytea[], $7::bytea[])
		ON CONFLICT (webhook, bucket) DO UPDATE SET delivered = excluded.delivered, failed = excluded.failed, retried = excluded.retried,
			latency = excluded.latency, arrival = excluded.arrival`,
		column(p.stats, func(s Stat) int64 { return int64(s.Webhook) }), column(p.stats, func(s Stat) int64 { return s.Bucket }),
		column(p.stats, func(s Stat) int64 { return s.Delivered }), column(p.stats, func(s Stat) int64 { return s.Failed }),
		column(p.stats, func(s Stat) int64 { return s.Retried }), column(p.stats, func(s Stat) []byte { return histogram(s.Latency) }),
		column(p.stats, func(s Stat) []byte { return histogram(s.Arrival) }))
}

func (p *piped) answers() {
	type place struct {
		webhook hook.WebhookKey
		slot    int
	}
	last := map[place]Answer{}
	for _, a := range p.r.Answers {
		last[place{a.Webhook, a.Slot}] = a
	}
	if len(last) == 0 {
		return
	}
	list := slices.Collect(maps.Values(last))
	p.do(`
		INSERT INTO answers (webhook, slot, "offset", number, header, body)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[])
		ON CONFLICT (webhook, slot) DO UPDATE SET "offset" = excluded."offset", number = excluded.number, header = excluded.header, body = excluded.body`,
		column(list, func(a Answer) int64 { return int64(a.Webhook) }), column(list, func(a Answer) int64 { return int64(a.Slot) }),
		column(list, func(a Answer) int64 { return int64(a.Offset) }), column(list, func(a Answer) int64 { return int64(a.Number) }),
		column(list, func(a Answer) []byte { return append([]byte{}, a.Header...) }), column(list, func(a Answer) []byte { return append([]byte{}, a.Body...) }))
}

func (p *piped) notices() {
	list := p.r.Notices
	if len(list) == 0 {
		return
	}
	p.do(`
		INSERT INTO notices (id, company, webhook, at, kind, detail)
		SELECT g.id, w.company, w.key, $1, g.kind, g.detail
		FROM unnest($2::text[], $3::bigint[], $4::text[], $5::text[]) AS g (id, webhook, kind, detail) JOIN webhooks w ON w.key = g.webhook`,
		micros(p.r.At), column(list, func(Notice) string { return hook.NewID(hook.NoticePrefix, p.r.At) }),
		column(list, func(n Notice) int64 { return int64(n.Webhook) }), column(list, func(n Notice) string { return n.Kind }),
		column(list, func(n Notice) string { return n.Detail }))
}

// insertAttemptArrays takes attemptArrays.
const insertAttemptArrays = `
	INSERT INTO attempts (` + attemptColumns + `)
	SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::text[], $10::bigint[],
		$11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::text[], $19::bigint[], $20::text[],
		$21::bytea[], $22::bytea[], $23::bytea[])`

func attemptArrays(list []*hook.Attempt) []any {
	type attempt = *hook.Attempt
	return []any{
		column(list, func(a attempt) int64 { return int64(a.Webhook) }), column(list, func(a attempt) int64 { return int64(a.Offset) }),
		column(list, func(a attempt) int64 { return int64(a.Number) }), column(list, func(a attempt) int64 { return a.Sequence }),
		column(list, func(a attempt) string { return string(a.Kind) }), column(list, func(a attempt) int64 { return flag(a.Counted) }),
		column(list, func(a attempt) int64 { return a.Version }), column(list, func(a attempt) string { return a.TimestampText }),
		column(list, func(a attempt) string { return string(a.Format) }), column(list, func(a attempt) int64 { return a.Replay }),
		column(list, func(a attempt) int64 { return micros(a.StartedAt) }), column(list, func(a attempt) int64 { return a.Phases.DNS.Microseconds() }),
		column(list, func(a attempt) int64 { return a.Phases.Connect.Microseconds() }), column(list, func(a attempt) int64 { return a.Phases.TLS.Microseconds() }),
		column(list, func(a attempt) int64 { return a.Phases.FirstByte.Microseconds() }), column(list, func(a attempt) int64 { return a.Phases.Total.Microseconds() }),
		column(list, func(a attempt) int64 { return flag(a.Reused) }),
		column(list, func(a attempt) string { return string(a.Outcome) }), column(list, func(a attempt) int64 { return int64(a.StatusCode) }),
		column(list, func(a attempt) string { return string(a.ErrorClass) }), column(list, func(a attempt) []byte { return []byte(a.ErrorDetail) }),
		column(list, func(a attempt) []byte { return a.AnswerHeader }), column(list, func(a attempt) []byte { return a.AnswerBody }),
	}
}
