package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/era"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// A database goes back when a standby is promoted that had not received everything, when a copy of it
// is restored, when a disk is set back. Its offsets and keys are then given out a second time, to
// others. So nothing that this process remembers may be used on it:
//
//   - A new connection shows which server it leads to, by the server's identifier, the timeline of its
//     log and the database's own number, and whether what this process wrote last is there ([validate]).
//     A standby is none to connect to: the session would outlive its promotion.
//   - A restore by pg_restore leaves connections as they are, and writes the rows anew. The rows of
//     partitions and of the era that lasts are written once, and each append, record and change looks
//     whether they are still those that it knows ([present]).
//   - A lease is renewed only where its last renewal is found ([beats]).
//
// Who notices ends its term, and settles on the database as it is now ([Engine.Settle]).

// present is what this process knows of the database that it is on.
type present struct {
	asked pgconn.ValidateConnectFunc // by the URL; may be nil
	here  atomic.Pointer[here]       // nil while it is opened, and for those who only copy
	back  atomic.Pointer[string]     // why it is known to have gone back; nil when it is not
	beats beats
	// renewing is held by the one renewal that is under way.
	renewing sync.Mutex
	acked    atomic.Pointer[acked]

	mu   sync.Mutex
	left []string // ids of the eras that came before: a server that is in one of them was replaced
}

// here is one era on one server.
type here struct {
	era  era.Era
	row  string                     // what wrote the era's row
	rows [postgresPartitions]string // and those of partitions
}

// id is the era's, "" where nobody looks.
func (k *here) id() string {
	if k == nil {
		return ""
	}
	return k.era.ID
}

// acked is the last append of this process that was acknowledged.
type acked struct {
	era       string
	partition hook.Partition
	offset    hook.Offset
	id        string
	at        time.Time
}

// ackedFor is how long it cannot have been purged.
const ackedFor = time.Hour

// beats are what the renewals of leases wrote, by node. A process is one node at a time.
type beats struct {
	mu   sync.Mutex
	of   map[string]*pulse
	last string // node that joined last
}

// pulse is what the renewals of one lease wrote: those that were confirmed, and one that may have been.
type pulse struct {
	known   []string // confirmed, the latest last
	pending string   // sent, and not answered yet
	at      time.Time
}

// beatsKept is how many a question may be overtaken by.
const beatsKept = 16

// next is what a node writes now, and what it must find.
func (b *beats) next(node string) (beat string, find []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of[node]
	if p == nil {
		if b.of == nil {
			b.of = map[string]*pulse{}
		}
		p = &pulse{}
		b.of[node] = p
	}
	if p.pending == "" {
		if p.pending = rand.Text(); failpoint.Is(failpoint.Blind) {
			p.pending = string(failpoint.Blind)
		}
	}
	return p.pending, p.find()
}

func (p *pulse) find() []string {
	find := []string{p.pending}
	if n := len(p.known); n > 0 {
		find = append(find, p.known[n-1])
	}
	return find
}

// confirm takes in that a beat was written, for the first time by a node that joins.
func (b *beats) confirm(node, beat string, joins bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if joins {
		b.last = node
	}
	if p := b.of[node]; p != nil && p.pending == beat {
		if p.known = append(p.known, beat); len(p.known) > beatsKept {
			p.known = p.known[1:]
		}
		p.pending, p.at = "", time.Now()
	}
}

// end forgets a node.
func (b *beats) end(node string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.of, node)
	if b.last == node {
		b.last = ""
	}
}

func (b *beats) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.of, b.last = nil, ""
}

// wanted returns the node of now, "" for none, and what is to be found of it.
func (b *beats) wanted() (node string, find []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.of[b.last]; p != nil {
		return b.last, p.find()
	}
	return "", nil
}

// has says that a beat is none from before the last one at the time of asking.
func (b *beats) has(node, beat string, asked []string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of[node]
	if p == nil || beat == p.pending || slices.Contains(asked, beat) {
		return true
	}
	for _, x := range slices.Backward(p.known) {
		if x == beat {
			return true
		}
		if slices.Contains(asked, x) {
			return false // what lies before was not the last one any more
		}
	}
	return false
}

// outlived says that a node that was declared dead may have been taken away since its last renewal.
func (b *beats) outlived(node string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := b.of[node]
	return p == nil || len(p.known) == 0 || time.Since(p.at) > deadKept || time.Since(p.at.Round(0)) > deadKept
}

// noticed is the error for who found out that the database is not what it was, knowing it as k.
func (e *Engine) noticed(k *here, why string) error {
	if e.present.here.Load() == k && e.present.back.CompareAndSwap(nil, &why) {
		e.pool.Reset()
		e.few.Reset()
	}
	return era.Gone()
}

// at is the database as this process knows it; an error when it is known to have gone back.
func (e *Engine) at() (*here, error) {
	if e.present.back.Load() != nil {
		return nil, era.Gone()
	}
	return e.present.here.Load(), nil
}

// errStandby is about a server that may be promoted while we are connected to it.
var errStandby = errors.New("the server is a standby that was not promoted: name the servers with target_session_attrs=read-write")

// errNotWhole is about a database that is not to be judged yet.
var errNotWhole = errors.New("tables or keys are missing: it is being restored")

// errReplaced is about a server that others have gone on from.
var errReplaced = errors.New("the server was replaced by another one, and knows nothing of that")

// validate looks where a new connection leads to.
func (e *Engine) validate(ctx context.Context, c *pgconn.PgConn) error {
	if e.present.asked != nil {
		if err := e.present.asked(ctx, c); err != nil {
			return err
		}
	}
	k := e.present.here.Load()
	if k == nil || failpoint.Is(failpoint.Blind) {
		return nil
	}
	o, err := originOf(ctx, c)
	switch {
	case err != nil:
		return err
	case o.System == k.era.Origin.System && o.Timeline != 0 && o.Timeline < k.era.Origin.Timeline:
		return errReplaced
	case !o.Same(k.era.Origin):
		return e.noticed(k, o.Differs(k.era.Origin))
	}
	lost, err := e.lost(ctx, c)
	if err == nil && lost != "" {
		err = e.noticed(k, lost)
	}
	return err
}

// originOf asks which server, and which database, a connection leads to. What a server does not tell is
// not known: not everything that speaks like Postgres has such a log.
func originOf(ctx context.Context, c *pgconn.PgConn) (o era.Origin, err error) {
	const where = `SELECT pg_is_in_recovery(), (SELECT oid FROM pg_database WHERE datname = current_database())`
	for _, query := range []string{
		where + `, (SELECT system_identifier FROM pg_control_system()),
			CASE WHEN pg_is_in_recovery() THEN '' ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END`,
		where + `, '', ''`,
	} {
		r := c.ExecParams(ctx, query, nil, nil, nil, nil).Read()
		if err = r.Err; err != nil {
			if _, said := errors.AsType[*pgconn.PgError](err); said {
				continue
			}
			return o, err
		}
		if len(r.Rows) != 1 || len(r.Rows[0]) != 4 {
			return o, errors.New("the server does not say what it is")
		}
		row := r.Rows[0]
		if string(row[0]) == "t" {
			return o, errStandby
		}
		o.System = string(row[2])
		o.Database, _ = strconv.ParseInt(string(row[1]), 10, 64)
		o.Timeline, _ = strconv.ParseInt(string(row[3]), 16, 64)
		return o, nil
	}
	return o, err
}

// lost says what is missing of that which this process wrote last; "" when nothing is.
func (e *Engine) lost(ctx context.Context, c *pgconn.PgConn) (string, error) {
	node, find := e.present.beats.wanted()
	last := e.present.acked.Load()
	if k := e.present.here.Load(); last == nil || time.Since(last.at) > ackedFor || k != nil && k.era.ID != last.era {
		last = &acked{}
	}
	if node == "" && last.id == "" {
		return "", nil
	}
	r := c.ExecParams(ctx, `
		SELECT coalesce((SELECT CASE WHEN dead THEN 'dead' ELSE beat END FROM nodes WHERE id = $1), ''),
			$4 = '' OR EXISTS (SELECT 1 FROM events WHERE partition = $2::bigint AND "offset" = $3::bigint AND id = $4)`,
		[][]byte{[]byte(node), fmt.Append(nil, int64(last.partition)), fmt.Append(nil, int64(last.offset)), []byte(last.id)}, nil, nil, nil).Read()
	if r.Err != nil {
		return "", r.Err
	}
	if len(r.Rows) != 1 || len(r.Rows[0]) != 2 {
		return "", errors.New("the server does not say what it has")
	}
	beat, event := string(r.Rows[0][0]), string(r.Rows[0][1]) == "t"
	switch {
	case !event:
		return "the event that this node acknowledged last is not there", nil
	case node != "" && beat != "dead" && !e.present.beats.has(node, beat, find):
		return "what this node wrote last when it renewed its lease is not there", nil
	}
	return "", nil
}

// Settle finds the era that the database is in, and begins another one where it went back. It returns
// the one that it began.
func (e *Engine) Settle(ctx context.Context, said bool) (begun *era.Era, err error) {
	own := e.patient(e.pool.Config().ConnConfig)
	own.ValidateConnect = e.present.asked
	c, err := pgx.ConnectConfig(ctx, own)
	if err != nil {
		return nil, e.mapError(err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	o, err := originOf(ctx, c.PgConn())
	if err != nil {
		return nil, sql.Unavailable("store_busy", err)
	}
	if err := e.whole(ctx, c); err != nil {
		return nil, err
	}
	x := settlement{e: e, is: o, was: e.present.here.Load()}
	if x.was != nil {
		if err := e.migrate(ctx, own); err != nil { // what was restored may be older than this program
			return nil, sql.Unavailable("store_busy", err)
		}
		if x.lost, err = e.lost(ctx, c.PgConn()); err != nil {
			return nil, e.mapError(err)
		}
		x.checked = e.present.acked.Load() != nil
	}
	if said {
		x.said = era.CauseSaid
	}
	err = e.again(ctx, func(context.Context) error {
		return pgx.BeginTxFunc(ctx, c, readCommitted, func(t pgx.Tx) error {
			x.q = &pgSession{ctx: ctx, e: e, tx: t}
			return x.do(ctx)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("settle on the database: %w", e.mapError(err))
	}
	x.take()
	return x.begun, nil
}

// settlement is the transaction of a settling.
type settlement struct {
	e       *Engine
	q       *pgSession
	is      era.Origin
	was     *here
	lost    string // of what this process wrote last
	checked bool   // and there was something to look for
	said    string // why it went back, when nothing shows it
	now     here
	before  []string
	begun   *era.Era
}

func (x *settlement) do(ctx context.Context) error {
	x.begun, x.now = nil, here{}
	// Other changes of the configuration wait, and so do other nodes that settle.
	if _, err := x.q.Exec(ctx, `SELECT value FROM meta WHERE name = 'changes' FOR UPDATE`); err != nil {
		return err
	}
	last, err := era.Last(ctx, x.q)
	if err != nil {
		return err
	}
	row, err := x.eraRow(ctx, last.Number)
	if err != nil {
		return err
	}
	switch {
	case last.Number == 0:
		if err := era.Add(ctx, x.q, x.e.now(), &last); err != nil {
			return err
		}
		if row = ""; x.was != nil { // somebody knows better: it is from before there were eras
			if err := x.begin(ctx, era.CauseCopy); err != nil {
				return err
			}
			last = *x.begun
		}
	case x.replaced(last, row):
		return sql.Unavailable("store_busy", errReplaced)
	}
	if why := x.wentBack(last, row); why != "" {
		if err := x.begin(ctx, why); err != nil {
			return err
		}
		last, row = *x.begun, ""
	}
	if row == "" || last.Origin.Written == 0 {
		if err := x.certify(ctx, &last); err != nil {
			return err
		}
	}
	return x.look(ctx, last)
}

// replaced says that the server is still in an era that others have left on another one.
func (x *settlement) replaced(last era.Era, row string) bool {
	return x.isLeft(last) && last.Origin.Wrote(row) && x.is.Same(last.Origin) && x.was != nil && !x.is.Same(x.was.era.Origin)
}

func (x *settlement) isLeft(last era.Era) bool {
	x.e.present.mu.Lock()
	defer x.e.present.mu.Unlock()
	return slices.Contains(x.e.present.left, last.ID)
}

// wentBack says why the database is older than what somebody knows of it; "" when it is not. An era that
// another node began is as new as can be.
func (x *settlement) wentBack(last era.Era, row string) string {
	switch looked := last.Origin.Written != 0; {
	case x.said != "":
		return x.said
	case looked && !last.Origin.Wrote(row):
		return era.CauseCopy
	case looked && !x.is.Same(last.Origin):
		return x.is.Differs(last.Origin)
	case x.isLeft(last):
		return "it is as it was before it went back last"
	case x.was != nil && last.ID == x.was.era.ID && x.lost != "":
		return x.lost
	}
	return ""
}

// begin ends the term of all nodes, and begins another era.
func (x *settlement) begin(ctx context.Context, why string) error {
	b := era.Setback{Cause: why, Hold: x.e.opt.HoldWhenBack}
	node, _ := x.e.present.beats.wanted()
	var others int64
	err := sql.One(ctx, x.q, `SELECT count(*) FROM nodes WHERE NOT dead AND id <> $1`, []any{node}, &others)
	if err != nil {
		return err
	}
	b.Whole = x.was != nil && x.lost == "" && x.checked && others == 0 && node != ""
	// A record that has begun is waited for; none follows it.
	if _, err := x.q.Exec(ctx, `UPDATE nodes SET dead = true WHERE NOT dead`); err != nil {
		return err
	}
	if _, err := x.q.Exec(ctx, `UPDATE owners SET node_id = ''`); err != nil {
		return err
	}
	x.begun, err = era.Begin(ctx, x.q, x.e, x.e.now(), b)
	return err
}

// certify writes down which server the era is on, and that the row was written here.
func (x *settlement) certify(ctx context.Context, last *era.Era) error {
	o := x.is
	if err := sql.One(ctx, x.q, `SELECT txid_current()`, nil, &o.Written); err != nil {
		return err
	}
	_, err := x.q.Exec(ctx, `UPDATE eras SET system = $1, timeline = $2, database = $3, written = $4 WHERE number = $5`, o.System, o.Timeline, o.Database, o.Written, last.Number)
	last.Origin = o
	return err
}

// eraRow is what wrote an era's row; "" when there is none.
func (x *settlement) eraRow(ctx context.Context, number int64) (row string, err error) {
	err = sql.One(ctx, x.q, `SELECT coalesce((SELECT xmin::text FROM eras WHERE number = $1), '')`, []any{number}, &row)
	return row, err
}

// look reads what shows, from now on, that the database is still the same.
func (x *settlement) look(ctx context.Context, last era.Era) (err error) {
	x.now.era = last
	if x.now.row, err = x.eraRow(ctx, last.Number); err != nil {
		return err
	}
	err = sql.Each(ctx, x.q, `SELECT id, xmin::text FROM partitions WHERE id < $1`, []any{int64(postgresPartitions)}, func(r sql.Rows) error {
		var p int64
		var row string
		err := r.Scan(&p, &row)
		if err == nil {
			x.now.rows[p] = row
		}
		return err
	})
	if err != nil {
		return err
	}
	x.before = nil
	return sql.Each(ctx, x.q, `SELECT id FROM eras WHERE number < $1`, []any{last.Number}, func(r sql.Rows) error {
		var id string
		err := r.Scan(&id)
		x.before = append(x.before, id)
		return err
	})
}

// take makes the database as it is now the one that this process knows. What it knew of another one it
// forgets.
func (x *settlement) take() {
	p := &x.e.present
	p.mu.Lock()
	for _, id := range x.before {
		if !slices.Contains(p.left, id) {
			p.left = append(p.left, id)
		}
	}
	p.mu.Unlock()
	if x.was != nil && x.was.era.ID != x.now.era.ID {
		x.e.forget()
	}
	p.beats.forget()
	now := x.now
	p.here.Store(&now)
	p.back.Store(nil)
	x.e.pool.Reset()
	x.e.few.Reset()
}

// whole refuses a database that is being restored: primary keys come after all rows. One of an older
// version lacks tables, but no keys.
func (e *Engine) whole(ctx context.Context, c *pgx.Conn) error {
	var there, keyed int
	var counted bool
	err := c.QueryRow(ctx, `
		SELECT count(*), count(i.indexrelid), coalesce(bool_or(t.relname = $2 AND i.indexrelid IS NOT NULL), false)
		FROM pg_class t LEFT JOIN pg_index i ON i.indrelid = t.oid AND i.indisprimary AND i.indisvalid
		WHERE t.relkind = 'r' AND t.relname = ANY($1) AND pg_table_is_visible(t.oid)`, append(ownTables(), stepsTable), stepsTable).Scan(&there, &keyed, &counted)
	if err != nil {
		return e.mapError(err)
	}
	if keyed < there || !counted {
		return sql.Unavailable("store_busy", errNotWhole)
	}
	return nil
}

// ownTables are all tables that the migrations make.
func ownTables() []string {
	return strings.Fields(`meta nodes owners partitions records eras companies api_keys links audit idempotency webhooks rules cursors events sessions
		attempts answers parked skips unrecordable stats replays tests notices topics topic_checks dead_letters scheduled cancellations signing_keys`)
}

func (e *Engine) LastBeat(ctx context.Context, q sql.Tx) (at int64, err error) {
	err = sql.One(ctx, q, `SELECT coalesce(max(beat_at), 0) FROM nodes`, nil, &at)
	return at, err
}

// Resettle looks at a database anew after this process has written what shows that it is the same.
func (e *Engine) Resettle(ctx context.Context) error {
	if e.present.here.Load() == nil {
		return nil
	}
	_, err := e.Settle(ctx, false)
	return err
}

// Settle waits for nobody: it finds the database's era, and begins another one if it went back, which it
// returns. Before that nothing is written and nobody joins.
func (n *Nodes) Settle(ctx context.Context) (*era.Era, error) { return n.e.Settle(ctx, false) }

// still looks, after the lock that changes of the configuration take, whether the database is the one
// that is known: a statement of its own sees what was committed before the lock was granted.
func (e *Engine) still(ctx context.Context, q sql.Tx, k *here) error {
	if k == nil {
		return nil
	}
	n, err := q.Exec(ctx, `SELECT 1 FROM eras WHERE number = $1 AND xmin::text = $2 AND number = (SELECT max(number) FROM eras)`, k.era.Number, k.row)
	if err == nil && n == 0 {
		err = e.noticed(k, "its rows are not those that this node knows")
	}
	return err
}

// pinned marks a context with the era that it began in.
type pinned struct{}

// Pin marks the context of a request: what it looks up in one era it does not write in another.
func (e *Engine) Pin(ctx context.Context) context.Context {
	return context.WithValue(ctx, pinned{}, e.present.here.Load())
}

// mayWrite is the database as it is known, to who began in the same era.
func (e *Engine) mayWrite(ctx context.Context) (*here, error) {
	k, err := e.at()
	if was, ok := ctx.Value(pinned{}).(*here); err == nil && ok && was != nil && (k == nil || was.era.ID != k.era.ID) {
		return nil, era.Gone()
	}
	return k, err
}
