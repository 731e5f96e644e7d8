package store_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
)

// TestPostgresRetention: what is older than the retention goes in steps, for as long as the store lives,
// and leaves no more behind than autovacuum clears away.
func TestPostgresRetention(t *testing.T) {
	t.Parallel() // it waits, mostly
	cluster(t)   // or there is no Postgres
	c, err := postgrestest.Start(t.Context(), "autovacuum_naptime=1s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	t.Run("stays small", func(t *testing.T) { staysSmall(t, c) })
	t.Run("behind a snapshot", func(t *testing.T) { behindSnapshot(t, c) })
}

// staysSmall lets the whole retention pass, again and again. As much is alive each time, and what it
// takes does not grow with all that came and went. The control is the same without autovacuum.
func staysSmall(t *testing.T, c *postgrestest.Cluster) {
	life := newChurn(t, c, 2)
	pass := func(retentions int, cleared bool) int64 {
		for range retentions {
			before := life.vacuums()
			for range churnRetention {
				life.minute(churned.perMinute)
				life.purge()
			}
			if cleared { // a retention passes here before autovacuum comes by
				life.await("autovacuum", func() bool { return life.vacuums() > before })
			}
		}
		return value[int64](t, life.admin, `SELECT sum(pg_total_relation_size(relid))::bigint FROM pg_stat_user_tables`)
	}
	pass(1, false) // nothing goes yet
	first := pass(2, true)
	later := pass(churned.retentions, true)
	for _, table := range []string{"events", "attempts", "parked", "stats", "cursors", "owners", "answers", "records"} {
		run(t, life.admin, `ALTER TABLE `+table+` SET (autovacuum_enabled = false)`)
	}
	control := pass(2*churned.retentions, false)
	events := 2 * churnRetention * churned.perMinute
	t.Logf("%d events are kept: %d KiB after 2 retentions, %d after %d more, %d after %d more without autovacuum",
		events, first>>10, later>>10, churned.retentions, control>>10, 2*churned.retentions)
	if later > first*2 {
		t.Errorf("%d bytes at first, %d after %d retentions", first, later, churned.retentions)
	}
	if control < later*3/2 {
		t.Errorf("control: %d bytes, and %d where nothing is cleared away: the test would not notice", later, control)
	}
}

// behindSnapshot: as long as somebody reads an old snapshot, what is deleted is not cleared away. No
// step has to pass what the steps before it deleted. The control is one that does not know where they
// have been: the first of another process.
func behindSnapshot(t *testing.T, c *postgrestest.Cluster) {
	life := newChurn(t, c, 1)
	for range 2 * churnRetention {
		life.minute(churned.perMinute)
		life.purge()
	}
	run(t, life.admin, `BEGIN ISOLATION LEVEL REPEATABLE READ`)
	run(t, life.admin, `SELECT count(*) FROM meta`)
	const tell = `&session_preload_libraries=auto_explain&auto_explain.log_min_duration=0&auto_explain.log_analyze=on&auto_explain.log_buffers=on`
	life.open(tell)
	life.purge() // finds its place
	read := func() int {
		life.minute(churned.perMinute)
		from := len(logOf(t, c))
		life.purge()
		return pagesOf(logOf(t, c)[from:])
	}
	first, last := read(), 0
	for range churned.snapshot {
		last = read()
	}
	life.open(tell)
	control := read()
	t.Logf("to find what goes, %d pages are read at first, %d after %d minutes, %d by another process", first, last, churned.snapshot, control)
	// The versions of webhooks' places, one for each record, are passed all the same.
	if last > first+control/10 {
		t.Errorf("%d pages are read at first, %d after %d minutes, of %d that were left behind", first, last, churned.snapshot, control)
	}
	if control < 3*last {
		t.Errorf("control: %d pages are read by a step that passes everything, %d by one that does not: the test would not notice", control, last)
	}
}

func logOf(t *testing.T, c *postgrestest.Cluster) string {
	t.Helper()
	text, err := os.ReadFile(c.Log())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// pages are those that a plan has touched, all its parts together, as the first line about it says.
var pages = regexp.MustCompile(`Buffers: shared(?: hit=(\d+))?(?: read=(\d+))?`)

// pagesOf adds up what questions have touched.
func pagesOf(log string) (sum int) {
	for _, plan := range strings.Split(log, "LOG:  duration:")[1:] {
		if _, question, _ := strings.Cut(plan, "Query Text:"); !strings.HasPrefix(strings.TrimSpace(question), "SELECT") {
			continue
		}
		if m := pages.FindStringSubmatch(plan); m != nil {
			for _, n := range m[1:] {
				touched, _ := strconv.Atoi(n) // a kind that is not named is none
				sum += touched
			}
		}
	}
	return sum
}

// churn is the life of a store, a minute at a time: events come, each is delivered to two webhooks, one
// time in twenty after a failure, and goes after the retention.
type churn struct {
	t         *testing.T
	s         *store.Store
	url       string
	admin     *pgx.Conn
	minutes   atomic.Int64 // now, since 1970
	companies []*churning
}

type churning struct {
	*store.Company
	webhooks []*hook.Webhook
	place    hook.Offset
	failed   []*hook.Parked // due again
}

const (
	churnRetention = 5  // minutes
	churnGroup     = 50 // events of a commit
)

func newChurn(t *testing.T, c *postgrestest.Cluster, companies int) *churn {
	t.Helper()
	name, err := c.Database(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	x := &churn{t: t, url: c.URL(name)}
	x.minutes.Store(testTime.Unix() / 60)
	x.open("")
	x.admin = session(t, x.url)
	for i := range companies {
		company, err := x.s.EnsureCompany(t.Context(), fmt.Sprintf("c%d", i))
		if err != nil {
			t.Fatal(err)
		}
		one := &churning{Company: company}
		for j := range 2 {
			w, err := x.s.CreateWebhook(t.Context(), hook.Webhook{Company: company.Key, Endpoint: fmt.Sprintf("https://example.com/%d", j), Topics: []string{"*"}}, nil, store.Audit{})
			if err != nil {
				t.Fatal(err)
			}
			one.webhooks = append(one.webhooks, w)
		}
		x.companies = append(x.companies, one)
	}
	return x
}

// open opens the store, as another process would if it is open.
func (x *churn) open(more string) {
	x.t.Helper()
	var err error
	x.s, err = store.OpenPostgres(x.t.Context(), store.Options{DatabaseURL: x.url + more, MasterKey: []byte(storetest.MasterKey), Now: x.now})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { x.s.Close() })
}

func (x *churn) now() time.Time { return time.Unix(60*x.minutes.Load(), 0) }

// minute passes; each company publishes n events in it.
func (x *churn) minute(n int) {
	x.t.Helper()
	for _, c := range x.companies {
		for left := n; left > 0; left -= churnGroup {
			x.publish(c, min(left, churnGroup))
			x.deliver(c)
		}
	}
	x.minutes.Add(1)
}

func (x *churn) publish(c *churning, n int) {
	x.t.Helper()
	var events []*hook.Event
	for i := range n {
		events = append(events, &hook.Event{
			ID: hook.NewID(hook.EventPrefix, x.now()), FreshID: true, Company: c.Key, Topic: "customer", ObjectKey: fmt.Sprintf("CUSTOMER:%d", i),
			Data: []byte(`{"padding": "` + strings.Repeat("x", 300) + `"}`),
		})
	}
	if _, err := x.s.Append(x.t.Context(), c.Partition, events); err != nil {
		x.t.Fatal(err)
	}
}

// deliver records an attempt at what was published for each webhook, and one more at what failed before.
func (x *churn) deliver(c *churning) {
	x.t.Helper()
	head, err := x.s.Head(x.t.Context(), c.Partition)
	if err != nil {
		x.t.Fatal(err)
	}
	now := x.now()
	r := &store.Record{At: now, Swept: map[hook.Partition]hook.Offset{c.Partition: head}}
	attempt := func(w hook.WebhookKey, o hook.Offset, number int) *hook.Attempt {
		return &hook.Attempt{
			Webhook: w, Offset: o, Number: number, Sequence: int64(o), Kind: hook.Live, Counted: true, Version: 1, TimestampText: "1750000000.5",
			Format: hook.DataString, StartedAt: now, Outcome: hook.OutcomeDelivered, StatusCode: 200,
		}
	}
	for _, p := range c.failed {
		r.Items = append(r.Items, store.Item{Attempt: attempt(p.Webhook, p.Offset, 2), Unpark: &store.ParkedKey{Webhook: p.Webhook, Kind: p.Kind, Offset: p.Offset}})
	}
	c.failed = nil
	for _, w := range c.webhooks {
		for o := c.place + 1; o <= head; o++ {
			item := store.Item{Attempt: attempt(w.Key, o, 1)}
			if o%20 == 0 {
				due := now.Add(time.Minute)
				item.Attempt.Outcome, item.Attempt.StatusCode, item.Attempt.AnswerBody = hook.OutcomeRetry, 500, []byte(strings.Repeat("e", 400))
				item.Park = &hook.Parked{Webhook: w.Key, Kind: hook.Live, Offset: o, Partition: c.Partition, Sequence: int64(o), Attempts: 1, Step: 1, DueAt: &due, ParkedAt: now}
				c.failed = append(c.failed, item.Park)
			}
			r.Items = append(r.Items, item)
		}
		moved := int64(head - c.place)
		r.Cursors = append(r.Cursors, store.CursorMove{Webhook: w.Key, Offset: head, Sequence: int64(head), Delivered: moved, Health: store.Health{LastSuccessAt: &now}})
		r.Stats = append(r.Stats, store.Stat{Webhook: w.Key, Bucket: x.minutes.Load(), Delivered: moved})
		r.Answers = append(r.Answers, store.Answer{Webhook: w.Key, Slot: int(head % 20), Offset: head, Number: 1, Header: []byte("a: b\r\n"), Body: []byte("thank you")})
	}
	if _, err := x.s.Record(x.t.Context(), r); err != nil {
		x.t.Fatal(err)
	}
	c.place = head
}

// purge lets go of all that is older than the retention.
func (x *churn) purge() {
	x.t.Helper()
	for _, c := range x.companies {
		for n := 1; n > 0; {
			var err error
			if n, err = x.s.PurgeCompanyStep(x.t.Context(), c.Key, x.now().Add(-churnRetention*time.Minute), 1000); err != nil {
				x.t.Fatal(err)
			}
		}
	}
}

// vacuums is how often both large tables have been cleared.
func (x *churn) vacuums() int64 {
	return value[int64](x.t, x.admin, `SELECT min(autovacuum_count) FROM pg_stat_user_tables WHERE relname IN ('events', 'attempts')`)
}

func (x *churn) await(what string, holds func() bool) {
	x.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); !holds(); {
		select {
		case <-tick.C:
		case <-deadline:
			x.t.Fatalf("not within a minute: %s", what)
		}
	}
}
