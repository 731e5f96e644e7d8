package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
	"github.com/atlas-webhooks/atlas-webhooks/outbox"
)

// world is a real store with an intake, and the journal of what was appended.
type world struct {
	store  *store.Store
	intake *intake.Intake
	logged bytes.Buffer

	mu      sync.Mutex
	journal []*hook.Event
	at      []time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), store.Options{Dir: t.TempDir(), MasterKey: make([]byte, 32), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{store: s, intake: intake.New(s, intake.Options{})}
	s.OnAppend(func(_ hook.Partition, events []*hook.Event, _ int64) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, e := range events {
			w.journal, w.at = append(w.journal, e), append(w.at, time.Now())
		}
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// accepted is what was appended so far.
func (w *world) accepted() []*hook.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.journal)
}

// relay runs the reading of outboxes until the test ends or stop is called.
func (w *world) relay(t *testing.T, urls ...string) (r *source.Runner, stop func()) {
	t.Helper()
	r = &source.Runner{Intake: w.intake, Store: w.store, Log: slog.New(slog.NewTextHandler(&w.logged, nil)), Backoff: 10 * time.Millisecond}
	for i, u := range urls {
		d, err := Definition(Options{Name: NameOf(u, i), URL: u})
		if err != nil {
			t.Fatal(err)
		}
		r.Sources = append(r.Sources, d)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return r, stop
}

// empty waits until nothing is left in the outbox.
func (p *producer) empty(t *testing.T) {
	t.Helper()
	table := p.table(t)
	eventually(t, "the outbox is empty", func() bool {
		l, err := table.Lag(t.Context(), All())
		return err == nil && l.Rows == 0
	})
}

// TestRelay: what can be accepted is, in order; what cannot be is set aside with its reason, and nothing waits for
// it.
func TestRelay(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		w := newWorld(t)
		const same = "0198c1f5-6a1e-7000-8000-000000000001"
		one := event("o1", 1)
		one.ID = same
		p.publish(t, one)
		p.publish(t, outbox.Event{CompanyID: "c1", Event: "customer.nothing", Data: 1}, outbox.Event{CompanyID: "no company", Event: "customer", Data: 1}, event("o1", 2))
		p.exec(t, `INSERT INTO atlas_webhooks_outbox (company_id, event) VALUES ('c1', 'customer')`)
		p.publish(t, outbox.Change{CompanyID: "c1", ObjectType: "customer", Before: map[string]any{"id": 5, "name": "a"}, After: map[string]any{"id": 5, "name": "b"}})
		p.publish(t, outbox.Change{CompanyID: "c1", ObjectType: "customer", Before: map[string]any{"id": 5}, After: map[string]any{"id": 5}})
		p.publish(t, outbox.Change{CompanyID: "c1", ObjectType: "order", After: map[string]any{"id": 5}})
		p.publish(t, one) // again
		other := one
		other.Data = 2
		p.publish(t, other)
		if p.dialect == outbox.MariaDB {
			p.exec(t, `INSERT INTO atlas_webhooks_outbox (company_id, event, data) VALUES ('c1', 'customer', '{"id"')`)
		}
		r, stop := w.relay(t, p.url)
		p.publish(t, event("o1", 3))
		p.empty(t)
		stop()
		var got []string
		for _, e := range w.accepted() {
			id, _, _ := strings.Cut(e.ID, ":")
			if len(id) != 36 {
				t.Errorf("the id %s is no uuid", e.ID)
			}
			got = append(got, e.Topic+" "+string(e.Data))
		}
		want := []string{
			`customer {"id": "o1", "n":  1}`, `customer {"id": "o1", "n":  2}`, `customer {"id":5,"name":"b"}`, `customer.updated {"id":5,"name":"b"}`,
			`customer {"id": "o1", "n":  3}`,
		}
		if !slices.Equal(got, want) {
			t.Errorf("accepted %q, want %q", got, want)
		}
		dead, _, err := w.store.DeadLetters(t.Context(), r.Sources[0].Name, store.Page{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		var codes []string
		for _, d := range dead {
			codes = append(codes, d.Code)
		}
		slices.Sort(codes)
		wantCodes := []string{"event_conflict", "invalid_company_id", "invalid_object_type", "required", "unknown_topic"}
		if p.dialect == outbox.MariaDB {
			wantCodes = slices.Insert(wantCodes, 2, "invalid_json")
		}
		if !slices.Equal(codes, wantCodes) {
			t.Errorf("dead letters %q, want %q", codes, wantCodes)
		}
		if s := r.Status()[0]; s.Accepted != 5 || s.SetAside != int64(len(wantCodes)) || s.Duplicates != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestPaced: how many rows are asked for follows what was read.
func TestPaced(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		limit, rows int
		large       bool
		took        time.Duration
		err         error
		next        int
	}{
		{16, 16, false, 0, nil, 32},
		{16, 15, false, 0, nil, 16},
		{16, 16, false, quick, nil, 16},
		{600, 600, false, 0, nil, MaxRows},
		{16, 3, true, 0, nil, 3},
		{16, 16, true, 0, nil, 16},
		{16, 0, false, patience, context.DeadlineExceeded, 4},
		{1, 0, false, patience, context.DeadlineExceeded, 1},
	} {
		if next := paced(c.limit, c.rows, c.large, c.took, c.err); next != c.next {
			t.Errorf("%+v: %d", c, next)
		}
	}
}

// load writes changes of some objects, each in a transaction that has the object's lock, from several sessions,
// and rolls some back.
func (p *producer) load(t *testing.T, objects, each int) (committed int) {
	t.Helper()
	var running sync.WaitGroup
	var mu sync.Mutex
	for range 4 {
		running.Go(func() {
			for range each {
				o := rand.IntN(objects)
				tx := p.begin(t)
				var n int
				tx.exec(t, fmt.Sprintf(`UPDATE objects SET n = n + 1 WHERE id = %d`, o))
				if err := tx.scan(t, fmt.Sprintf(`SELECT n FROM objects WHERE id = %d`, o), &n); err != nil {
					t.Error(err)
					return
				}
				tx.publish(t, event(fmt.Sprint(o), n))
				if rand.IntN(10) == 0 {
					tx.rollback(t)
					continue
				}
				tx.commit(t)
				mu.Lock()
				committed++
				mu.Unlock()
			}
		})
	}
	running.Wait()
	return committed
}

// check finds what was lost, doubled or came out of order: the changes of each object are numbered from 1 on.
func check(events []*hook.Event) (faults []string) {
	last := map[string]int{}
	for _, e := range events {
		var d struct {
			ID string
			N  int
		}
		if err := json.Unmarshal(e.Data, &d); err != nil {
			faults = append(faults, err.Error())
		}
		if d.N != last[d.ID]+1 {
			faults = append(faults, fmt.Sprintf("%s: %d after %d", d.ID, d.N, last[d.ID]))
		}
		last[d.ID] = d.N
	}
	return faults
}

// TestTwoRelays: two readers of all rows at once, one of them behind a pooler that gives each statement another
// session, lose, double and reorder nothing, although each reads what the other has accepted meanwhile.
func TestTwoRelays(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		const objects = 5
		p.exec(t, `CREATE TABLE objects (id INT PRIMARY KEY, n INT)`)
		for o := range objects {
			p.exec(t, fmt.Sprintf(`INSERT INTO objects VALUES (%d, 0)`, o))
		}
		second := p.url
		if p.dialect == outbox.Postgres {
			before, err := p.pg.PgBouncer(t.Context(), "pool_mode = transaction", "default_pool_size = 3")
			missing(t, err, postgrestest.ErrMissing)
			defer before.Stop()
			second = before.URL(p.name)
		}
		w := newWorld(t)
		r, stop := w.relay(t, p.url, second)
		committed := p.load(t, objects, 100)
		p.empty(t)
		stop()
		events := w.accepted()
		if faults := check(events); len(events) != committed || len(faults) > 0 {
			t.Errorf("%d events of %d: %q", len(events), committed, faults)
		}
		a, b := r.Status()[0], r.Status()[1]
		t.Logf("%d and %d accepted, %d and %d read in vain", a.Accepted, b.Accepted, a.Duplicates, b.Duplicates)
		if a.Accepted == 0 || b.Accepted == 0 {
			t.Errorf("one of them did nothing: %+v %+v", a, b)
		}
	})
}

// TestRowsTakenInTurns is the control of [TestTwoRelays]: readers that take rows with SKIP LOCKED, each the first that
// is free, pass each other.
func TestRowsTakenInTurns(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		p.publish(t, event("o", 1))
		p.publish(t, event("o", 2))
		const one = `SELECT data FROM atlas_webhooks_outbox ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED`
		var events []*hook.Event
		a, b := p.begin(t), p.begin(t)
		for _, x := range []*transaction{a, b} {
			e := &hook.Event{}
			if err := x.scan(t, one, &e.Data); err != nil {
				t.Fatal(err)
			}
			events = append([]*hook.Event{e}, events...) // who came second is done first
		}
		a.rollback(t)
		b.rollback(t)
		if len(check(events)) == 0 {
			t.Error("they did not pass each other")
		}
	})
}

// TestConnectionLost: sessions that are ended under the relay, at any moment, cost nothing but time.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	p := newProducer(t, outbox.Postgres)
	p.exec(t, `CREATE TABLE objects (id INT PRIMARY KEY, n INT); INSERT INTO objects VALUES (0, 0), (1, 0), (2, 0)`)
	w := newWorld(t)
	_, stop := w.relay(t, p.url)
	ended := make(chan int)
	loading, loaded := context.WithCancel(t.Context())
	go func() {
		n := 0
		for loading.Err() == nil {
			err := p.pg.Exec(t.Context(), p.name, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'atlas-webhooks outbox'`)
			if err == nil {
				n++
			}
			time.Sleep(20 * time.Millisecond) //nolint:forbidigo // some of them are in the middle of something
		}
		ended <- n
	}()
	committed := p.load(t, 3, 60)
	loaded()
	n := <-ended
	p.empty(t)
	stop()
	events := w.accepted()
	if faults := check(events); len(events) != committed || len(faults) > 0 || n < 5 {
		t.Errorf("%d events of %d, after %d times: %q", len(events), committed, n, faults)
	}
}

// TestRefused: a password that is wrong, and a table that is not there, are a state with a reason, and no secret.
// When they are mended the relay goes on.
func TestRefused(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		role := "r" + p.name
		if p.dialect == outbox.Postgres {
			p.exec(t, `CREATE ROLE `+role+` LOGIN PASSWORD 'other'; GRANT SELECT, DELETE ON atlas_webhooks_outbox TO `+role)
			if err := p.pg.Ask(t.Context(), role); err != nil {
				t.Fatal(err)
			}
		} else {
			p.exec(t, `CREATE USER `+role+` IDENTIFIED BY 'other'; GRANT SELECT, DELETE ON atlas_webhooks_outbox TO `+role)
		}
		w := newWorld(t)
		user := map[outbox.Dialect]string{outbox.Postgres: "postgres@", outbox.MariaDB: "root@"}[p.dialect]
		r, stop := w.relay(t, strings.Replace(p.url, user, role+":pass%2Fword@", 1))
		var reason string
		eventually(t, "the relay says why it cannot read", func() bool {
			s := r.Status()[0]
			reason = s.Reason
			return s.State == source.Failing
		})
		if !strings.Contains(reason, role) || strings.Contains(reason, "pass/word") || strings.Contains(reason, "pass%2Fword") {
			t.Errorf("the reason is %q", reason)
		}
		p.publish(t, event("o", 1))
		alter := `ALTER ROLE ` + role + ` PASSWORD 'pass/word'`
		if p.dialect == outbox.MariaDB {
			alter = `ALTER USER ` + role + ` IDENTIFIED BY 'pass/word'`
		}
		p.exec(t, alter)
		p.empty(t)
		eventually(t, "the relay runs", func() bool { return r.Status()[0].State == source.Running })
		rename := `ALTER TABLE atlas_webhooks_outbox RENAME TO elsewhere`
		p.exec(t, rename)
		eventually(t, "the relay says what is missing", func() bool {
			s := r.Status()[0]
			return s.State == source.Failing && strings.Contains(s.Reason, "atlas_webhooks_outbox")
		})
		stop()
		if strings.Contains(w.logged.String(), "pass/word") {
			t.Error("the log tells the password")
		}
	})
}
