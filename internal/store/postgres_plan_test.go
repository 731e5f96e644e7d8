package store_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// filling fills the tables that grow, so that the planner has to choose, and tells it how large they are.
const filling = `
	INSERT INTO companies (key, id, partition, created_at, updated_at) SELECT 1000 + i, 'filled' || i, i % 64, 0, 0 FROM generate_series(0, 99) i;
	INSERT INTO events (partition, "offset", id, company, topic, object_key, data, digest, accepted_at)
		SELECT i % 64, i / 64 + 1, 'filled' || i, 1000 + i % 64, 'customer', 'CUSTOMER:' || i % 1000, '{}', '\x00', 1000000 * i::bigint FROM generate_series(0, ROWS - 1) i;
	INSERT INTO attempts (webhook, "offset", number, sequence, kind, counted, version, timestamp_text, format, replay, started_at, dns_us, connect_us, tls_us,
			first_byte_us, total_us, outcome, status_code, error_class, error_detail)
		SELECT 1000 + i % 200, i / 200 + 1, 1, i / 200 + 1, 'live', 1, 1, '1.5', 'string', 0, 0, 0, 0, 0, 0, 0, CASE WHEN i % 50 = 0 THEN 'retry' ELSE 'delivered' END, 200, '', ''
		FROM generate_series(0, ROWS - 1) i;
	INSERT INTO parked (webhook, kind, "offset", partition, sequence, object_key, attempts, step, due_at, reason, replay)
		SELECT 1000 + i % 200, 'live', i / 200 + 1, i % 64, i / 200 + 1, 'CUSTOMER:' || i % 1000, 1, 1, CASE WHEN i % 3 > 0 THEN 1000000 * i::bigint END, 'x', 0
		FROM generate_series(0, ROWS / 10) i;
	INSERT INTO stats (webhook, bucket, delivered, failed, retried, latency, arrival) SELECT 1000 + i % 200, i / 200, 1, 0, 0, '', '' FROM generate_series(0, ROWS / 10) i;
	ANALYZE`

// whole is a table that is read from one end to the other.
var whole = regexp.MustCompile(`Seq Scan on (events|attempts|parked|stats)\b`)

// TestPostgresPlans: with many rows in the tables that grow, no statement of the store reads one of
// them whole. The plans are those that the server itself wrote down while it ran the statements.
func TestPostgresPlans(t *testing.T) {
	t.Parallel()
	url := database(t)
	s := openPostgres(t, url)
	ctx := t.Context()
	c, err := s.EnsureCompany(ctx, "c1")
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.CreateWebhook(ctx, hook.Webhook{Company: c.Key, Endpoint: "https://example.com", Topics: []string{"*"}, Ordering: hook.ObjectOrder}, nil, store.Audit{})
	if err != nil {
		t.Fatal(err)
	}
	admin := session(t, url)
	if _, err := admin.Exec(ctx, strings.ReplaceAll(filling, "ROWS", strconv.Itoa(filledRows))); err != nil {
		t.Fatal(err)
	}
	// The webhook has a long history, as others have.
	run(t, admin, `UPDATE events SET company = $1 WHERE company = 1000 + $2`, int64(c.Key), int64(c.Partition))
	run(t, admin, `UPDATE attempts SET webhook = $1 WHERE webhook = 1007`, int64(w.Key))
	run(t, admin, `UPDATE parked SET webhook = $1, partition = $2 WHERE webhook = 1007`, int64(w.Key), int64(c.Partition))
	run(t, admin, `ANALYZE`)
	const tell = `&session_preload_libraries=auto_explain&auto_explain.log_min_duration=0`
	explained := openPostgres(t, url+tell)
	exercise(t, explained, c, w)

	control := session(t, url+tell)
	run(t, control, `SELECT count(*) FROM events WHERE topic = 'control'`)
	log, err := os.ReadFile(cluster(t).Log())
	if err != nil {
		t.Fatal(err)
	}
	plans, noticed := 0, false
	for _, plan := range strings.Split(string(log), "LOG:  duration:")[1:] {
		plans++
		switch {
		case !whole.MatchString(plan):
		case strings.Contains(plan, "'control'"):
			noticed = true
		default:
			t.Errorf("a table is read whole:%s", plan)
		}
	}
	t.Logf("%d plans of statements on %d rows", plans, filledRows)
	if !noticed || plans < 60 {
		t.Errorf("%d plans, the control is noticed: %t: the test proves nothing", plans, noticed)
	}
}

// exercise does everything that is done all the time, and what people wait for.
func exercise(t *testing.T, s *store.Store, c *store.Company, w *hook.Webhook) {
	t.Helper()
	ctx := t.Context()
	page, due := store.Page{Limit: 50}, testTime
	from, to := time.UnixMicro(5e9), time.UnixMicro(5e10)
	place, err := s.Head(ctx, c.Partition)
	if err != nil {
		t.Fatal(err)
	}
	e := &hook.Event{ID: "mine", Company: c.Key, Topic: "customer", ObjectKey: "CUSTOMER:1", Data: []byte(`1`)}
	for name, do := range map[string]func() error{
		"append":     func() error { _, err := s.Append(ctx, c.Partition, []*hook.Event{e}); return err },
		"tail":       func() error { _, _, err := s.Tail(ctx, c.Partition, place-100, 100, 1<<20); return err },
		"backlog":    func() error { _, err := s.Backlog(ctx, c.Key, 100, place, 500); return err },
		"events":     func() error { _, err := s.Events(ctx, c.Partition, []hook.Offset{5, 9}); return err },
		"places":     func() error { _, _, _, err := s.Places(ctx, c.Partition, -1, 1000); return err },
		"lane":       func() error { _, err := s.LoadLane(ctx, w.Key, place-10); return err },
		"due":        func() error { _, _, err := s.Due(ctx, c.Partition, store.DuePlace{}, due, 100); return err },
		"due of":     func() error { _, err := s.DueOf(ctx, w.Key, due, false, 100); return err },
		"deliveries": func() error { _, _, err := s.Deliveries(ctx, w.Key, store.DeliveryQuery{Limit: 50}); return err },
		"failed": func() error {
			_, _, err := s.Deliveries(ctx, w.Key, store.DeliveryQuery{Limit: 50, Status: hook.Failed})
			return err
		},
		"retrying": func() error {
			_, _, err := s.Deliveries(ctx, w.Key, store.DeliveryQuery{Limit: 50, Status: hook.Retrying})
			return err
		},
		"of object": func() error {
			_, _, err := s.Deliveries(ctx, w.Key, store.DeliveryQuery{Limit: 50, ObjectID: "7"})
			return err
		},
		"delivery": func() error {
			_, err := s.Delivery(ctx, w.Key, fmt.Sprintf("filled%d", 64*20+int(c.Partition)))
			return err
		},
		"events page": func() error {
			_, _, err := s.EventsPage(ctx, c.Key, store.EventFilter{From: &from, To: &to}, 0, 50)
			return err
		},
		"object page": func() error {
			_, _, err := s.EventsPage(ctx, c.Key, store.EventFilter{ObjectID: "7"}, 0, 50)
			return err
		},
		"conservation": func() error { _, _, err := s.Conservation(ctx, c.Key, page); return err },
		"standing":     func() error { _, err := s.Standing(ctx, w.Key); return err },
		"recount":      func() error { _, err := s.Recount(ctx, w.Key); return err },
		"stats": func() error {
			_, err := s.Stats(ctx, store.StatsQuery{Company: c.Key, Webhook: w.Key, To: 100})
			return err
		},
		"feed":   func() error { _, err := s.Feed(ctx, w.Key, 10, 50); return err },
		"warn":   func() error { _, err := s.WarnExpiring(ctx, c.Key, to, due); return err },
		"expire": func() error { _, err := s.ExpireStep(ctx, c.Key, from, 100); return err },
		"purge":  func() error { _, err := s.PurgeCompanyStep(ctx, c.Key, from, 1000); return err },
		"erase":  func() error { _, err := s.EraseDeletedStep(ctx, due, 1000); return err },
		"record": func() error {
			_, err := s.Record(ctx, &store.Record{At: testTime, Items: []store.Item{
				{Attempt: &hook.Attempt{Webhook: w.Key, Offset: place, Number: 7, Kind: hook.Live, Outcome: hook.OutcomeRetry}, Park: &hook.Parked{Webhook: w.Key, Kind: hook.Live, Offset: place, Partition: c.Partition, DueAt: &due}},
				{Unpark: &store.ParkedKey{Webhook: w.Key, Kind: hook.Live, Offset: 3}, Release: &store.ParkedKey{Webhook: w.Key, Object: "CUSTOMER:1"}},
			}, Cursors: []store.CursorMove{{Webhook: w.Key}}, Stats: []store.Stat{{Webhook: w.Key, Bucket: 7}}})
			return err
		},
	} {
		if err := do(); err != nil && !hook.IsKind(err, hook.KindNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
