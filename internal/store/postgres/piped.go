package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// piped is a record as it goes to the database: in two turns, the first of which takes no lock. It
// begins the transaction, on a connection that is alive, and reads the statistics that are added to,
// which nobody else writes while the fence holds. The second is all the rest up to COMMIT. Where a
// statement fails, the database skips those behind it.
type piped struct {
	*recording
	e     *Engine
	r     *log.Record
	stats []*log.Stat // as they will stand, one for each row
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
func (e *Engine) pipelined(ctx context.Context, r *log.Record, done *recording) error {
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
		p.query(func(r pgx.Rows) error {
			alive = r.Next()
			return r.Err()
		}, fencePipeline, done.fence(r.Node)...)
	}
	p.do(nameRecord, p.id)
	p.news()
	p.do(forgetRecords, p.finished)
	p.do(commit)
	err = pipeline(ctx, c.Conn(), p.steps)
	switch x, refused := errors.AsType[*pgconn.PgError](err); {
	case err == nil:
		return nil
	case refused && x.Code == divisionByZero && !alive && r.Node != "":
		return log.ErrFenced
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
			p.stats[j].Add(s)
			continue
		}
		p.at[key] = len(p.stats)
		sum := *s
		p.stats = append(p.stats, &sum)
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
		var had log.Stat
		var latency, arrival []byte
		if err := r.Scan(&had.Webhook, &had.Bucket, &had.Delivered, &had.Failed, &had.Retried, &latency, &arrival); err != nil {
			return err
		}
		if err := errors.Join(had.Latency.UnmarshalBinary(latency), had.Arrival.UnmarshalBinary(arrival)); err != nil {
			return err
		}
		p.stats[p.at[statKey{had.Webhook, had.Bucket}]].Add(&had)
	}
	return r.Err()
}

// news says everything that a record says. What is parked in the end comes before what that
// releases.
func (p *piped) news() {
	p.replays() // before what they parked, as who cancels one does
	p.attempts()
	for items := p.r.Items; len(items) > 0; {
		n := upToSettled(items)
		p.parked(items[:n])
		p.settles(items[:n])
		items = items[n:]
	}
	p.skips()
	p.releases()
	for moves := p.r.Cursors; len(moves) > 0; {
		moves = p.cursors(moves)
	}
	p.gates()
	p.swept()
	for _, m := range p.r.Replays {
		p.do(log.FreeCancelled, m.Key)
	}
	p.rewinds()
	for _, x := range p.r.Repairs {
		p.do(log.RepairParked, x.Args(p.r.At)...)
	}
	for _, c := range p.r.Status {
		p.status(c)
	}
	p.addStats()
	p.answers()
	p.notices()
}

// do adds a statement, and query one with an answer.
func (p *piped) do(query string, args ...any) { p.query(nil, query, args...) }

func (p *piped) query(read func(pgx.Rows) error, query string, args ...any) {
	p.steps = append(p.steps, step{query, args, read})
}

func (p *piped) attempts() {
	attempts := make([]*hook.Attempt, 0, len(p.r.Items))
	for i := range p.r.Items {
		if a := p.r.Items[i].Attempt; a != nil {
			attempts = append(attempts, a)
		}
	}
	if len(attempts) > 0 {
		p.do(log.InsertAttemptArrays, log.Attempts.Arrays(attempts)...)
	}
}

// upToSettled counts the items before one that parks what another one of them settles, which stays, or takes it
// away, which then has been settled.
func upToSettled(items []log.Item) int {
	settled := map[log.ParkedKey]bool{}
	for i := range items {
		it := &items[i]
		if x := it.Park; x != nil && settled[log.ParkedKey{Webhook: x.Webhook, Offset: x.Offset}] {
			return i
		}
		if k := it.Unpark; k != nil && settled[log.ParkedKey{Webhook: k.Webhook, Offset: k.Offset}] {
			return i
		}
		if k := it.Settle; k != nil {
			settled[log.ParkedKey{Webhook: k.Webhook, Offset: k.Offset}] = true
		}
	}
	return len(items)
}

// parked writes what stands parked after some items, and takes away what does not.
func (p *piped) parked(items []log.Item) {
	last := map[log.ParkedKey]*hook.Parked{} // nil = no longer parked
	for i := range items {
		item := &items[i]
		if x := item.Park; x != nil {
			last[log.ParkedKey{Webhook: x.Webhook, Kind: x.Kind, Offset: x.Offset}] = x
		}
		if k := item.Unpark; k != nil {
			last[log.ParkedKey{Webhook: k.Webhook, Kind: k.Kind, Offset: k.Offset}] = nil
		}
	}
	var park []*hook.Parked
	var unpark []log.ParkedKey
	for k, x := range last {
		if x != nil {
			park = append(park, x)
		} else {
			unpark = append(unpark, k)
		}
	}
	if len(park) > 0 {
		p.do(log.ParkArrays, log.Parked.Arrays(park)...)
	}
	if len(unpark) > 0 {
		p.do(`
			DELETE FROM parked USING unnest($1::bigint[], $2::text[], $3::bigint[]) AS g (webhook, kind, "offset")
			WHERE parked.webhook = g.webhook AND parked.kind = g.kind AND parked."offset" = g."offset"`,
			sql.Array(unpark, func(k log.ParkedKey) int64 { return int64(k.Webhook) }), sql.Array(unpark, func(k log.ParkedKey) string { return string(k.Kind) }),
			sql.Array(unpark, func(k log.ParkedKey) int64 { return int64(k.Offset) }))
	}
}

// skips writes down what was given up before any attempt.
func (p *piped) skips() {
	var list []*log.Skip
	for i := range p.r.Items {
		if k := p.r.Items[i].Skip; k != nil {
			list = append(list, k)
		}
	}
	if len(list) == 0 {
		return
	}
	p.do(`
		INSERT INTO skips (webhook, from_offset, to_offset, reason, at)
		SELECT g.webhook, g.at, g.at, g.reason, $1 FROM unnest($2::bigint[], $3::bigint[], $4::text[]) AS g (webhook, at, reason) ON CONFLICT DO NOTHING`,
		sql.Micros(p.r.At), sql.Array(list, func(k *log.Skip) int64 { return int64(k.Webhook) }), sql.Array(list, func(k *log.Skip) int64 { return int64(k.Offset) }),
		sql.Array(list, func(k *log.Skip) string { return k.Reason }))
}

// settles takes away what waits of deliveries that were made, after everything that was parked before.
func (p *piped) settles(items []log.Item) {
	var made []*log.ParkedKey
	for i := range items {
		if k := items[i].Settle; k != nil {
			made = append(made, k)
		}
	}
	if len(made) == 0 {
		return
	}
	webhooks, offsets := sql.Array(made, func(k *log.ParkedKey) int64 { return int64(k.Webhook) }), sql.Array(made, func(k *log.ParkedKey) int64 { return int64(k.Offset) })
	p.do(`
		SELECT FROM replays WHERE key IN (
			SELECT replay FROM parked JOIN unnest($1::bigint[], $2::bigint[]) AS g (of, at) ON webhook = g.of AND "offset" = g.at WHERE kind = 'replay')
		FOR NO KEY UPDATE`, webhooks, offsets) // before what they parked, as who cancels one does
	p.query(p.rows(&p.out.Settled), `
		WITH gone AS (
			DELETE FROM parked USING unnest($1::bigint[], $2::bigint[]) AS g (of, at)
			WHERE webhook = g.of AND kind IN ('live', 'manual', 'replay') AND "offset" = g.at
			RETURNING `+log.ParkedColumns+`
		), counted AS (
			UPDATE cursors SET delivered = delivered + x.n FROM (SELECT webhook AS of, count(*) AS n FROM gone WHERE kind = 'live' GROUP BY webhook) AS x
			WHERE webhook = x.of
		), replayed AS (
			UPDATE replays SET delivered = delivered + x.n FROM (SELECT replay AS of, count(*) AS n FROM gone WHERE kind = 'replay' GROUP BY replay) AS x
			WHERE key = x.of
		)
		SELECT * FROM gone`, webhooks, offsets)
}

// releases makes held deliveries due: those that nothing would release, and the first of each
// object whose earlier delivery is settled.
func (p *piped) releases() {
	var free, release []*log.ParkedKey
	for i := range p.r.Items {
		if k := p.r.Items[i].Free; k != nil {
			free = append(free, k)
		}
		if k := p.r.Items[i].Release; k != nil {
			release = append(release, k)
		}
	}
	if len(free) > 0 {
		p.query(p.rows(&p.out.Released), `
			UPDATE parked SET due_at = $1, parked_at = $1, reason = 'released' FROM unnest($2::bigint[], $3::bigint[]) AS g (of, at)
			WHERE webhook = g.of AND kind = 'live' AND "offset" = g.at AND due_at IS NULL
			RETURNING `+log.ParkedColumns, sql.Micros(p.r.At), sql.Array(free, func(k *log.ParkedKey) int64 { return int64(k.Webhook) }),
			sql.Array(free, func(k *log.ParkedKey) int64 { return int64(k.Offset) }))
	}
	if len(release) > 0 {
		p.query(p.rows(&p.out.Released), `
			UPDATE parked SET due_at = $1, parked_at = $1, reason = 'released' FROM (
				SELECT DISTINCT g.of, f.at FROM unnest($2::bigint[], $3::text[]) AS g (of, object) CROSS JOIN LATERAL (
					SELECT min(e."offset") AS at FROM parked e WHERE e.webhook = g.of AND e.object_key = g.object AND e.kind = 'live') AS f) AS g
			WHERE webhook = g.of AND kind = 'live' AND "offset" = g.at AND due_at IS NULL
			RETURNING `+log.ParkedColumns, sql.Micros(p.r.At), sql.Array(release, func(k *log.ParkedKey) int64 { return int64(k.Webhook) }),
			sql.Array(release, func(k *log.ParkedKey) string { return k.Object }))
	}
}

// rows takes in parked deliveries that a statement returns.
func (p *piped) rows(list *[]hook.Parked) func(pgx.Rows) error {
	return func(r pgx.Rows) error {
		for r.Next() {
			x, err := log.ScanParked(&answer{r, p.e})
			if err != nil {
				return err
			}
			*list = append(*list, x)
		}
		return r.Err()
	}
}

// cursors moves each webhook's cursor once, and returns the moves of those that have another
// one. The division stops the pipeline where one would move back.
func (p *piped) cursors(moves []log.CursorMove) (more []log.CursorMove) {
	met := make(map[hook.WebhookKey]bool, len(moves))
	list := make([]*log.CursorMove, 0, len(moves))
	for i := range moves {
		if met[moves[i].Webhook] {
			more = append(more, moves[i])
			continue
		}
		met[moves[i].Webhook] = true
		list = append(list, &moves[i])
	}
	p.do(log.MoveCursorArrays, log.Cursors.Arrays(list)...)
	return more
}

func (p *piped) gates() {
	last := make(map[hook.WebhookKey]log.GateMove, len(p.r.Gates))
	for _, m := range p.r.Gates {
		last[m.Webhook] = m
	}
	if len(last) == 0 {
		return
	}
	p.do(log.MoveGateArrays, log.Gates.Arrays(slices.Collect(maps.Values(last)))...)
}

func (p *piped) swept() {
	if len(p.r.Swept) == 0 {
		return
	}
	partitions := slices.Sorted(maps.Keys(p.r.Swept))
	p.do(`
		UPDATE owners o SET swept = g.swept FROM unnest($1::bigint[], $2::bigint[]) AS g (partition, swept)
		WHERE o.partition = g.partition AND o.swept < g.swept`,
		sql.Array(partitions, func(x hook.Partition) int64 { return int64(x) }),
		sql.Array(partitions, func(x hook.Partition) int64 { return int64(p.r.Swept[x]) }))
}

func (p *piped) rewinds() {
	for _, x := range p.r.Rewind {
		read := func(r pgx.Rows) error {
			if r.Close(); r.CommandTag().RowsAffected() > 0 {
				p.out.Rewound = append(p.out.Rewound, x)
			}
			return r.Err()
		}
		p.query(read, log.RewindParked, sql.Micros(p.r.At), int64(x), sql.Micros(p.r.At.Add(log.RewindFurther)), int64(log.RewindRows))
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
		sql.Micros(p.r.At), sql.Array(list, func(m log.ReplayMove) int64 { return m.Key }), sql.Array(list, func(m log.ReplayMove) int64 { return int64(m.Place) }),
		sql.Array(list, func(m log.ReplayMove) int64 { return m.Started }), sql.Array(list, func(m log.ReplayMove) int64 { return m.Delivered }),
		sql.Array(list, func(m log.ReplayMove) int64 { return m.Failed }), sql.Array(list, func(m log.ReplayMove) bool { return m.Done }))
}

// status is about one endpoint version: a late 410 of an old endpoint must not hit the new one.
// Where the owner was faster, the engine is told to read how it stands.
func (p *piped) status(c log.StatusChange) {
	count := func(r pgx.Rows) error {
		var version int64
		if !r.Next() {
			return r.Err()
		}
		err := r.Scan(&version)
		p.session.Changed(c.Partition, version)
		return err
	}
	p.query(count, `UPDATE owners SET config_version = config_version + 1 WHERE partition = $1 RETURNING config_version`, int64(c.Partition))
	p.do(`
		WITH ended AS (
			UPDATE webhooks SET status = $1, status_reason = $2, version = version + 1, updated_at = $3
			WHERE key = $4 AND endpoint_version = $5 AND status = 'ACTIVE' AND deleted_at IS NULL
			RETURNING key, company, id
		), told AS (
			INSERT INTO notices (id, company, webhook, at, kind, detail) SELECT $6, company, key, $3, 'disabled', $9 FROM ended
		)
		INSERT INTO audit (id, company, at, actor, action, object, request_id, detail)
		SELECT $7, company, $3, 'engine', 'webhook.disabled', id, '', $8 FROM ended`,
		string(c.Status), c.Reason, sql.Micros(p.r.At), int64(c.Webhook), c.EndpointVersion, hook.NewID(hook.NoticePrefix, p.r.At),
		hook.NewID(hook.AuditPrefix, p.r.At), log.DisabledDetail(c.Reason), c.Detail)
	p.do(`UPDATE webhooks SET changed = (SELECT config_version FROM owners WHERE partition = $1) WHERE key = $2`, int64(c.Partition), int64(c.Webhook))
}

func (p *piped) addStats() {
	if len(p.stats) == 0 {
		return
	}
	p.do(log.PutStatArrays, log.Stats.Arrays(p.stats)...)
}

func (p *piped) answers() {
	type slot struct {
		webhook hook.WebhookKey
		slot    int
	}
	last := map[slot]*log.Answer{}
	for i := range p.r.Answers {
		a := &p.r.Answers[i]
		last[slot{a.Webhook, a.Slot}] = a
	}
	if len(last) > 0 {
		p.do(log.KeepAnswerArrays, log.Answers.Arrays(slices.Collect(maps.Values(last)))...)
	}
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
		sql.Micros(p.r.At), sql.Array(list, func(log.Notice) string { return hook.NewID(hook.NoticePrefix, p.r.At) }),
		sql.Array(list, func(n log.Notice) int64 { return int64(n.Webhook) }), sql.Array(list, func(n log.Notice) string { return n.Kind }),
		sql.Array(list, func(n log.Notice) string { return n.Detail }))
}
