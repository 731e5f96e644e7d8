package postgres

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/era"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/group"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// appendPatience is how long a group is tried again while the database does not answer.
const appendPatience = 10 * time.Second

// across stands for all partitions that the events of a group name.
const across hook.Partition = postgresPartitions

// appender commits the appends of one partition in groups, or those that go across.
type appender struct {
	group.Line
	e         *Engine
	partition hook.Partition
	later     []*group.Work // name an id that the group before them brought
}

func newAppender(e *Engine, p hook.Partition) *appender {
	return &appender{Line: group.NewLine(), e: e, partition: p}
}

func (e *Engine) Append(ctx context.Context, p hook.Partition, events []*hook.Event) (log.Batch, error) {
	k, err := e.mayWrite(ctx)
	if err != nil {
		return log.Batch{}, err
	}
	w := group.Work{Events: events, Era: k.id()}
	if err := e.lines[p].Do(ctx, &w); err != nil {
		return log.Batch{}, err // the appender may still be at it
	}
	return w.Batch, nil
}

// appendAcross commits in a transaction that locks its partitions one after another, as everybody does who
// locks several. Meanwhile nothing else is appended to them: such batches share their commits, too.
func (e *Engine) AppendAcross(ctx context.Context, events []*hook.Event) (log.Batch, error) {
	return e.Append(ctx, across, events)
}

func (a *appender) run() { a.Run(nil, a.commitAll) }

func (a *appender) commitAll(works []*group.Work) {
	for len(works) > 0 {
		a.later = nil
		a.commit(works)
		works = a.later
	}
}

// commit does a group and answers its callers. A group that fails by the fault of one is halved.
func (a *appender) commit(works []*group.Work) {
	start := time.Now()
	k, works := a.present(works)
	g := newAppendGroup(a.partition, works)
	g.here = k
	a.later = append(a.later, g.later...)
	err := a.try(g)
	if x, ok := errors.AsType[*pgconn.PgError](err); ok && ownFault(x) && len(g.works) > 1 {
		half := len(g.works) / 2
		left, right := g.works[:half], g.works[half:]
		a.commit(left)
		a.commit(right)
		return
	}
	if err == nil && a.e.notify != nil {
		for p, fresh := range g.fresh {
			a.e.notify(p, fresh, g.versions[p])
		}
	}
	took := a.Committed(start, works)
	for _, k := range g.works {
		k.Err = err
		k.Answer()
	}
	if a.e.opt.Committed != nil && err == nil {
		a.e.opt.Committed(len(g.works), took)
	}
}

// present refuses those who asked before the database went back: what they know of it is not so any
// more.
func (a *appender) present(works []*group.Work) (*here, []*group.Work) {
	k, err := a.e.at()
	kept := make([]*group.Work, 0, len(works))
	for _, w := range works {
		switch {
		case err != nil:
			w.Err = err
		case w.Era != "" && w.Era != k.id():
			w.Err = era.Gone()
		default:
			kept = append(kept, w)
			continue
		}
		w.Answer()
	}
	return k, kept
}

// try appends a group until its outcome is known: after a commit that was not answered, the same ids
// find out whether it took place.
func (a *appender) try(g *appendGroup) error {
	ctx, cancel := context.WithTimeout(context.Background(), appendPatience)
	defer cancel()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		one, cancel := context.WithTimeout(ctx, tryPatience)
		err := g.send(one, a.e)
		cancel()
		if err == nil {
			return nil
		}
		if errors.Is(err, era.ErrWentBack) {
			return err // whether a try before was committed means nothing any more
		}
		g.again = g.again || ambiguous(err)
		if x, ok := errors.AsType[*pgconn.PgError](err); ok && !ambiguous(x) && !conflicted(x) {
			return a.e.mapError(err)
		}
		select {
		case <-time.After(wait):
			continue
		case <-ctx.Done():
		case <-a.Quit:
		}
		if g.again {
			return &hook.Error{
				Kind: hook.KindUnavailable, Code: "outcome_unknown", RetryAfter: time.Second,
				Detail: "the commit was not answered; try again with the same id", Err: err,
			}
		}
		return a.e.mapError(err)
	}
}

// appendGroup is what goes to the database as one pipelined transaction: no two of its rows have the
// same id.
type appendGroup struct {
	partition hook.Partition
	works     []*group.Work
	later     []*group.Work
	again     bool  // an earlier try may have been committed
	here      *here // the database as it is known; nil where nobody looks
	rows      []appendRow
	first     map[log.EventID]int // row by id

	known    map[log.EventID]*hook.Event
	fresh    map[hook.Partition][]*hook.Event
	versions map[hook.Partition]int64 // of the configuration
}

type appendRow struct {
	event  *hook.Event
	caller int
	look   bool // its id may be there
}

func newAppendGroup(p hook.Partition, works []*group.Work) *appendGroup {
	g := &appendGroup{partition: p, first: map[log.EventID]int{}}
	for _, k := range works {
		if g.meets(k) {
			g.later = append(g.later, k)
			continue
		}
		caller := len(g.works)
		g.works = append(g.works, k)
		k.Batch.Appended = make([]hook.Appended, len(k.Events))
		begin := len(g.rows)
		for i, e := range k.Events {
			id := log.ID(e)
			at, twice := g.first[id]
			if !twice {
				g.first[id] = len(g.rows)
				g.rows = append(g.rows, appendRow{event: e, caller: caller})
				continue
			}
			if before := g.rows[at].event; before.Digest != e.Digest {
				k.Batch.Appended[i] = hook.Appended{Event: before, Conflict: true}
			}
		}
		if conflicts(k) { // with itself: all or nothing
			for _, r := range g.rows[begin:] {
				delete(g.first, log.ID(r.event))
			}
			g.rows = g.rows[:begin]
		}
	}
	return g
}

// meets reports whether some id of a caller is another's in the group.
func (g *appendGroup) meets(k *group.Work) bool {
	for _, e := range k.Events {
		if _, ok := g.first[log.ID(e)]; ok {
			return true
		}
	}
	return false
}

func conflicts(k *group.Work) bool {
	for _, a := range k.Batch.Appended {
		if a.Conflict {
			return true
		}
	}
	return false
}

// givenTable are the rows of a group as they are given to the database; those that go across partitions
// name theirs besides.
var givenTable = sql.Table[appendRow]{Columns: []sql.Column[appendRow]{
	sql.Ints("caller", func(r appendRow) int64 { return int64(r.caller) }),
	sql.Ints("company", func(r appendRow) int64 { return int64(r.event.Company) }),
	sql.Texts("id", func(r appendRow) string { return r.event.ID }),
	sql.Texts("topic", func(r appendRow) string { return r.event.Topic }),
	sql.Texts("object_key", func(r appendRow) string { return r.event.ObjectKey }),
	sql.Blobs("data", func(r appendRow) []byte { return r.event.Data }),
	sql.Blobs("digest", func(r appendRow) []byte { return r.event.Digest[:] }),
	sql.Times("occurred_at", func(r appendRow) *time.Time { return r.event.OccurredAt }),
	sql.Times("expires_at", func(r appendRow) *time.Time { return r.event.ExpiresAt }),
	sql.BlobsOrNull("changes", func(r appendRow) []byte { return r.event.Changes }),
	sql.Booleans("look", func(r appendRow) bool { return r.look }),
}}

// appendEvents is what follows the lock, as a statement of its own: it sees all that was committed
// before the lock was granted. It looks the ids up, numbers and inserts the rest, except for callers
// of whom an event clashes, and returns both.
//
// appendAcross is the same for events of several partitions, $1, each row with its own.
var (
	appendEvents = `
	WITH g AS MATERIALIZED (
		SELECT * FROM ` + givenTable.Unnest(2) + ` WITH ORDINALITY AS g (` + givenTable.Names() + `, n)
	), ` + knownEvents + `, last AS MATERIALIZED (
		SELECT greatest(e."offset", p.base_offset) AS "offset", ` + acceptedNow + ` AS accepted_at
		FROM partitions p LEFT JOIN LATERAL (` + lastEvent + `) AS e ON true
		WHERE p.id = $1 AND ($14::text = '' OR p.xmin::text = $14)
	), fresh AS (
		INSERT INTO events (partition, ` + log.Events.Names() + `)
		SELECT $1, last."offset" + row_number() OVER (ORDER BY g.n), ` + givenValues + `, last.accepted_at
		FROM g CROSS JOIN last
		` + unknown + `
		RETURNING "offset", id, company, accepted_at
	), version AS (
		SELECT config_version FROM owners WHERE partition = $1
	)
	SELECT config_version, true AS fresh, $1::bigint AS partition, ` + freshAnswer + `
	FROM fresh, version
	UNION ALL
	SELECT config_version, false, partition, ` + log.HeadColumns + `
	FROM known, version`

	appendAcross = `
	WITH g AS MATERIALIZED (
		SELECT * FROM ` + strings.TrimSuffix(givenTable.Unnest(2), ")") + `, $14::bigint[]) WITH ORDINALITY AS g (` + givenTable.Names() + `, partition, n)
	), ` + knownEvents + `, last AS MATERIALIZED (
		SELECT p.id AS partition, greatest(e."offset", p.base_offset) AS "offset", ` + acceptedNow + ` AS accepted_at
		FROM partitions p LEFT JOIN LATERAL (` + lastEvent + `) AS e ON true
		JOIN unnest($1::bigint[], $15::text[]) AS same (id, row) ON same.id = p.id AND (same.row = '' OR p.xmin::text = same.row)
	), fresh AS (
		INSERT INTO events (partition, ` + log.Events.Names() + `)
		SELECT g.partition, last."offset" + row_number() OVER (PARTITION BY g.partition ORDER BY g.n), ` + givenValues + `, last.accepted_at
		FROM g JOIN last USING (partition)
		` + unknown + `
		RETURNING partition, "offset", id, company, accepted_at
	)
	SELECT config_version, true AS fresh, f.partition, ` + freshAnswer + `
	FROM fresh f JOIN owners o ON o.partition = f.partition
	UNION ALL
	SELECT config_version, false, k.partition, ` + log.HeadColumns + `
	FROM known k JOIN owners o ON o.partition = k.partition`
)

// What both have in common.
const (
	knownEvents = `known AS MATERIALIZED (
		SELECT g.n, g.caller, e.digest <> g.digest AS clash, e.*
		FROM g CROSS JOIN LATERAL (
			SELECT x.partition, x."offset", x.id, x.company, x.topic, x.object_key, x.digest, x.occurred_at, x.accepted_at
			FROM events x WHERE x.company = g.company AND x.id = g.id
			UNION ALL SELECT x.partition, 0, x.id, x.company, x.topic, x.object_key, x.digest, x.occurred_at, x.accepted_at
			FROM scheduled x WHERE x.company = g.company AND x.id = g.id LIMIT 1) AS e
		WHERE g.look
	)`
	unknown     = `WHERE NOT EXISTS (SELECT 1 FROM known k WHERE k.n = g.n) AND NOT EXISTS (SELECT 1 FROM known k WHERE k.clash AND k.caller = g.caller)`
	acceptedNow = `greatest(e.accepted_at, coalesce($13::bigint, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint))`
	lastEvent   = `SELECT x."offset", x.accepted_at FROM events x WHERE x.partition = p.id ORDER BY x."offset" DESC LIMIT 1`
	givenValues = `g.id, g.company, g.topic, g.object_key, g.data, g.digest, g.occurred_at, g.expires_at, g.changes`
	freshAnswer = `"offset", id, company, '' AS topic, '' AS object_key, '' ::bytea AS digest, NULL::bigint AS occurred_at, accepted_at`

	// lockSamePartitions is lockSamePartition for several.
	lockSamePartitions = `
		SELECT p.id FROM partitions p JOIN unnest($1::bigint[], $2::text[]) AS g (id, row) ON g.id = p.id
		WHERE g.row = '' OR p.xmin::text = g.row ORDER BY p.id FOR UPDATE OF p`
)

func (g *appendGroup) send(ctx context.Context, e *Engine) error {
	g.known, g.fresh, g.versions = map[log.EventID]*hook.Event{}, map[hook.Partition][]*hook.Event{}, map[hook.Partition]int64{}
	placed := map[log.EventID]*hook.Event{}
	if len(g.rows) > 0 { // else every caller clashes with itself
		held := 0
		lock := step{lockSamePartition, []any{int64(g.partition), g.row(g.partition)}, counted(&held)}
		want := 1
		if g.partition == across {
			all := g.partitions()
			lock = step{lockSamePartitions, []any{all, g.rowsOf(all)}, counted(&held)}
			want = len(all)
		}
		if err := e.transact(ctx, lock, g.insertion(e, placed)); err != nil {
			return err
		}
		if held != want {
			return e.noticed(g.here, "its rows are not those that this node knows")
		}
	}
	g.answer(placed)
	for p, fresh := range g.fresh {
		if last := fresh[len(fresh)-1]; g.here != nil {
			e.present.acked.Store(&acked{g.here.era.ID, p, last.Offset, last.ID, time.Now()})
		}
	}
	return nil
}

// AppendFrom appends what fn returns, under the locks that it runs under.
func (e *Engine) AppendFrom(ctx context.Context, partitions []hook.Partition, fn func(sql.Tx) ([]*hook.Event, error)) error {
	k, err := e.mayWrite(ctx)
	if err != nil {
		return err
	}
	var fresh map[hook.Partition][]*hook.Event
	s := &pgSession{e: e}
	err = e.again(ctx, func(ctx context.Context) error {
		return pgx.BeginTxFunc(ctx, e.pool, readCommitted, func(t pgx.Tx) error {
			*s, fresh = pgSession{ctx: ctx, e: e, tx: t}, map[hook.Partition][]*hook.Event{}
			for _, p := range slices.Sorted(slices.Values(partitions)) {
				if _, err := s.Exec(ctx, LockPartition, int64(p)); err != nil {
					return err
				}
			}
			if err := e.still(ctx, s, k); err != nil {
				return err
			}
			events, err := fn(s)
			for _, x := range events {
				fresh[x.Partition] = append(fresh[x.Partition], x)
			}
			for _, p := range slices.Sorted(maps.Keys(fresh)) {
				if err == nil {
					err = e.insert(ctx, s, p, fresh[p])
				}
			}
			return err
		})
	})
	if err != nil {
		return e.mapError(err)
	}
	for p, events := range fresh {
		last := events[len(events)-1]
		if k != nil {
			e.present.acked.Store(&acked{k.era.ID, p, last.Offset, last.ID, time.Now()})
		}
		if e.notify != nil {
			e.notify(p, events, s.versions[p])
		}
	}
	return nil
}

// insert numbers events and puts them at the end of a partition's log, whose lock the session holds.
func (e *Engine) insert(ctx context.Context, s *pgSession, p hook.Partition, events []*hook.Event) error {
	var head hook.Offset
	var accepted, version int64
	err := sql.One(ctx, s, `
		SELECT greatest(e."offset", p.base_offset), `+strings.Replace(acceptedNow, "$13", "$2", 1)+`, o.config_version
		FROM partitions p JOIN owners o ON o.partition = p.id LEFT JOIN LATERAL (`+lastEvent+`) AS e ON true WHERE p.id = $1`,
		[]any{int64(p), e.acceptance()}, &head, &accepted, &version)
	if err != nil {
		return err
	}
	for i, x := range events {
		x.Offset, x.AcceptedAt = head+hook.Offset(i)+1, sql.FromMicros(accepted)
	}
	s.Changed(p, version)
	_, err = s.Exec(ctx, `INSERT INTO events (partition, `+log.Events.Names()+`) SELECT $1::bigint, g.* FROM `+log.Events.Unnest(2)+` AS g`,
		append([]any{int64(p)}, log.Events.Arrays(events)...)...)
	return err
}

// row is what wrote a partition's row, as far as it is known.
func (g *appendGroup) row(p hook.Partition) string {
	if g.here == nil || p >= across {
		return ""
	}
	return g.here.rows[p]
}

func (g *appendGroup) rowsOf(partitions []int64) []string {
	return sql.Array(partitions, func(p int64) string { return g.row(hook.Partition(p)) })
}

// counted counts the rows of an answer.
func counted(n *int) func(pgx.Rows) error {
	return func(r pgx.Rows) error {
		for r.Next() {
			*n++
		}
		return r.Err()
	}
}

// acceptance is the time of acceptance, null for the database's.
func (e *Engine) acceptance() any {
	if e.opt.Now == nil {
		return nil
	}
	return sql.Micros(e.opt.Now())
}

func (g *appendGroup) insertion(e *Engine, placed map[log.EventID]*hook.Event) step {
	for i := range g.rows {
		g.rows[i].look = g.again || !g.rows[i].event.FreshID
	}
	args := append(append([]any{int64(g.partition)}, givenTable.Arrays(g.rows)...), e.acceptance())
	query := appendEvents
	if g.partition != across {
		args = append(args, g.row(g.partition))
	} else {
		all := g.partitions()
		query, args[0] = appendAcross, all
		args = append(args, sql.Array(g.rows, func(r appendRow) int64 { return int64(r.event.Partition) }), g.rowsOf(all))
	}
	return step{query, args, func(r pgx.Rows) error {
		for r.Next() {
			x := &hook.Event{}
			var version int64
			var fresh bool
			var digest []byte
			var occurred *int64
			var accepted int64
			if err := r.Scan(&version, &fresh, &x.Partition, &x.Offset, &x.ID, &x.Company, &x.Topic, &x.ObjectKey, &digest, &occurred, &accepted); err != nil {
				return err
			}
			g.versions[x.Partition] = version
			copy(x.Digest[:], digest)
			x.OccurredAt, x.AcceptedAt = sql.FromMicrosOrNull(occurred), sql.FromMicros(accepted)
			if fresh {
				placed[log.ID(x)] = x
			} else {
				g.known[log.ID(x)] = x
			}
		}
		return r.Err()
	}}
}

// partitions are those of the group's events.
func (g *appendGroup) partitions() (list []int64) {
	for _, r := range g.rows {
		if p := int64(r.event.Partition); !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list
}

// answer tells the callers, after the commit, what became of their events.
func (g *appendGroup) answer(placed map[log.EventID]*hook.Event) {
	for _, r := range g.rows { // in the order of the offsets
		if at, ok := placed[log.ID(r.event)]; ok {
			r.event.Offset, r.event.AcceptedAt = at.Offset, at.AcceptedAt
			g.fresh[at.Partition] = append(g.fresh[at.Partition], r.event)
		}
	}
	for _, k := range g.works {
		k.Batch.ConfigVersion = g.versions[g.partition]
		if conflicts(k) {
			continue
		}
		met := map[log.EventID]bool{}
		for i, x := range k.Events {
			id := log.ID(x)
			before := g.known[id]
			switch {
			case before == nil:
				k.Batch.Appended[i] = hook.Appended{Event: g.rows[g.first[id]].event, Duplicate: met[id]}
			case before.Digest != x.Digest:
				k.Batch.Appended[i] = hook.Appended{Event: before, Conflict: true}
			default:
				// What carries an id of ours was appended by the try before.
				k.Batch.Appended[i] = hook.Appended{Event: before, Duplicate: met[id] || !x.FreshID}
			}
			met[id] = true
		}
	}
}
