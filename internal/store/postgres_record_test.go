package store_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
)

// recorded is what a record can change, without ids that are random.
var recorded = []string{
	`SELECT * FROM attempts`, `SELECT * FROM parked`, `SELECT * FROM cursors`, `SELECT * FROM owners`, `SELECT * FROM stats`, `SELECT * FROM answers`,
	`SELECT company, webhook, at, kind, detail FROM notices`, `SELECT * FROM replays`, `SELECT key, status, status_reason, version, changed, updated_at FROM webhooks`,
	`SELECT company, at, actor, action, request_id, detail FROM audit WHERE actor = 'engine'`, `SELECT * FROM unrecordable`,
}

// contents reads those tables.
func contents(t *testing.T, url string) (list []string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	for _, query := range recorded {
		rows, err := conn.Query(t.Context(), `SELECT x::text FROM (`+query+`) AS x ORDER BY 1`)
		if err == nil {
			var found []string
			found, err = pgx.CollectRows(rows, pgx.RowTo[string])
			list = append(append(list, query), found...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// newsroom makes up records about three webhooks, as the engine could write them.
type newsroom struct {
	*rand.Rand
	url      string
	store    *store.Store
	webhooks []*hook.Webhook
	at       time.Time
	numbers  map[string]int
	places   map[hook.WebhookKey]hook.Offset
}

func newNewsroom(t *testing.T, seed uint64) *newsroom {
	n := &newsroom{
		Rand: rand.New(rand.NewPCG(seed, 1)), url: database(t), at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		numbers: map[string]int{}, places: map[hook.WebhookKey]hook.Offset{},
	}
	var err error
	n.store, err = store.OpenPostgres(t.Context(), store.Options{
		DatabaseURL: n.url + "&pool_max_conns=4", MasterKey: []byte(storetest.MasterKey), Now: func() time.Time { return n.at },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.store.Close() })
	c, err := n.store.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.store.Nodes().Join(t.Context(), store.Node{ID: "me", StartedAt: n.at}, time.Hour); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		w, err := n.store.CreateWebhook(t.Context(), hook.Webhook{Company: c.Key, Endpoint: fmt.Sprintf("https://example.com/%d", i), Topics: []string{"*"}}, nil, store.Audit{})
		if err != nil {
			t.Fatal(err)
		}
		n.webhooks = append(n.webhooks, w)
	}
	n.do(t, `
		INSERT INTO replays (key, id, webhook, status, from_at, from_offset, to_offset, place, covers, topic, rate, created_at)
		VALUES (1, 'rpl_1', 1, 'running', 0, 1, 20, 0, 'all', '', 1, 0), (2, 'rpl_2', 2, 'cancelled', 0, 1, 20, 0, 'all', '', 1, 0)`)
	return n
}

// do runs a statement beside the store.
func (n *newsroom) do(t *testing.T, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), n.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func (n *newsroom) webhook() *hook.Webhook { return n.webhooks[n.IntN(len(n.webhooks))] }

func (n *newsroom) record() *store.Record {
	n.at = n.at.Add(time.Duration(n.IntN(5000)) * time.Millisecond)
	r := &store.Record{Node: "me", At: n.at}
	for range n.IntN(12) {
		r.Items = append(r.Items, n.item(n.webhook()))
	}
	for range n.IntN(3) { // what is parked before goes, and what is parked later stays
		r.Items = slices.Insert(r.Items, n.IntN(len(r.Items)+1), store.Item{Settle: &store.ParkedKey{Webhook: n.webhook().Key, Kind: hook.Replay, Offset: n.offset(), Object: "CONVERSATION:1"}})
	}
	for range n.IntN(3) { // after all that: what is parked in the end decides what is released
		w, object := n.webhook(), fmt.Sprintf("CONVERSATION:%d", n.IntN(3))
		r.Items = append(r.Items, store.Item{Free: &store.ParkedKey{Webhook: w.Key, Kind: hook.Live, Offset: n.offset(), Object: object}})
	}
	for range n.IntN(4) {
		w, object := n.webhook(), fmt.Sprintf("CONVERSATION:%d", n.IntN(3))
		r.Items = append(r.Items, store.Item{Release: &store.ParkedKey{Webhook: w.Key, Kind: hook.Live, Offset: n.offset(), Object: object}})
	}
	for range n.IntN(4) { // some webhooks twice
		w := n.webhook()
		n.places[w.Key] += hook.Offset(n.IntN(3))
		r.Cursors = append(r.Cursors, store.CursorMove{
			Webhook: w.Key, Detached: n.IntN(2) == 0, Offset: n.places[w.Key], Sequence: int64(n.places[w.Key]), Delivered: n.Int64N(5), Failed: n.Int64N(5),
			Skipped: n.Int64N(5), Health: store.Health{
				FailingSince: n.time(), LastSuccessAt: n.time(), LastFailureAt: n.time(), ProbeAt: n.time(), FailingHours: n.IntN(9),
				ConsecutiveFailures: n.IntN(9), ProbeStep: n.IntN(9), LastFailingHour: n.Int64N(1000),
			},
		})
	}
	for range n.IntN(3) { // some of them twice
		g := hook.Gate{NotBefore: n.time(), Wait: time.Duration(n.IntN(5)) * time.Second, Reason: "asked", EndpointVersion: n.Int64N(3), Throttles: n.IntN(9)}
		r.Gates = append(r.Gates, store.GateMove{Webhook: n.webhook().Key, Gate: g})
	}
	n.besides(r)
	return r
}

// besides adds what is not about one delivery, now and then.
func (n *newsroom) besides(r *store.Record) {
	if n.IntN(3) == 0 {
		r.Swept = map[hook.Partition]hook.Offset{3: hook.Offset(n.IntN(50)), 7: hook.Offset(n.IntN(50))}
		r.Rewind = []hook.Partition{n.webhook().Partition}
	}
	for range n.IntN(3) {
		s := store.Stat{Webhook: n.webhook().Key, Bucket: n.Int64N(2), Delivered: n.Int64N(5), Failed: n.Int64N(5), Retried: n.Int64N(5)}
		s.Latency.Add(time.Duration(n.IntN(1000)) * time.Millisecond)
		s.Arrival.Add(time.Duration(n.IntN(1000)) * time.Millisecond)
		r.Stats = append(r.Stats, s)
	}
	for range n.IntN(3) {
		r.Answers = append(r.Answers, store.Answer{Webhook: n.webhook().Key, Slot: n.IntN(2), Offset: n.offset(), Number: 1 + n.IntN(3), Header: []byte("h: \x00"), Body: []byte("b")})
	}
	if n.IntN(3) == 0 {
		r.Notices = append(r.Notices, store.Notice{Webhook: n.webhook().Key, Kind: "down", Detail: "it is down"})
	}
	if n.IntN(3) == 0 {
		r.Replays = append(r.Replays, store.ReplayMove{Key: 1 + n.Int64N(2), Place: n.offset(), Started: n.Int64N(5), Delivered: n.Int64N(5), Failed: n.Int64N(5), Done: n.IntN(2) == 0})
	}
	if n.IntN(3) == 0 {
		r.Repairs = []store.Repair{{Webhook: n.webhook().Key, Since: n.at.Add(-time.Duration(n.IntN(9)) * time.Second)}}
	}
	if n.IntN(4) == 0 {
		w := n.webhook()
		r.Status = append(r.Status, store.StatusChange{
			Webhook: w.Key, Partition: w.Partition, EndpointVersion: w.EndpointVersion + n.Int64N(2), Status: hook.Inactive, Reason: hook.ReasonGone, Detail: "why",
		})
	}
}

func (n *newsroom) offset() hook.Offset { return hook.Offset(1 + n.IntN(20)) }

func (n *newsroom) time() *time.Time {
	if n.IntN(3) == 0 {
		return nil
	}
	t := n.at.Add(time.Duration(n.IntN(600)) * time.Second)
	return &t
}

func (n *newsroom) item(w *hook.Webhook) (x store.Item) {
	kind := []hook.Kind{hook.Live, hook.Live, hook.Manual, hook.Replay}[n.IntN(4)]
	key := store.ParkedKey{Webhook: w.Key, Kind: kind, Offset: n.offset()}
	if n.IntN(5) > 0 {
		name := fmt.Sprint(w.Key, key.Offset)
		if n.IntN(10) > 0 { // else it clashes with the one before, if there is one
			n.numbers[name]++
		}
		x.Attempt = &hook.Attempt{
			Webhook: w.Key, Offset: key.Offset, Number: max(n.numbers[name], 1), Sequence: int64(key.Offset), Kind: kind, Counted: n.IntN(2) == 0, Reused: n.IntN(2) == 0,
			Version: n.Int64N(9), TimestampText: "1.5", Format: hook.DataString, Replay: n.Int64N(9), StartedAt: n.at,
			Phases:  hook.Phases{DNS: 1e3, Connect: 2e3, TLS: 3e3, FirstByte: 4e3, Total: 5e3},
			Outcome: hook.OutcomeRetry, StatusCode: 500, ErrorClass: hook.ErrServerStatus, ErrorDetail: "no\x00",
			AnswerHeader: []byte("h\x00"), AnswerBody: []byte("b\xff"), Changes: n.IntN(2) == 0,
		}
	}
	if n.IntN(6) == 0 {
		x.Skip = &store.Skip{Webhook: w.Key, Offset: key.Offset, Reason: "expired"}
	}
	if n.IntN(3) == 0 {
		x.Unpark = &key
		return x
	}
	x.Park = &hook.Parked{
		Webhook: w.Key, Kind: kind, Offset: key.Offset, Partition: w.Partition, Sequence: int64(key.Offset), ObjectKey: fmt.Sprintf("CONVERSATION:%d", key.Offset%3),
		Attempts: n.IntN(5), Step: n.IntN(5), Throttles: n.IntN(5), DueAt: n.time(), ParkedAt: n.at.Add(time.Duration(n.IntN(20)) * time.Second), Reason: "status_5xx", Replay: n.Int64N(9),
	}
	if x.Park.DueAt == nil {
		x.Park.Reason = "held"
	}
	return x
}

// TestPostgresRecordsAlike: a record in one pipeline changes what one in small steps changes, and
// finds out the same, also where a value is refused.
func TestPostgresRecordsAlike(t *testing.T) {
	cluster(t)
	said, refused, seed := map[string]bool{}, 0, rand.Uint64()
	t.Logf("seed %d", seed)
	a, b := newNewsroom(t, seed), newNewsroom(t, seed)
	for i := range 60 {
		r := a.record()
		leaves(reflect.ValueOf(r).Elem(), "", said)
		piped, err := a.store.Record(t.Context(), r)
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		stepped, err := b.store.RecordStepwise(t.Context(), b.record())
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		refused += len(piped.SetAside)
		for _, out := range []*store.Recorded{&piped, &stepped} {
			for _, list := range [][]hook.Parked{out.Released, out.Settled} {
				slices.SortFunc(list, func(x, y hook.Parked) int {
					return cmp.Or(cmp.Compare(x.Webhook, y.Webhook), cmp.Compare(x.Offset, y.Offset), cmp.Compare(x.Kind, y.Kind))
				})
			}
		}
		if diff := gocmp.Diff(stepped, piped); diff != "" {
			t.Fatalf("record %d found out something else:\n%s", i, diff)
		}
	}
	if diff := gocmp.Diff(contents(t, b.url), contents(t, a.url)); diff != "" {
		t.Fatalf("the tables differ:\n%s", diff)
	}
	if refused == 0 {
		t.Error("nothing was refused")
	}
	var never []string
	for name, set := range said {
		within := func(other string) bool { return strings.HasPrefix(other, name+".") }
		if !set && !slices.ContainsFunc(slices.Collect(maps.Keys(said)), within) {
			never = append(never, name)
		}
	}
	slices.Sort(never)
	// What the engine keeps for itself is not written.
	if want := []string{".Items.Attempt.RetryAfter", ".Items.Park.Number", ".Items.Unpark.Object"}; !slices.Equal(never, want) {
		t.Errorf("no record said anything in %v, want only %v", never, want)
	}
}

// leaves notes which fields of a value, down to the last, are set in some record.
func leaves(v reflect.Value, name string, set map[string]bool) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		leaves(v.Elem(), name, set)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8 && v.Len() > 0:
		for i := range v.Len() {
			leaves(v.Index(i), name, set)
		}
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[time.Time]():
		for i := range v.NumField() {
			leaves(v.Field(i), name+"."+v.Type().Field(i).Name, set)
		}
	default:
		set[name] = set[name] || !v.IsZero()
	}
}

// TestPostgresFence: a node that was declared dead writes nothing. Alive, it writes the same.
func TestPostgresFence(t *testing.T) {
	n := newNewsroom(t, 1)
	r := n.record()
	before := contents(t, n.url)
	n.do(t, `UPDATE nodes SET dead = true`)
	for name, record := range map[string]func() (store.Recorded, error){
		"piped":   func() (store.Recorded, error) { return n.store.Record(t.Context(), r) },
		"stepped": func() (store.Recorded, error) { return n.store.RecordStepwise(t.Context(), r) },
	} {
		if _, err := record(); !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s: %v, want to be fenced off", name, err)
		}
	}
	if diff := gocmp.Diff(before, contents(t, n.url)); diff != "" {
		t.Errorf("a dead node wrote:\n%s", diff)
	}
	n.do(t, `UPDATE nodes SET dead = false`)
	if _, err := n.store.Record(t.Context(), r); err != nil {
		t.Error(err)
	}
	if gocmp.Equal(before, contents(t, n.url)) {
		t.Error("nothing was written by a node that lives")
	}
}

// TestTracesArePurged: of records that nobody asks about any more, whether they were committed or not.
func TestTracesArePurged(t *testing.T) {
	b := newBroken(t)
	c := session(t, b.url)
	run(t, c, `INSERT INTO records (id, void, made_at) VALUES ('old', false, now() - interval '25 hours'), ('void', true, now() - interval '25 hours'), ('young', true, now() - interval '23 hours')`)
	for _, x := range []struct {
		limit, gone int
	}{{1, 1}, {10, 1}, {10, 0}} {
		if n, err := b.store.PurgeTracesStep(t.Context(), 24*time.Hour, x.limit); err != nil || n != x.gone {
			t.Errorf("%d traces went, %v; want %d", n, err, x.gone)
		}
	}
	if id := value[string](t, c, `SELECT string_agg(id, ',') FROM records`); id != "young" {
		t.Errorf("left are %s", id)
	}
}
