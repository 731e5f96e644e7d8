// Package transfer moves what a store holds: into another store, of the other engine or of the same, into a
// backup, and back from one. It reads and writes whole tables, and of what a row means it knows what depends
// on the store that it lies in.
package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/era"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Options say what a copy takes along, and whom it tells.
type Options struct {
	Company  string         // only this one; "" for everything
	Progress func(Progress) // hears of each step; may be nil
	held     bool           // the target waits for an operator before it delivers
	// live says that somebody writes to the source meanwhile: what was copied is what it was at the
	// beginning.
	live bool
}

// Progress is how far a copy is.
type Progress struct {
	Table       string
	Done, Total int64 // rows, of all tables
}

// Copied is what a copy came to.
type Copied struct {
	Rows      map[string]int64 `json:"rows"` // by table
	Companies int              `json:"companies"`
	Webhooks  int              `json:"webhooks"` // whose sums were found to be the same in both stores
}

// Copy writes what a store holds into another one, of the other engine or of the same. It goes on
// where it was broken off, and checks at the end that as many rows and the same sums are there. Both
// stores must be opened for it and served by nobody.
//
// Events keep their order within a company, and everything that names a place in the log moves with
// them. A copy of everything goes into an empty store; from the embedded store to Postgres the
// companies spread over its partitions, and offsets stay as they are. A company that goes into a
// store with others gets keys and offsets behind theirs.
func Copy(ctx context.Context, from, to *store.Store, o Options) (done Copied, err error) {
	c := &copying{from: from, to: to, o: o, done: Copied{Rows: map[string]int64{}}}
	err = from.Engine().Snapshot(ctx, func(q sql.Tx) error {
		c.q = q
		for _, step := range []func(context.Context) error{c.look, c.begin, c.rows, c.check, c.end} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = to.Resettle(ctx)
	}
	if err == nil {
		err = to.ReadTopics(ctx)
	}
	if err != nil {
		return Copied{}, fmt.Errorf("copy: %w", err)
	}
	return c.done, nil
}

// copying is a copy under way.
type copying struct {
	from, to *store.Store
	o        Options
	q        sql.Tx // the source, as it was when the copy began
	done     Copied

	// The source:
	stamp     int64 // tells it, as it is now, from any other
	last      counters
	heads     []hook.Offset // by partition
	swept     []hook.Offset
	companies map[int64]tenant // by key
	webhooks  map[int64]int64  // the company by the webhook's key
	own       []int64          // the webhooks that are copied
	total     int64

	// The target:
	base  counters // keys begin after these
	shift []int64  // what is added to an offset, by the source's partition
}

// counters are the last keys that a database handed out.
type counters struct{ company, webhook, replay int64 }

type tenant struct {
	id        string
	partition hook.Partition
}

// Names of what the target's meta holds while a copy into it is not finished, beside [store.MetaCopy], whose
// value is the stamp.
const (
	metaCopied  = "copy rows" // and the name of a table: rows that are there
	metaBase    = "copy base" // and the name of a counter
	copiedRows  = 1000        // of one transaction
	copiedBytes = 8 << 20
)

// look learns what the source holds.
func (c *copying) look(ctx context.Context) error {
	n := c.from.Partitions()
	c.heads, c.swept = make([]hook.Offset, n), make([]hook.Offset, n)
	c.companies, c.webhooks = map[int64]tenant{}, map[int64]int64{}
	for p := range n {
		var err error
		if c.heads[p], err = c.from.Engine().Head(ctx, c.q, hook.Partition(p)); err != nil {
			return err
		}
	}
	err := sql.Each(ctx, c.q, `SELECT partition, swept FROM owners WHERE partition < $1`, []any{int64(n)}, func(r sql.Rows) error {
		var p, swept int64
		err := r.Scan(&p, &swept)
		c.swept[p] = hook.Offset(swept)
		// A purge may have emptied the log; what was swept was there.
		c.heads[p] = max(c.heads[p], c.swept[p])
		return err
	})
	if err != nil {
		return err
	}
	err = sql.Each(ctx, c.q, `SELECT key, id, partition FROM companies`, nil, func(r sql.Rows) error {
		var key int64
		var t tenant
		err := r.Scan(&key, &t.id, &t.partition)
		c.companies[key] = t
		return err
	})
	if err != nil {
		return err
	}
	if err := c.lookAtWebhooks(ctx); err != nil {
		return err
	}
	if c.last, err = keysOf(ctx, c.q); err != nil {
		return err
	}
	return c.print(ctx)
}

func (c *copying) lookAtWebhooks(ctx context.Context) error {
	return sql.Each(ctx, c.q, `
		SELECT w.key, w.company, w.partition, coalesce(u."offset", 0) FROM webhooks w LEFT JOIN cursors u ON u.webhook = w.key ORDER BY w.key`,
		nil, func(r sql.Rows) error {
			var key, company int64
			var p hook.Partition
			var place hook.Offset
			if err := r.Scan(&key, &company, &p, &place); err != nil {
				return err
			}
			c.webhooks[key] = company
			c.heads[p] = max(c.heads[p], place)
			if c.o.Company == "" || c.companies[company].id == c.o.Company {
				c.own = append(c.own, key)
			}
			return nil
		})
}

func keysOf(ctx context.Context, q sql.Tx) (k counters, err error) {
	err = sql.One(ctx, q, `
		SELECT (SELECT value FROM meta WHERE name = 'company_key'), (SELECT value FROM meta WHERE name = 'webhook_key'),
			(SELECT value FROM meta WHERE name = 'replay_key')`, nil, &k.company, &k.webhook, &k.replay)
	return k, err
}

// print makes the stamp: a hash of sums that nobody can deliver, publish or change anything without
// moving.
func (c *copying) print(ctx context.Context) error {
	h := sha256.New()
	fmt.Fprintln(h, c.o.Company, c.last, c.heads, c.swept, len(c.companies), len(c.webhooks))
	for _, sum := range []string{
		`SELECT count(*) AS a, sum("offset") AS b, sum(sequence) AS c, sum(delivered + failed + skipped) AS d FROM cursors`,
		`SELECT count(*) AS a, sum(attempts) AS b, sum(due_at / 1000000) AS c, sum(step) AS d FROM parked`,
		`SELECT count(*) AS a, max(at) AS b, 0 AS c, 0 AS d FROM audit`,
		`SELECT 0 AS a, sum(config_version) AS b, 0 AS c, 0 AS d FROM owners`,
	} {
		var text string
		err := sql.One(ctx, c.q, `SELECT coalesce(CAST(a AS TEXT) || ' ' || CAST(b AS TEXT) || ' ' || CAST(c AS TEXT) || ' ' || CAST(d AS TEXT), '') FROM (`+sum+`) AS s`, nil, &text)
		if err != nil {
			return err
		}
		fmt.Fprintln(h, text)
	}
	c.stamp = int64(binary.BigEndian.Uint64(h.Sum(nil)) >> 16)
	return nil
}

// begin finds the copy that was broken off, or makes room for a new one.
func (c *copying) begin(ctx context.Context) error {
	c.shift = make([]int64, len(c.heads))
	return c.to.Engine().Write(ctx, func(q sql.Tx) error {
		if busy, err := c.to.Engine().Served(ctx, q); err != nil || busy {
			return errors.Join(err, errServed)
		}
		var stamp int64
		err := sql.One(ctx, q, `SELECT value FROM meta WHERE name = $1`, []any{store.MetaCopy}, &stamp)
		switch {
		case errors.Is(err, sql.ErrNoRow):
			if err := c.refuse(ctx, q); err != nil {
				return err
			}
			return c.reserve(ctx, q)
		case err != nil:
			return err
		case stamp != c.stamp:
			return errors.New("the target holds an unfinished copy of something else, or the source has changed since it began: begin with an empty target")
		}
		return c.resume(ctx, q)
	})
}

var errServed = errors.New("a server runs on the target: stop it first")

// refuse is an error when the target holds what must not be mixed with the copy.
func (c *copying) refuse(ctx context.Context, q sql.Tx) error {
	var companies, same int64
	err := sql.One(ctx, q, `SELECT count(*), coalesce(sum(CASE WHEN id = $1 THEN 1 ELSE 0 END), 0) FROM companies`, []any{c.o.Company}, &companies, &same)
	switch {
	case err != nil:
		return err
	case c.o.Company == "" && companies > 0:
		return errors.New("the target is not empty: a copy of everything needs an empty store, and a company of its own can be copied beside others")
	case same > 0:
		return fmt.Errorf("the target has a company %s already", c.o.Company)
	case c.o.Company != "" && !slices.ContainsFunc(c.ids(), func(id string) bool { return id == c.o.Company }):
		return hook.NotFound("company")
	}
	return nil
}

func (c *copying) ids() (list []string) {
	for _, t := range c.companies {
		list = append(list, t.id)
	}
	return list
}

// reserve takes keys and offsets out of circulation in the target: those behind what is there, as many
// as the source has used.
func (c *copying) reserve(ctx context.Context, q sql.Tx) (err error) {
	if c.base, err = keysOf(ctx, q); err != nil {
		return err
	}
	for name, n := range map[string][2]int64{
		"company_key": {c.base.company, c.last.company}, "webhook_key": {c.base.webhook, c.last.webhook}, "replay_key": {c.base.replay, c.last.replay},
	} {
		if _, err := q.Exec(ctx, `UPDATE meta SET value = $1 WHERE name = $2`, n[0]+n[1], name); err != nil {
			return err
		}
		if err := sql.SetMeta(ctx, q, metaBase+" "+name, n[0]); err != nil {
			return err
		}
	}
	bases, err := c.bases(ctx, q)
	if err != nil {
		return err
	}
	for p, base := range bases {
		c.shift[p] = base.shift
		if err := sql.SetMeta(ctx, q, fmt.Sprintf("%s %d", metaBase, p), base.shift); err != nil {
			return err
		}
		for _, target := range base.targets {
			if err := c.to.Engine().BeginAfter(ctx, q, target, base.shift+int64(c.heads[p])); err != nil {
				return err
			}
		}
	}
	return sql.SetMeta(ctx, q, store.MetaCopy, c.stamp)
}

// base is what becomes of the offsets of a source's partition.
type base struct {
	shift   int64
	targets []hook.Partition // where they are used up
}

func (c *copying) bases(ctx context.Context, q sql.Tx) (bases []base, err error) {
	var sum int64
	for p := range c.heads {
		b := base{}
		switch n := c.to.Partitions(); {
		case c.o.Company != "":
			for _, t := range c.companies {
				if t.id == c.o.Company && int(t.partition) == p {
					b.targets = []hook.Partition{c.hashed(t.id, hook.Partition(p))}
					head, err := c.to.Engine().LockLog(ctx, q, b.targets[0])
					if err != nil {
						return nil, err
					}
					b.shift = int64(head)
				}
			}
		case n == len(c.heads):
			b.targets = []hook.Partition{hook.Partition(p)}
		case n == 1: // one after the other
			b.shift, b.targets = sum, []hook.Partition{0}
			if sum += int64(c.heads[p]); sum < 0 {
				return nil, errors.New("the offsets of this log are too large for one partition")
			}
		default:
			for t := range n {
				b.targets = append(b.targets, hook.Partition(t))
			}
		}
		bases = append(bases, b)
	}
	return bases, nil
}

// place is the partition of the target that a company lives in.
func (c *copying) place(p hook.Partition, company int64) hook.Partition {
	return c.hashed(c.companies[company].id, p)
}

func (c *copying) hashed(id string, p hook.Partition) hook.Partition {
	if c.to.Partitions() == len(c.heads) {
		return p
	}
	return store.PartitionOf(id, c.to.Partitions())
}

func (c *copying) resume(ctx context.Context, q sql.Tx) error {
	for name, value := range map[string]*int64{"company_key": &c.base.company, "webhook_key": &c.base.webhook, "replay_key": &c.base.replay} {
		if err := sql.One(ctx, q, `SELECT value FROM meta WHERE name = $1`, []any{metaBase + " " + name}, value); err != nil {
			return err
		}
	}
	for p := range c.shift {
		if err := sql.One(ctx, q, `SELECT value FROM meta WHERE name = $1`, []any{fmt.Sprintf("%s %d", metaBase, p)}, &c.shift[p]); err != nil {
			return err
		}
	}
	return nil
}

// rows copies the tables.
func (c *copying) rows(ctx context.Context) error {
	for i := range tables {
		n, err := c.count(ctx, c.q, c.source(&tables[i]), c.scopes(&tables[i]))
		if err != nil {
			return err
		}
		c.total += n
	}
	var done int64
	for i := range tables {
		if err := c.table(ctx, &tables[i], &done); err != nil {
			return fmt.Errorf("%s: %w", tables[i].name, err)
		}
	}
	return nil
}

// source is a table as the source has it.
func (c *copying) source(t *copied) *copied {
	if t.name == "events" && c.from.Partitions() == 1 {
		s := *t
		s.key = []string{"offset"}
		return &s
	}
	return t
}

// scopes are the values of the scope column whose rows are copied; nil is every row.
func (c *copying) scopes(t *copied) []int64 {
	switch {
	case c.o.Company == "":
		return []int64{-1}
	case t.scope == "webhook":
		return c.own
	}
	for key, x := range c.companies {
		if x.id == c.o.Company {
			return []int64{key}
		}
	}
	return nil
}

// where is the condition of a scope, which is the first argument.
func where(t *copied, scope int64) string {
	if scope < 0 {
		return `CAST($1 AS BIGINT) < 0`
	}
	return `"` + t.scope + `" = $1`
}

func (c *copying) count(ctx context.Context, q sql.Tx, t *copied, scopes []int64) (sum int64, err error) {
	for _, scope := range scopes {
		var n int64
		if err := sql.One(ctx, q, `SELECT count(*) FROM `+t.name+` WHERE `+where(t, scope), []any{scope}, &n); err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// table copies one table from where it was broken off.
func (c *copying) table(ctx context.Context, t *copied, all *int64) error {
	s := c.source(t)
	done, err := c.begun(ctx, t)
	if err != nil {
		return err
	}
	skip := done
	*all += done
	for _, scope := range c.scopes(t) {
		var after []any
		if skip > 0 {
			n, err := c.count(ctx, c.q, s, []int64{scope})
			if err != nil {
				return err
			}
			if skip >= n {
				skip -= n
				continue
			}
			if after, err = c.keyAt(ctx, s, scope, skip-1); err != nil {
				return err
			}
			skip = 0
		}
		for {
			batch, last, err := c.batch(ctx, s, scope, after)
			if err != nil {
				return err
			}
			if len(batch) == 0 {
				break
			}
			after, done, *all = last, done+int64(len(batch)), *all+int64(len(batch))
			if err := c.put(ctx, t, batch, done); err != nil {
				return err
			}
			if c.o.Progress != nil {
				c.o.Progress(Progress{Table: t.name, Done: *all, Total: c.total})
			}
		}
	}
	c.done.Rows[t.name] = done
	return nil
}

// begun is how many rows of a table are there already.
func (c *copying) begun(ctx context.Context, t *copied) (n int64, err error) {
	err = c.to.Engine().Read(ctx, func(q sql.Tx) error {
		return sql.One(ctx, q, `SELECT coalesce((SELECT value FROM meta WHERE name = $1), 0)`, []any{metaCopied + " " + t.name}, &n)
	})
	return n, err
}

// keyAt is the key of the nth row of a scope.
func (c *copying) keyAt(ctx context.Context, t *copied, scope, n int64) ([]any, error) {
	key := make([]any, len(t.key))
	into := make([]any, len(key))
	for i := range key {
		into[i] = &key[i]
	}
	err := sql.One(ctx, c.q, `SELECT `+names(t.key)+` FROM `+t.name+` WHERE `+where(t, scope)+` ORDER BY `+names(t.key)+` LIMIT 1 OFFSET $2`, []any{scope, n}, into...)
	return key, err
}

// batch reads and translates the next rows after a key.
func (c *copying) batch(ctx context.Context, t *copied, scope int64, after []any) (batch [][]any, last []any, err error) {
	columns := names(t.columns())
	if c.from.Partitions() == 1 && t.name == "events" {
		columns = `0, ` + names(t.without("partition").columns())
	}
	query := `SELECT ` + columns + ` FROM ` + t.name + ` WHERE ` + where(t, scope)
	if after != nil {
		var marks []string
		for i := range after {
			marks = append(marks, fmt.Sprintf("$%d", i+2))
		}
		query += ` AND (` + names(t.key) + `) > (` + strings.Join(marks, ", ") + `)`
	}
	size := 0
	err = sql.Each(ctx, c.q, query+fmt.Sprintf(` ORDER BY %s LIMIT %d`, names(t.key), copiedRows), append([]any{scope}, after...), func(r sql.Rows) error {
		row := make([]any, len(t.cols))
		into := make([]any, len(row))
		for i := range row {
			into[i] = &row[i]
		}
		if err := r.Scan(into...); err != nil {
			return err
		}
		last = nil
		for _, column := range t.key {
			last = append(last, row[t.at(column)])
		}
		for i, v := range row {
			switch v := v.(type) {
			case []byte:
				row[i] = append([]byte{}, v...) // what is empty is not missing
				size += len(v)
			case int32: // a literal of Postgres
				row[i] = int64(v)
			}
		}
		if err := c.translate(t, row); err != nil {
			return err
		}
		batch = append(batch, row)
		if size > copiedBytes {
			return errFull
		}
		return nil
	})
	if errors.Is(err, errFull) {
		err = nil
	}
	return batch, last, err
}

// errFull ends a batch that holds many bytes.
var errFull = errors.New("enough bytes")

// put writes rows, and how many of their table are there now.
func (c *copying) put(ctx context.Context, t *copied, batch [][]any, done int64) error {
	drop := -1
	if c.to.Partitions() == 1 && t.name == "events" {
		drop = t.at("partition")
		t = t.without("partition")
	}
	return c.to.Engine().Write(ctx, func(q sql.Tx) error {
		for rest := batch; len(rest) > 0; {
			n := sql.Chunk(len(rest))
			var args []any
			for _, row := range rest[:n] {
				if drop >= 0 {
					row = append(slices.Clone(row[:drop]), row[drop+1:]...)
				}
				args = append(args, row...)
			}
			if _, err := q.Exec(ctx, insertCopied(t, n), args...); err != nil {
				return err
			}
			rest = rest[n:]
		}
		return sql.SetMeta(ctx, q, metaCopied+" "+t.name, done)
	})
}

// insertCopied is the text that inserts n rows of a table.
func insertCopied(t *copied, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `INSERT INTO %s (%s) VALUES `, t.name, names(t.columns()))
	for i := range n * len(t.cols) {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%len(t.cols) == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i+1)
	}
	b.WriteString(")")
	return b.String()
}

// check compares rows and sums.
func (c *copying) check(ctx context.Context) error {
	err := c.to.Engine().Snapshot(ctx, func(q sql.Tx) error {
		for i := range tables {
			t := &tables[i]
			scopes := slices.Clone(c.scopes(t))
			if c.o.Company != "" {
				for j, key := range scopes {
					if scopes[j] = key + c.base.company; t.scope == "webhook" {
						scopes[j] = key + c.base.webhook
					}
				}
			}
			n, err := c.count(ctx, q, t, scopes)
			if err != nil {
				return err
			}
			if n != c.done.Rows[t.name] {
				return fmt.Errorf("%s has %d rows in the target, %d were copied", t.name, n, c.done.Rows[t.name])
			}
		}
		return nil
	})
	for key, t := range c.companies {
		if err != nil {
			return err
		}
		if c.o.Company == "" || c.o.Company == t.id {
			c.done.Companies++
			err = c.balance(ctx, hook.CompanyKey(key), hook.CompanyKey(key+c.base.company))
		}
	}
	return err
}

// balance compares the sums of a company's webhooks.
func (c *copying) balance(ctx context.Context, from, to hook.CompanyKey) error {
	for page := (store.Page{Limit: hook.MaxLimit}); ; {
		there, more, err := c.to.Conservation(ctx, to, page)
		if err != nil {
			return err
		}
		var here []store.Balance
		if !c.o.live {
			if here, _, err = c.from.Conservation(ctx, from, page); err != nil {
				return err
			}
		}
		for i, b := range there {
			if !b.Balanced || !c.o.live && (i >= len(here) || sums(b) != sums(here[i])) {
				return fmt.Errorf("the sums of webhook %s in the target are not those of the source", b.WebhookID)
			}
			c.done.Webhooks++
		}
		if more == "" {
			return nil
		}
		page.Before = more
	}
}

// sums leaves out what depends on how far the log is read in one go.
func sums(b store.Balance) store.Balance {
	if !b.PendingExact {
		b.Pending, b.Matched = 0, 0
	}
	b.PendingExact = false
	return b
}

// end makes the target a store like any other.
func (c *copying) end(ctx context.Context) error {
	return c.to.Engine().Write(ctx, func(q sql.Tx) error {
		if err := store.CopyTopics(ctx, c.q, q); err != nil {
			return err
		}
		if c.o.Company == "" {
			if err := store.CopyDeadLetters(ctx, c.q, q); err != nil {
				return err
			}
			for p := range c.to.Partitions() {
				head, err := c.to.Engine().Head(ctx, q, hook.Partition(p))
				if err != nil {
					return err
				}
				if _, err := q.Exec(ctx, `UPDATE owners SET swept = $1 WHERE partition = $2 AND swept < $1`, int64(head), int64(p)); err != nil {
					return err
				}
			}
		}
		if c.o.held { // what was given out since the backup was made is not known
			if _, err := c.to.BeginEra(ctx, q, era.Setback{Cause: era.CauseRestored, Hold: true}); err != nil {
				return err
			}
		}
		_, err := q.Exec(ctx, `DELETE FROM meta WHERE name = $1 OR name LIKE $2 OR name LIKE $3`, store.MetaCopy, metaCopied+" %", metaBase+" %")
		return err
	})
}
