package proof_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite" // some tests work on the store from outside

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// writing is the store of a server that does not run: what months of operation would leave there is
// written in a moment, without waiting for the disk.
type writing struct {
	t     *testing.T
	store *store.Store
}

// write lets fn write into the store of a data directory that a server has made, so long ago. The
// server must have ended.
func write(t *testing.T, dir string, ago time.Duration, fn func(*writing)) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.OpenSQLite(context.WithoutCancel(t.Context()), store.Options{
		Dir: dir, MasterKey: key, UnsafeNoSync: true, Now: func() time.Time { return time.Now().Add(-ago) },
	})
	if err != nil {
		t.Fatal(err)
	}
	fn(&writing{t: t, store: s})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// outsider opens the embedded store beside its server, whom it may disturb.
type outsider struct {
	r  *rig
	db *sql.DB
}

func (r *rig) outsider() *outsider {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(r.options.Dir, "atlas-webhooks.db")+"?_pragma=busy_timeout(10000)")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { db.Close() })
	return &outsider{r, db}
}

// count is the one number that a query finds.
func (o *outsider) count(query string, args ...any) (n int) {
	o.r.t.Helper()
	if err := o.db.QueryRowContext(o.r.ctx, query, args...).Scan(&n); err != nil {
		o.r.t.Fatalf("%s: %v", query, err)
	}
	return n
}

func (o *outsider) exec(statement string) {
	o.r.t.Helper()
	if _, err := o.db.ExecContext(o.r.ctx, statement); err != nil {
		o.r.t.Errorf("%s: %v", statement, err)
	}
}

// holding keeps the store to itself for a second, while fn runs.
func (o *outsider) holding(fn func()) {
	o.r.t.Helper()
	o.db.SetMaxOpenConns(1)
	o.exec(`BEGIN IMMEDIATE`)
	var released sync.WaitGroup
	defer released.Wait()
	released.Go(func() {
		pause(o.r.ctx, time.Second)
		o.exec(`ROLLBACK`)
	})
	fn()
}

func (f *writing) company(id string) *store.Company {
	f.t.Helper()
	c, err := f.store.EnsureCompany(f.t.Context(), id)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// webhooks makes n webhooks; change says what is particular about the i-th.
func (f *writing) webhooks(n int, change func(i int, h *hook.Webhook)) []*hook.Webhook {
	f.t.Helper()
	made := make([]*hook.Webhook, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for range 256 {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				h := hook.Webhook{
					Topics: []string{"*"}, Scheme: hook.SchemeHex, Format: hook.DataString, Ordering: hook.Relaxed, MaxConcurrency: hook.DefaultWindow,
					Timeout: hook.DefaultTimeout, RetrySchedule: hook.DefaultRetrySchedule(), Endpoint: fmt.Sprintf("https://example.com/%d", i),
				}
				change(i, &h)
				w, err := f.store.CreateWebhook(f.t.Context(), h, nil, store.Audit{Actor: "test"})
				if err != nil {
					f.t.Error(err)
					return
				}
				made[i] = w
			}
		})
	}
	all.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
	return made
}

// events appends n events of a company, in groups that commit together.
func (f *writing) events(c *store.Company, n int, topic string) {
	f.t.Helper()
	const group = 2000
	now := time.Now()
	for from := 0; from < n; from += group {
		events := make([]*hook.Event, 0, group)
		for i := from; i < min(from+group, n); i++ {
			e := &hook.Event{
				ID: hook.NewID(hook.EventPrefix, now), FreshID: true, Company: c.Key, CompanyID: c.ID, Partition: c.Partition, Topic: topic,
				ObjectKey: hook.ObjectKey(topic, fmt.Sprint(i%100_000)), Data: fmt.Appendf(nil, `{"id": %d, "status": "OPEN"}`, i),
			}
			e.Digest = hook.EventDigest(e.Topic, e.ObjectKey, e.Data)
			events = append(events, e)
		}
		if _, err := f.store.Append(f.t.Context(), c.Partition, events); err != nil {
			f.t.Fatal(err)
		}
	}
}
