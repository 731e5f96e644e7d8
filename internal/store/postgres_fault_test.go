package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
)

// broken is a store whose way to Postgres a test breaks, and another one that it does not.
type broken struct {
	*testing.T
	url    string
	way    *proxy
	store  *store.Store // behind the proxy
	direct *store.Store
	c      *store.Company
	w      *hook.Webhook
	n      hook.Offset // counts what a test does again and again
}

func newBroken(t *testing.T) *broken {
	t.Helper()
	t.Parallel()
	return breakable(t, database(t))
}

func breakable(t *testing.T, url string) *broken {
	t.Helper()
	b := &broken{T: t, url: url}
	b.way = newProxy(t, b.url)
	b.direct, b.store = openPostgres(t, b.url+"&pool_max_conns=8"), openPostgres(t, b.way.url+"&pool_max_conns=8")
	var err error
	if b.c, err = b.store.EnsureCompany(t.Context(), "c1"); err != nil {
		t.Fatal(err)
	}
	b.w, err = b.store.CreateWebhook(t.Context(), hook.Webhook{Company: b.c.Key, Endpoint: "https://example.com", Topics: []string{"*"}}, nil, store.Audit{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openPostgres(t *testing.T, url string) *store.Store {
	t.Helper()
	s, err := store.OpenPostgres(t.Context(), store.Options{DatabaseURL: url, MasterKey: []byte(storetest.MasterKey)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// session is one of the test's own.
func session(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.WithoutCancel(t.Context())) })
	return c
}

func run(t *testing.T, c *pgx.Conn, query string, args ...any) {
	t.Helper()
	if _, err := c.Exec(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// value asks for one.
func value[T any](t *testing.T, c *pgx.Conn, query string, args ...any) (v T) {
	t.Helper()
	if err := c.QueryRow(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

func (b *broken) event(id string, fresh bool) *hook.Event {
	data := fmt.Appendf(nil, `{"id":%q}`, id)
	return &hook.Event{ID: id, FreshID: fresh, Company: b.c.Key, Topic: "conversation", Data: data, Digest: hook.EventDigest("conversation", "", data)}
}

// counted is a record that delivers one more.
func (b *broken) counted(o hook.Offset) *store.Record {
	return &store.Record{At: testTime, Items: []store.Item{{Attempt: &hook.Attempt{
		Webhook: b.w.Key, Offset: o, Number: 1, Sequence: int64(o), Kind: hook.Live, Outcome: hook.OutcomeDelivered, StartedAt: testTime,
	}}}, Cursors: []store.CursorMove{{Webhook: b.w.Key, Delivered: 1}}}
}

// log reads the whole log past the faults, and wants no hole in it.
func (b *broken) log() map[string]int {
	b.Helper()
	events, _, err := b.direct.Tail(b.Context(), b.c.Partition, 0, 100_000, 1<<30)
	if err != nil {
		b.Fatal(err)
	}
	ids := map[string]int{}
	for i, e := range events {
		ids[e.ID]++
		if e.Offset != hook.Offset(i+1) {
			b.Errorf("event %s stands at %d, after %d others", e.ID, e.Offset, i)
		}
	}
	return ids
}

func (b *broken) delivered() int64 {
	b.Helper()
	lane, err := b.direct.LoadLane(b.Context(), b.w.Key, 0)
	if err != nil {
		b.Fatal(err)
	}
	if int64(len(lane.Above)) != lane.Cursor.Delivered {
		b.Errorf("%d attempts, and %d are counted", len(lane.Above), lane.Cursor.Delivered)
	}
	return lane.Cursor.Delivered
}

// TestPostgresLostAnswers: a commit whose answer is lost is found out about, whoever chose the ids:
// callers are told yes, and nothing is there twice.
func TestPostgresLostAnswers(t *testing.T) {
	b := newBroken(t)
	b.way.cutNext(6, "COMMIT")
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			id := fmt.Sprintf("e%d", i)
			batch, err := b.store.Append(b.Context(), b.c.Partition, []*hook.Event{b.event(id, i%2 == 0), b.event(id+"+", i%2 == 0)})
			if err != nil || batch.Appended[0].Event.ID != id || batch.Appended[0].Event.Offset == 0 || i%2 == 0 && batch.Appended[0].Duplicate {
				t.Errorf("%s: %+v %v", id, batch, err)
			}
		})
	}
	all.Wait()
	if ids := b.log(); len(ids) != 60 {
		t.Errorf("%d events instead of 60", len(ids))
	}
	appends := b.way.lost()
	b.way.cutNext(4, "COMMIT")
	for o := range hook.Offset(10) {
		if _, err := b.store.Record(t.Context(), b.counted(o+1)); err != nil {
			t.Error(err)
		}
	}
	if n := b.delivered(); n != 10 {
		t.Errorf("10 records have counted %d", n)
	}
	if records := b.way.lost() - appends; appends == 0 || records != 4 {
		t.Errorf("%d answers to appends and %d to records were lost: the test proves nothing", appends, records)
	}
}

// TestPostgresLostAnswersControl: who takes a lost answer for a no does it twice.
func TestPostgresLostAnswersControl(t *testing.T) {
	b := newBroken(t)
	b.way.cutNext(1, "COMMIT")
	for range 2 {
		err := func() error {
			c := session(t, b.way.url)
			tx, err := c.Begin(t.Context())
			if err == nil {
				_, err = tx.Exec(t.Context(), `UPDATE cursors SET delivered = delivered + 1`)
			}
			if err != nil {
				return err
			}
			return tx.Commit(t.Context())
		}()
		if err == nil {
			break
		}
	}
	if n := value[int64](t, session(t, b.url), `SELECT delivered FROM cursors`); n != 2 {
		t.Errorf("counted %d times", n)
	}
}

// TestPostgresKilledSessions: while all sessions are ended again and again, what is acknowledged is
// there once, and what is refused is not.
func TestPostgresKilledSessions(t *testing.T) {
	b := newBroken(t)
	killer := session(t, b.url)
	stop := make(chan struct{})
	var acked, refused, unknown sync.Map
	var records, denied atomic.Int64
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("e%d-%d", i, j)
				_, err := b.store.Append(b.Context(), b.c.Partition, []*hook.Event{b.event(id, i%2 == 0)})
				said, _ := errors.AsType[*hook.Error](err)
				switch {
				case err == nil:
					acked.Store(id, true)
				case said != nil && said.Code == "outcome_unknown":
					unknown.Store(id, true)
				case hook.IsKind(err, hook.KindUnavailable):
					refused.Store(id, true)
				default:
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for o := hook.Offset(1); ; o++ {
			select {
			case <-stop:
				return
			default:
			}
			_, err := b.store.Record(b.Context(), b.counted(o))
			switch {
			case err == nil:
				records.Add(1)
			case hook.IsKind(err, hook.KindUnavailable):
				denied.Add(1)
			default:
				t.Error(err)
			}
		}
	})
	killed := 0
	for range 25 {
		killed += value[int](t, killer, `
			SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
		run(t, killer, `SELECT pg_sleep(0.06)`)
	}
	close(stop)
	all.Wait()

	// The sessions of the other store were ended, too.
	b.direct.Close()
	b.direct = openPostgres(t, b.url)
	ids := b.log()
	n := 0
	acked.Range(func(id, _ any) bool { n++; return true })
	for _, list := range []struct {
		ids   *sync.Map
		there func(int) bool
		what  string
	}{
		{&acked, func(n int) bool { return n == 1 }, "acknowledged"},
		{&refused, func(n int) bool { return n == 0 }, "refused"},
		{&unknown, func(n int) bool { return n <= 1 }, "unknown"},
	} {
		list.ids.Range(func(id, _ any) bool {
			if !list.there(ids[id.(string)]) {
				t.Errorf("%s was %s, and is there %d times", id, list.what, ids[id.(string)])
			}
			return true
		})
	}
	if got := b.delivered(); got != records.Load() {
		t.Errorf("%d records were acknowledged, %d are there", records.Load(), got)
	}
	t.Logf("%d sessions ended; %d events and %d records acknowledged, %d records refused", killed, n, records.Load(), denied.Load())
	if killed < 20 || n == 0 || records.Load() == 0 || denied.Load() == 0 {
		t.Error("the test proves nothing")
	}
}

// TestPostgresConflicts: a transaction that the database breaks off in favour of another one
// (40001, 40P01) is made again.
func TestPostgresConflicts(t *testing.T) {
	b := newBroken(t)
	admin := session(t, b.url)
	run(t, admin, `CREATE SEQUENCE breaks`)
	run(t, admin, `CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF nextval('breaks') % 4 <> 0 THEN RAISE EXCEPTION 'broken off' USING ERRCODE = '40001'; END IF; RETURN NULL; END $$`)
	for _, table := range []string{"events", "attempts", "webhooks"} {
		run(t, admin, `CREATE TRIGGER break_off AFTER INSERT ON `+table+` FOR EACH STATEMENT EXECUTE FUNCTION break_off()`)
	}
	if _, err := b.store.Append(t.Context(), b.c.Partition, []*hook.Event{b.event("e1", true), b.event("e2", true)}); err != nil {
		t.Error("append:", err)
	}
	if _, err := b.store.Record(t.Context(), b.counted(1)); err != nil {
		t.Error("record:", err)
	}
	if _, err := b.store.CreateWebhook(t.Context(), hook.Webhook{Company: b.c.Key, Endpoint: "https://example.com/2", Topics: []string{"*"}}, nil, store.Audit{}); err != nil {
		t.Error("change:", err)
	}
	if n := value[int64](t, admin, `SELECT last_value FROM breaks`); n != 12 {
		t.Errorf("%d transactions were tried instead of 12", n)
	}
	if n := b.delivered(); n != 1 || len(b.log()) != 2 {
		t.Errorf("%d deliveries, %d events", n, len(b.log()))
	}
	for _, table := range []string{"events", "attempts", "webhooks"} {
		run(t, admin, `DROP TRIGGER break_off ON `+table)
	}

	// Two that each wait for the other. The record's session looks first, and finds itself guilty.
	other := session(t, b.url)
	run(t, other, `SET deadlock_timeout = '10s'`)
	run(t, other, `BEGIN`)
	run(t, other, `SELECT * FROM owners WHERE partition = $1 FOR UPDATE`, int64(b.c.Partition))
	recorded := make(chan error, 1)
	go func() {
		r := b.counted(2)
		r.Swept = map[hook.Partition]hook.Offset{b.c.Partition: 1}
		_, err := b.store.Record(b.Context(), r)
		recorded <- err
	}()
	for value[int](t, admin, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`) == 0 {
	}
	run(t, other, `SELECT * FROM cursors FOR UPDATE`)
	run(t, other, `COMMIT`)
	if err := <-recorded; err != nil {
		t.Error("record:", err)
	}
	if n := b.delivered(); n != 2 {
		t.Errorf("%d deliveries", n)
	}
	for value[int64](t, admin, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`) == 0 { // or the test proves nothing
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
}

// after says when so many frames of a type have passed.
func after(frame byte, n int) func(byte) bool {
	return func(f byte) bool {
		if f == frame {
			n--
		}
		return n == 0
	}
}

// TestPostgresPausedNode: a node that stands still inside a transaction holds its locks for two
// seconds; then others go on.
func TestPostgresPausedNode(t *testing.T) {
	for name, test := range map[string]struct {
		stand func(frame byte) bool
		first func(b *broken) error // stands still half-way
		other func(b *broken) error // needs the same locks
	}{
		"append": {
			after('S', 1), // the partition is locked, the rest has not been sent
			func(b *broken) error {
				_, err := b.store.Append(b.Context(), b.c.Partition, []*hook.Event{b.event(hook.NewID(hook.EventPrefix, testTime), true)})
				return err
			},
			func(b *broken) error {
				_, err := b.direct.Append(b.Context(), b.c.Partition, []*hook.Event{b.event("other", true)})
				return err
			},
		},
		"record": {
			after('S', 4), // the turn without locks, the record's name, the attempts, the cursor
			func(b *broken) error {
				b.n++
				_, err := b.store.Record(b.Context(), b.counted(b.n))
				return err
			},
			func(b *broken) error {
				_, err := b.direct.Record(b.Context(), b.counted(1000))
				return err
			},
		},
		"change": {
			after('S', 2), // the lock on changes, what is there
			func(b *broken) error {
				b.n++
				_, err := b.store.EnsureCompany(b.Context(), fmt.Sprint("paused", b.n))
				return err
			},
			func(b *broken) error { _, err := b.direct.EnsureCompany(b.Context(), "other"); return err },
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroken(t)
			// So that all statements are prepared, and a transaction has nothing but its own frames.
			if err := test.first(b); err != nil {
				t.Fatal(err)
			}
			b.way.set(func(p *proxy) { p.stop = test.stand })
			first := make(chan error, 1)
			go func() { first <- test.first(b) }()
			b.way.standing(t)
			start := time.Now()
			if err := test.other(b); err != nil {
				t.Error("another one:", err)
			}
			took := time.Since(start)
			b.way.set(func(p *proxy) { p.stands = false })
			err := <-first
			t.Logf("another one took %s; the paused one said %v", took, err)
			if took > 3*time.Second {
				t.Errorf("another one waited %s", took)
			}
		})
	}
}

// TestPostgresPausedNodeControl: without a limit on idle transactions, others wait until they give up.
func TestPostgresPausedNodeControl(t *testing.T) {
	b := newBroken(t)
	paused := openPostgres(t, b.way.url+"&idle_in_transaction_session_timeout=0")
	if _, err := paused.Record(t.Context(), b.counted(1)); err != nil {
		t.Fatal(err)
	}
	b.way.set(func(p *proxy) { p.stop = after('S', 4) })
	first := make(chan error, 1)
	go func() {
		_, err := paused.Record(b.Context(), b.counted(2))
		first <- err
	}()
	b.way.standing(t)
	if _, err := b.direct.Record(t.Context(), b.counted(3)); !hook.IsKind(err, hook.KindUnavailable) {
		t.Errorf("another one went on: %v", err)
	}
	b.way.set(func(p *proxy) { p.stands = false })
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// TestPostgresStoppedSession: a session's process that stands still, which nothing can end, stops its
// own partition and no other. Whoever waits for it is answered in time, and afterwards all goes on.
func TestPostgresStoppedSession(t *testing.T) {
	b := newBroken(t)
	holder, other := session(t, b.url), hook.Partition(0)
	if b.c.Partition == 0 {
		other = 1
	}
	run(t, holder, `BEGIN`)
	run(t, holder, `SELECT id FROM partitions WHERE id = $1 FOR UPDATE`, int64(b.c.Partition))
	pid := value[int](t, holder, `SELECT pg_backend_pid()`)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	goOn := sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	t.Cleanup(goOn)
	waiting := make(chan error, 1)
	go func() {
		_, err := b.store.Append(b.Context(), b.c.Partition, []*hook.Event{b.event("waits", true)})
		waiting <- err
	}()
	for i := range 5 {
		if _, err := b.store.Append(t.Context(), other, []*hook.Event{b.event(fmt.Sprintf("other%d", i), true)}); err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-waiting:
		if !hook.IsKind(err, hook.KindUnavailable) {
			t.Errorf("the one that waits says %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the one that waits is not answered")
	}
	goOn()
	run(t, holder, `ROLLBACK`)
	if _, err := b.store.Append(t.Context(), b.c.Partition, []*hook.Event{b.event("waits", false)}); err != nil {
		t.Error(err)
	}
	if ids := b.log(); ids["waits"] != 1 {
		t.Errorf("%v", ids)
	}
}

// TestPostgresBlackHole: a database that says nothing any more, on connections that do not end, keeps
// nobody for ever, and is used again soon after it is back.
func TestPostgresBlackHole(t *testing.T) {
	b := newBroken(t)
	calls := map[string]func() error{
		"read": func() error { return b.store.Ping(b.Context()) },
		"change": func() error {
			_, err := b.store.UpdateCompany(b.Context(), "c1", func(*store.Company) error { return nil }, store.Audit{})
			return err
		},
		"append": func() error {
			_, err := b.store.Append(b.Context(), b.c.Partition, []*hook.Event{b.event("swallowed", false)})
			return err
		},
		"record": func() error { b.n++; _, err := b.store.Record(b.Context(), b.counted(b.n)); return err },
	}
	for name, call := range calls { // so that connections are open
		if err := call(); err != nil {
			t.Fatal(name, err)
		}
	}
	b.way.set(func(p *proxy) { p.hole = true })
	var all sync.WaitGroup
	for name, call := range calls {
		all.Go(func() {
			start := time.Now()
			if err := call(); !hook.IsKind(err, hook.KindUnavailable) {
				t.Errorf("%s says %v", name, err)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("%s took %s", name, took)
			}
		})
	}
	all.Wait()
	b.way.set(func(p *proxy) { p.hole = false })
	back := time.Now()
	for name, call := range calls {
		for err := call(); err != nil; err = call() {
			if time.Since(back) > 10*time.Second {
				t.Fatalf("10 s after the database is back: %s: %v", name, err)
			}
		}
	}
	t.Logf("all works %s after the database is back", time.Since(back).Round(time.Millisecond))
	if ids := b.log(); ids["swallowed"] != 1 {
		t.Errorf("%v", ids)
	}
}

// TestPostgresCrashedRecord: the database crashes before the commit of a record has reached the disk,
// and gives the number of its transaction to another one, which is committed. The record is not taken
// for that one, and written once.
func TestPostgresCrashedRecord(t *testing.T) {
	cluster(t) // or skip
	own, err := postgrestest.Start(t.Context(), "wal_writer_delay=10s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Stop)
	b := breakable(t, own.URL("postgres"))
	if _, err := b.store.Record(t.Context(), b.counted(1)); err != nil {
		t.Fatal(err)
	}
	b.way.set(func(p *proxy) { p.stop = after('S', 4) })
	first := make(chan error, 1)
	go func() {
		_, err := b.store.Record(b.Context(), b.counted(2))
		first <- err
	}()
	b.way.standing(t)
	xid := value[string](t, session(t, b.url), `SELECT max(backend_xid::text) FROM pg_stat_activity WHERE backend_xid IS NOT NULL`)
	if err := own.Restart(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	after := session(t, b.url)
	for range 20 {
		if _, err := after.Exec(t.Context(), `SELECT pg_current_xact_id()`); err != nil {
			t.Fatal(err)
		}
	}
	// The control: who asks by that number is told a lie.
	if status := value[string](t, after, `SELECT pg_xact_status($1::text::xid8)`, xid); status != "committed" {
		t.Errorf("transaction %s is %s: the test proves nothing", xid, status)
	}
	b.way.set(func(p *proxy) { p.stop, p.stands = nil, false })
	err = <-first
	for deadline := time.Now().Add(20 * time.Second); err != nil; _, err = b.store.Record(t.Context(), b.counted(2)) {
		if time.Now().After(deadline) || !hook.IsKind(err, hook.KindUnavailable) {
			t.Fatal(err)
		}
	}
	b.direct = openPostgres(t, b.url)
	if n := b.delivered(); n != 2 {
		t.Errorf("2 records have counted %d", n)
	}
	if n := value[int64](t, session(t, b.url), `SELECT count(*) FROM records WHERE void`); n != 1 {
		t.Errorf("%d records are void", n)
	}
}
