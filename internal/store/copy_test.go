package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/transfer"
)

// populated are the companies of a populated store.
var populated = []string{"acme", "globex", "initech", "umbrella"}

func openLite(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir, MasterKey: []byte(storetest.MasterKey), UnsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// populate fills a store: events of all companies between each other, and of each kind of row some.
func populate(t *testing.T, s *store.Store) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	audit := store.Audit{Actor: "tester", Action: "tested"}
	must(s.PutTopic(ctx, hook.Topic{Name: "order.shipped", Category: "ORDER"}, audit))
	dead := make([]store.DeadLetter, 1100) // more than a copy reads at once
	for i := range dead {
		dead[i] = store.DeadLetter{Source: "orders", MessageKey: fmt.Sprint(i), Reason: "no topic", Body: []byte("body")}
	}
	must(s.AddDeadLetters(ctx, dead))
	_, err := s.CreateKey(ctx, store.NewKey{Name: "operator's", Scope: "operator", Text: "text of an operator"}, audit)
	must(err)
	webhooks := map[string][]*hook.Webhook{}
	for i, id := range populated {
		c, err := s.EnsureCompany(ctx, id)
		must(err)
		_, err = s.UpdateCompany(ctx, id, func(c *store.Company) error {
			c.MaxWebhooks, c.AllowNetworks = 40+i, []string{"10.0.0.0/8"}
			return nil
		}, audit)
		must(err)
		_, err = s.CreateKey(ctx, store.NewKey{Company: c.Key, Name: "its own", Scope: "publish", Topics: "customer", Text: "text of " + id}, audit)
		must(err)
		for j := range 4 {
			w, err := s.CreateWebhook(ctx, hook.Webhook{
				Company: c.Key, Endpoint: fmt.Sprintf("https://example.com/%s/%d", id, j), Topics: []string{"*"}, Scheme: hook.SchemeHex, Format: hook.DataString,
				Ordering: hook.ObjectOrder, MaxConcurrency: 3 + j, Timeout: hook.DefaultTimeout, RetrySchedule: hook.DefaultRetrySchedule(),
				Headers: []hook.Header{{Name: "X-Own", Value: id}}, Metadata: json.RawMessage(`{"a": "b"}`), Description: "José\u2028",
			}, nil, audit)
			must(err)
			webhooks[id] = append(webhooks[id], w)
		}
		must(s.SaveTest(ctx, &store.TestDelivery{ID: "evt_test_" + id, Webhook: webhooks[id][0].Key, At: testTime, Topic: "customer", Data: []byte(`1`), Attempt: hook.Attempt{Webhook: webhooks[id][0].Key, Outcome: hook.OutcomeDelivered, StatusCode: 200}}))
		answer := store.SavedAnswer{Company: c.Key, Key: "idem-" + id, Route: "POST /v1/events", Status: 202, Body: []byte(`{"secret":"x"}`), At: testTime}
		_, err = s.ReserveAnswer(ctx, answer, testTime.Add(-time.Hour))
		must(err)
		must(s.SaveAnswer(ctx, answer))
	}
	// Between each other, so that no company's offsets are gapless.
	for i := range 36 {
		for j, id := range populated {
			if (i+j)%3 == 0 {
				continue
			}
			c, err := s.EnsureCompany(ctx, id)
			must(err)
			at := testTime.Add(time.Duration(i) * time.Second)
			key := hook.ObjectKey("customer", fmt.Sprint(i%5))
			data := fmt.Appendf(nil, `{"n": %d, "of": %q}`, i, id)
			_, err = s.Append(ctx, c.Partition, []*hook.Event{{ID: fmt.Sprintf("evt-%s-%d", id, i), Company: c.Key, Topic: "customer", ObjectKey: key, Data: data, Digest: hook.EventDigest("customer", key, data), OccurredAt: &at}})
			must(err)
		}
	}
	for _, id := range populated {
		settle(t, s, id, webhooks[id])
	}
}

// settle leaves the webhooks of a company in different states.
func settle(t *testing.T, s *store.Store, id string, webhooks []*hook.Webhook) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	c, err := s.Company(ctx, id)
	must(err)
	refs, err := s.Backlog(ctx, c.Key, 0, 1<<40, 1000)
	must(err)
	due := testTime.Add(time.Hour)
	for j, w := range webhooks[:3] {
		r := store.Record{At: testTime, Cursors: []store.CursorMove{{Webhook: w.Key, Detached: j == 1}}}
		r.Gates = []store.GateMove{{Webhook: w.Key, Gate: hook.Gate{NotBefore: &due, Wait: time.Hour, Reason: "it asked", EndpointVersion: 1, Throttles: 1 + j}}}
		n := 20 + j
		for i, ref := range refs[:n] {
			a := hook.Attempt{
				Webhook: w.Key, Offset: ref.Offset, Number: 1, Sequence: int64(i + 1), Kind: hook.Live, Counted: true, TimestampText: "1.5", Format: hook.DataString,
				StartedAt: testTime.Add(time.Duration(i) * time.Second), Outcome: hook.OutcomeDelivered, StatusCode: 200, Phases: hook.Phases{Total: 5 * time.Millisecond},
			}
			switch i % 7 {
			case 3:
				a.Outcome, a.StatusCode, a.AnswerBody, a.AnswerHeader, a.ErrorDetail = hook.OutcomeRetry, 500, []byte("a\x00b"), []byte("X: y\r\n"), "no\x00"
				r.Items = append(r.Items, store.Item{Attempt: &a, Park: &hook.Parked{
					Webhook: w.Key, Kind: hook.Live, Offset: ref.Offset, Partition: c.Partition, Sequence: int64(i + 1), ObjectKey: ref.ObjectKey, Attempts: 1, DueAt: &due, Reason: "status_5xx",
				}})
				continue
			case 5:
				a.Outcome, a.StatusCode = hook.OutcomeFailed, 404
				r.Cursors[0].Failed++
			default:
				r.Cursors[0].Delivered++
			}
			r.Items = append(r.Items, store.Item{Attempt: &a})
		}
		r.Cursors[0].Offset, r.Cursors[0].Sequence = refs[n-1].Offset, int64(n)
		r.Stats = []store.Stat{{Webhook: w.Key, Bucket: testTime.Unix() / 60, Delivered: 7}}
		r.Answers = []store.Answer{{Webhook: w.Key, Slot: 1, Offset: refs[0].Offset, Number: 1, Header: []byte("A: b\r\n"), Body: []byte{}}}
		r.Notices = []store.Notice{{Webhook: w.Key, Kind: "down", Detail: "it is"}}
		_, err := s.Record(ctx, &r)
		must(err)
	}
	audit := store.Audit{Actor: "tester", Action: "tested"}
	_, err = s.CreateReplay(ctx, webhooks[0].Key, store.NewReplay{From: testTime.Add(-time.Hour), Covers: store.CoversFailed}, audit)
	must(err)
	_, err = s.UpdateWebhook(ctx, c.Key, webhooks[1].ID, store.Change{Audit: audit, Apply: func(w *hook.Webhook) error {
		w.Topics = []string{"customer.*", "customer"}
		return nil
	}})
	must(err)
	_, err = s.UpdateWebhook(ctx, c.Key, webhooks[2].ID, store.Change{Audit: audit, Apply: func(w *hook.Webhook) error { w.Status = hook.Paused; return nil }})
	must(err)
	_, err = s.UpdateWebhook(ctx, c.Key, webhooks[2].ID, store.Change{Audit: audit, Resume: store.ResumeNow, Apply: func(w *hook.Webhook) error { w.Status = hook.Active; return nil }})
	must(err)
	must(s.DeleteWebhook(ctx, c.Key, webhooks[3].ID, nil, audit))
}

// own are what a store numbers for itself; everything else of a company is the same in every copy.
var own = regexp.MustCompile(`"(Key|Company|Webhook|Partition|Offset|From|To|Place|FromOffset|ToOffset|Replay|Changed|Version)":-?\d+,?`)

// overdue gives a delivery that is due the same time whenever it is looked at: the store says now.
func overdue(d *store.Delivery) {
	if d.NextAttemptAt != nil && time.Since(*d.NextAttemptAt) < time.Minute {
		d.NextAttemptAt = &testTime
	}
}

// portrait is all that a store says about a company.
func portrait(t *testing.T, s *store.Store, id string) string {
	t.Helper()
	ctx := t.Context()
	var b strings.Builder
	add := func(what string, v any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		text, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(string(text)) {
			if compact := strings.ReplaceAll(strings.TrimSpace(line), `": `, `":`); !own.MatchString(compact) {
				lines = append(lines, strings.Replace(compact, `":null`, `":""`, 1)) // SQLite gives empty bytes as none
			}
		}
		fmt.Fprintf(&b, "%s: %s\n", what, strings.Join(lines, "\n"))
	}
	c, err := s.Company(ctx, id)
	add("company", c, err)
	page := store.Page{Limit: 100}
	keys, _, err := s.Keys(ctx, c.Key, page)
	add("keys", keys, err)
	log, _, err := s.AuditLog(ctx, c.Key, page)
	add("audit", log, err)
	notices, _, err := s.Notices(ctx, c.Key, page)
	add("notices", slices.DeleteFunc(notices, func(n store.NoticeEntry) bool { return n.Kind == store.NoticeWentBack }), err)
	events, _, err := s.EventsPage(ctx, c.Key, store.EventFilter{}, 0, 100)
	add("events", events, err)
	matches, _, err := s.Matches(ctx, c.Key, events[7].ID, page)
	add("matches", matches, err)
	sums, _, err := s.Conservation(ctx, c.Key, page)
	add("sums", sums, err)
	saved, err := s.ReserveAnswer(ctx, store.SavedAnswer{Company: c.Key, Key: "idem-" + id, Route: "POST /v1/events", At: testTime}, testTime.Add(-time.Hour))
	add("answer", saved, err)
	webhooks, _, err := s.Webhooks(ctx, c.Key, store.WebhookFilter{}, 0, 100)
	add("webhooks", webhooks, err)
	for _, w := range webhooks {
		list, _, err := s.Deliveries(ctx, w.Key, store.DeliveryQuery{Limit: 200})
		for i := range list {
			overdue(&list[i])
		}
		add("deliveries", list, err)
		for _, d := range list[:min(len(list), 7)] {
			detail, err := s.Delivery(ctx, w.Key, d.EventID)
			if err == nil {
				overdue(&detail.Delivery)
			}
			add("delivery", detail, err)
		}
		fed, err := s.Feed(ctx, w.Key, 0, 100)
		add("feed", fed, err)
		replays, _, err := s.Replays(ctx, w.Key, page)
		add("replays", replays, err)
		tests, _, err := s.Tests(ctx, w.Key, page)
		add("tests", tests, err)
		stats, err := s.Stats(ctx, store.StatsQuery{Webhook: w.Key, Company: c.Key, From: testTime.Unix()/60 - 60, To: testTime.Unix()/60 + 60})
		add("stats", stats, err)
		recount, err := s.Recount(ctx, w.Key)
		add("recount", recount, err)
		if !recount.Balanced {
			t.Errorf("%s is not balanced: %+v", w.ID, recount)
		}
		waiting, err := s.DueOf(ctx, w.Key, testTime.Add(24*time.Hour), false, 100)
		slices.SortFunc(waiting, func(a, b hook.Parked) int { return int(a.Sequence - b.Sequence) }) // they are due at once
		add("due", waiting, err)
	}
	return b.String()
}

// engine makes stores for these tests.
type engine struct {
	name        string
	empty, full func(*testing.T) *store.Store
}

// engines makes full ones by copying one that was populated once.
func engines(t *testing.T) []engine {
	t.Helper()
	lite := t.TempDir()
	s := openLite(t, lite)
	populate(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	url := database(t)
	s = openPostgres(t, url)
	populate(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return []engine{
		{
			"SQLite", func(t *testing.T) *store.Store { t.Helper(); return openLite(t, t.TempDir()) },
			func(t *testing.T) *store.Store {
				t.Helper()
				dir := t.TempDir()
				if err := os.CopyFS(dir, os.DirFS(lite)); err != nil {
					t.Fatal(err)
				}
				return openLite(t, dir)
			},
		},
		{
			"Postgres", func(t *testing.T) *store.Store { t.Helper(); return openPostgres(t, database(t)+"&pool_max_conns=4") },
			func(t *testing.T) *store.Store {
				t.Helper()
				return openPostgres(t, databaseLike(t, url)+"&pool_max_conns=4")
			},
		},
	}
}

// TestCopy: a copy of everything says of every company what the source said, goes on counting where
// the source stood, and matches what is published to it.
func TestCopy(t *testing.T) {
	t.Parallel()
	made := engines(t)
	t.Run("everything", func(t *testing.T) { copyEverything(t, made) })
	t.Run("a company", func(t *testing.T) { copyCompany(t, made) })
	t.Run("a backup", func(t *testing.T) { backUp(t, made) })
}

func copyEverything(t *testing.T, made []engine) {
	for _, a := range made {
		for _, b := range made {
			t.Run(a.name+" to "+b.name, func(t *testing.T) {
				from, to := a.full(t), b.empty(t)
				var told transfer.Progress
				done, err := transfer.Copy(t.Context(), from, to, transfer.Options{Progress: func(p transfer.Progress) { told = p }})
				if err != nil {
					t.Fatal(err)
				}
				if done.Companies != len(populated) || done.Webhooks != 3*len(populated) || told.Done != told.Total || told.Total == 0 {
					t.Errorf("%+v, told %+v", done, told)
				}
				for _, id := range populated {
					if diff := cmp.Diff(portrait(t, from, id), portrait(t, to, id)); diff != "" {
						t.Errorf("%s differs (-source +copy):\n%s", id, diff)
					}
					goesOn(t, to, id)
				}
				if b.name == "Postgres" && a.name == "SQLite" {
					spread(t, to)
				}
				if _, err := transfer.Copy(t.Context(), from, to, transfer.Options{}); err == nil || !strings.Contains(err.Error(), "not empty") {
					t.Errorf("copied twice: %v", err)
				}
			})
		}
	}
}

// goesOn publishes to a copy, and creates in it.
func goesOn(t *testing.T, s *store.Store, id string) {
	t.Helper()
	ctx := t.Context()
	c, err := s.Company(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Catalogue().Lookup("order.shipped"); !ok {
		t.Error("the topics of the platform's own are not there")
	}
	dead, err := s.CountDeadLetters(ctx)
	if err != nil || dead["orders"] != 1100 && dead["orders"] != 0 {
		t.Errorf("dead letters: %v, %v", dead, err)
	}
	head, err := s.Head(ctx, c.Partition)
	if err != nil {
		t.Fatal(err)
	}
	before := sumsOf(t, s, id)
	e := &hook.Event{ID: "new-" + id, Company: c.Key, Topic: "customer", Data: []byte(`1`), Digest: [32]byte{9}}
	if _, err := s.Append(ctx, c.Partition, []*hook.Event{e}); err != nil || e.Offset != head+1 {
		t.Errorf("%s: the next event stands at %d after %d: %v", id, e.Offset, head, err)
	}
	for i, b := range sumsOf(t, s, id) {
		if b.Pending != before[i].Pending+1 || b.Matched != before[i].Matched+1 || !b.Balanced {
			t.Errorf("%s: %+v after %+v", id, b, before[i])
		}
	}
	clash := &hook.Event{ID: fmt.Sprintf("evt-%s-%d", id, 5-slices.Index(populated, id)), Company: c.Key, Topic: "customer", Data: []byte(`2`)}
	if known, err := s.Append(ctx, c.Partition, []*hook.Event{clash}); err != nil || !known.Appended[0].Conflict {
		t.Errorf("%s: an id is forgotten: %+v %v", id, known, err)
	}
	if _, err := s.CreateWebhook(ctx, hook.Webhook{Company: c.Key, Endpoint: "https://example.com/new", Topics: []string{"*"}}, nil, store.Audit{}); err != nil {
		t.Error(err)
	}
}

func sumsOf(t *testing.T, s *store.Store, id string) []store.Balance {
	t.Helper()
	c, err := s.Company(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := s.Conservation(t.Context(), c.Key, store.Page{Limit: 100})
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	return list
}

// spread wants the companies where new ones would be.
func spread(t *testing.T, s *store.Store) {
	t.Helper()
	seen := map[hook.Partition]bool{}
	for _, id := range populated {
		c, err := s.Company(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		seen[c.Partition] = true
	}
	if len(seen) < 3 {
		t.Errorf("the companies live in %v", seen)
	}
}

// copyCompany: a company goes into a store that has others, and nobody of them notices.
func copyCompany(t *testing.T, made []engine) {
	for i, a := range made {
		for _, b := range made[1-i : 2-i] { // within an engine it is the same code
			t.Run(a.name+" to "+b.name, func(t *testing.T) {
				from, other, to := a.full(t), made[0].full(t), b.empty(t)
				for _, id := range populated[1:3] {
					if _, err := transfer.Copy(t.Context(), other, to, transfer.Options{Company: id}); err != nil {
						t.Fatal(err)
					}
				}
				before := portrait(t, to, "globex")
				if _, err := transfer.Copy(t.Context(), from, to, transfer.Options{Company: "acme"}); err != nil {
					t.Fatal(err)
				}
				for id, was := range map[string]string{"acme": portrait(t, from, "acme"), "globex": before} {
					if diff := cmp.Diff(was, portrait(t, to, id)); diff != "" {
						t.Errorf("%s differs (-before +after):\n%s", id, diff)
					}
					goesOn(t, to, id)
				}
				if _, err := to.Company(t.Context(), "umbrella"); !hook.IsKind(err, hook.KindNotFound) {
					t.Errorf("another company came along: %v", err)
				}
				for company, says := range map[string]string{"acme": "already", "nobody": "not_found"} {
					if _, err := transfer.Copy(t.Context(), from, to, transfer.Options{Company: company}); err == nil || !strings.Contains(err.Error(), says) {
						t.Errorf("%s: %v", company, err)
					}
				}
			})
		}
	}
}

// TestCopyGoesOn: a copy that is broken off at any step goes on there, whatever the step; until its
// end the target serves nobody.
func TestCopyGoesOn(t *testing.T) {
	for _, company := range []string{"", "globex"} {
		t.Run("company "+company, func(t *testing.T) {
			t.Parallel()
			from, url := openLite(t, t.TempDir()), database(t)
			populate(t, from)
			half, err := store.OpenPostgres(t.Context(), store.Options{DatabaseURL: url, MasterKey: []byte(storetest.MasterKey), Unfinished: true})
			if err != nil {
				t.Fatal(err)
			}
			steps := 0
			for err = errors.New("not begun"); err != nil; steps++ {
				ctx, cancel := context.WithCancel(t.Context())
				_, err = transfer.Copy(ctx, from, half, transfer.Options{Company: company, Progress: func(transfer.Progress) { cancel() }})
				cancel()
				if steps == 3 {
					if s, err := store.OpenPostgres(t.Context(), store.Options{DatabaseURL: url, MasterKey: []byte(storetest.MasterKey)}); err == nil || !strings.Contains(err.Error(), "not finished") {
						s.Close()
						t.Fatalf("a half of a copy opens: %v", err)
					}
				}
				if steps == 100 {
					t.Fatal(err)
				}
			}
			half.Close()
			if steps < 10 {
				t.Errorf("it was broken off %d times: the test proves nothing", steps)
			}
			to := openPostgres(t, url)
			for _, id := range populated {
				if company == "" || company == id {
					if diff := cmp.Diff(portrait(t, from, id), portrait(t, to, id)); diff != "" {
						t.Errorf("%s differs (-source +copy):\n%s", id, diff)
					}
				}
			}
		})
	}
}

// TestCopyRefuses what would mix, lose or garble something.
func TestCopyRefuses(t *testing.T) {
	t.Parallel()
	from, url := openLite(t, t.TempDir()), database(t)
	populate(t, from)
	otherKey := []byte(strings.Repeat("k", 32))
	if _, err := store.OpenPostgres(t.Context(), store.Options{DatabaseURL: url, MasterKey: otherKey}); err == nil || !strings.Contains(err.Error(), "master key") {
		t.Errorf("another master key: %v", err)
	}
	to := openPostgres(t, url)
	if _, err := transfer.Copy(t.Context(), from, to, transfer.Options{Company: "nobody"}); !hook.IsKind(err, hook.KindNotFound) {
		t.Errorf("a company that does not exist: %v", err)
	}
	if err := to.Nodes().Join(t.Context(), store.Node{ID: "n1"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := transfer.Copy(t.Context(), from, to, transfer.Options{}); err == nil || !strings.Contains(err.Error(), "server runs") {
		t.Errorf("beside a server: %v", err)
	}
	if err := to.Nodes().Leave(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}

	// The source goes on after the copy was broken off.
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := transfer.Copy(ctx, from, to, transfer.Options{Progress: func(transfer.Progress) { cancel() }}); !errors.Is(err, context.Canceled) && !hook.IsKind(err, hook.KindUnavailable) {
		t.Fatal(err)
	}
	c, err := from.Company(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := from.Append(t.Context(), c.Partition, []*hook.Event{{ID: "late", Company: c.Key, Topic: "customer", Data: []byte(`1`)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := transfer.Copy(t.Context(), from, to, transfer.Options{}); err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("a source that has changed: %v", err)
	}
}

// TestCopyNoticesLoss is the control of the check at the end.
func TestCopyNoticesLoss(t *testing.T) {
	for name, loss := range map[string]string{
		"a row":     `DELETE FROM attempts WHERE ctid = (SELECT max(ctid) FROM attempts)`,
		"a counter": `UPDATE cursors SET delivered = delivered - 1 WHERE webhook = (SELECT min(webhook) FROM cursors)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, url := openLite(t, t.TempDir()), database(t)
			populate(t, from)
			to, admin := openPostgres(t, url), session(t, url)
			_, err := transfer.Copy(t.Context(), from, to, transfer.Options{Progress: func(p transfer.Progress) {
				if p.Table == "notices" {
					run(t, admin, loss)
				}
			}})
			if err == nil {
				t.Error("nobody notices")
			}
		})
	}
}

// TestCopyKnowsEveryColumn: a table or column that is new must be copied, or left out on purpose.
func TestCopyKnowsEveryColumn(t *testing.T) {
	t.Parallel()
	admin := session(t, database(t))
	inserts, err := os.ReadFile("transfer/testdata/copy.sql") // what a copy writes, as its own test has it
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, insert := range regexp.MustCompile(`INSERT INTO (\w+) \((.*?)\)`).FindAllStringSubmatch(string(inserts), -1) {
		for column := range strings.SplitSeq(insert[2], ", ") {
			known[insert[1]+"."+strings.Trim(column, `"`)] = true
		}
	}
	rows, err := admin.Query(t.Context(), `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			t.Fatal(err)
		}
		switch table {
		case "meta", "owners", "partitions", "nodes", "records", "eras", "sessions", "atlas_webhooks_migrations", "atlas_webhooks_migrating":
			continue // each database's own
		case "topics", "dead_letters":
			continue // of no company: they are taken along at the end
		case "topic_checks":
			continue // what is counted begins anew
		}
		n++
		if !known[table+"."+column] {
			t.Errorf("%s.%s is not copied", table, column)
		}
	}
	if err := rows.Err(); err != nil || n != len(known) {
		t.Errorf("%d columns, %d are copied: %v", n, len(known), err)
	}
}

// Topics that come along are bounded like others, and those of a file there are not those of a file here.
func TestCopyTopics(t *testing.T) {
	open := func(prefix string, n int) *store.Store {
		s, err := store.OpenSQLite(t.Context(), store.Options{Dir: t.TempDir(), MasterKey: []byte(storetest.MasterKey), MinFreeDisk: -1, UnsafeNoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		var file []hook.Topic
		for i := range n {
			file = append(file, hook.Topic{Name: fmt.Sprint(prefix, i), Category: "T"})
		}
		if _, err := s.ApplyTopics(t.Context(), file, store.Audit{Actor: "test"}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	from, to := open("a", store.MaxTopics/2+1), open("b", store.MaxTopics/2)
	take := func() error {
		return from.Engine().Read(t.Context(), func(q sql.Tx) error {
			return to.Engine().Write(t.Context(), func(w sql.Tx) error { return store.CopyTopics(t.Context(), q, w) })
		})
	}
	if err := take(); err == nil || !strings.Contains(err.Error(), "there may be") {
		t.Errorf("one too many: %v", err)
	}
	if err := from.DeleteTopic(t.Context(), "a0", store.Audit{Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	if err := take(); err != nil {
		t.Fatal(err)
	}
	if err := to.ReadTopics(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(to.Catalogue().Topics()); n != 15+store.MaxTopics || !to.Catalogue().Was("a0") {
		t.Errorf("%d topics", n)
	}
	if _, err := to.ApplyTopics(t.Context(), nil, store.Audit{Actor: "test"}); err != nil { // an empty file
		t.Fatal(err)
	}
	if n := len(to.Catalogue().Topics()); n != 15+store.MaxTopics/2 {
		t.Errorf("%d topics are left when those of the file are gone", n)
	}
}
