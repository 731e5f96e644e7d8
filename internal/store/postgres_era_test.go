package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
)

const leap = 1_000_000_000_000

// remembers is a store of a database that goes back under it, and what it gave out before.
type remembers struct {
	t    *testing.T
	s    *store.Store
	kept *store.Company // is there afterwards
	lost *store.Company // was made in the time that is lost
	hook *hook.Webhook  // of the first
	gone *hook.Webhook  // of the second
	last hook.Offset
}

func (r *remembers) append(c *store.Company, id string) (hook.Offset, error) {
	b, err := r.s.Append(context.WithoutCancel(r.t.Context()), c.Partition, []*hook.Event{{ID: id, Company: c.Key, CompanyID: c.ID, Topic: "customer", Data: []byte(`{}`), Digest: [32]byte{1}}})
	if err != nil {
		return 0, err
	}
	return b.Appended[0].Event.Offset, nil
}

// before is what happens before and, after the copy was made, in the time that is lost.
func (r *remembers) before(copied func()) {
	r.t.Helper()
	ctx := r.t.Context()
	r.kept = must[*store.Company](r.t)(r.s.EnsureCompany(ctx, "kept"))
	r.hook = must[*hook.Webhook](r.t)(r.s.CreateWebhook(ctx, hook.Webhook{Company: r.kept.Key, Endpoint: "https://kept.example", Topics: []string{"*"}}, nil, store.Audit{}))
	if n := r.s.Nodes(); n != nil {
		if err := n.Join(ctx, store.Node{ID: "node", StartedAt: time.Now()}, time.Minute); err != nil {
			r.t.Error(err) // a store that only copies knows no era, and joins nothing
		}
	}
	must[hook.Offset](r.t)(r.append(r.kept, "before"))
	copied()
	r.lost = must[*store.Company](r.t)(r.s.EnsureCompany(ctx, "lost"))
	r.gone = must[*hook.Webhook](r.t)(r.s.CreateWebhook(ctx, hook.Webhook{Company: r.lost.Key, Endpoint: "https://lost.example", Topics: []string{"*"}}, nil, store.Audit{}))
	for i := range 5 {
		r.last = must[hook.Offset](r.t)(r.append(r.kept, fmt.Sprintf("lost-%d", i)))
	}
}

// noticed: nothing of before is written, in whichever way somebody tries.
func (r *remembers) noticed() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.t.Context()), 60*time.Second)
	defer cancel()
	for {
		_, err := r.append(r.kept, "stale")
		if err == nil {
			r.t.Fatal("an event is accepted by who knows the database as it was")
		}
		if errors.Is(err, store.ErrWentBack) {
			break
		}
		if ctx.Err() != nil {
			r.t.Fatalf("not noticed: %v", err)
		}
	}
	_, err := r.s.Record(ctx, &store.Record{Node: "node", At: time.Now(), Swept: map[hook.Partition]hook.Offset{r.kept.Partition: r.last}})
	if !errors.Is(err, store.ErrFenced) {
		r.t.Errorf("a record of before: %v", err)
	}
	if _, err := r.s.CreateWebhook(ctx, hook.Webhook{Company: r.lost.Key, Endpoint: "https://x.example", Topics: []string{"*"}}, nil, store.Audit{}); !errors.Is(err, store.ErrWentBack) {
		r.t.Errorf("a webhook of before: %v", err)
	}
	if _, err := r.s.Nodes().Renew(ctx, store.Node{ID: "node"}, time.Minute); !errors.Is(err, store.ErrFenced) {
		r.t.Errorf("a lease of before: %v", err)
	}
}

// settled: an era begins in which everything lies above what was given out.
func (r *remembers) settled(lost bool) *store.Era {
	r.t.Helper()
	ctx := r.t.Context()
	request := r.s.Pin(ctx) // that began before
	era := must[*store.Era](r.t)(r.s.Nodes().Settle(ctx))
	if era == nil || era.Number != 2 || era.Cause == "" {
		r.t.Fatalf("era: %+v", era)
	}
	if lost && (era.MissingFrom == nil || !era.MissingFrom.Before(*era.MissingTo)) {
		r.t.Errorf("what may be missing: %+v", era)
	}
	if _, err := r.s.CreateWebhook(request, hook.Webhook{Company: r.lost.Key, Endpoint: "https://x.example", Topics: []string{"*"}}, nil, store.Audit{}); !errors.Is(err, store.ErrWentBack) {
		r.t.Errorf("a request that began before: %v", err)
	}
	offset := must[hook.Offset](r.t)(r.append(must[*store.Company](r.t)(r.s.EnsureCompany(ctx, "kept")), "after"))
	if offset <= leap || offset <= r.last {
		r.t.Errorf("offset %d after %d", offset, r.last)
	}
	late := must[*store.Company](r.t)(r.s.EnsureCompany(ctx, "late"))
	w := must[*hook.Webhook](r.t)(r.s.CreateWebhook(ctx, hook.Webhook{Company: late.Key, Endpoint: "https://late.example", Topics: []string{"*"}}, nil, store.Audit{}))
	if late.Key <= leap || w.Key <= leap {
		r.t.Errorf("company %d, webhook %d after %d, %d", late.Key, w.Key, r.lost.Key, r.gone.Key)
	}
	fed, err := r.s.Feed(ctx, r.hook.Key, 0, 100)
	if err != nil || len(fed) < 2 || fed[0].Sequence != 1 || fed[len(fed)-1].Sequence != leap+int64(len(fed)) {
		r.t.Errorf("numbers: %+v %v", fed, err)
	}
	list, _, err := r.s.Conservation(ctx, r.kept.Key, store.Page{Limit: 10})
	if err != nil || len(list) != 1 || !list[0].Balanced || !list[0].PendingExact || list[0].Pending != int64(len(fed)) {
		r.t.Errorf("sums: %+v %v", list, err)
	}
	if deep, err := r.s.Recount(ctx, r.hook.Key); err != nil || !deep.Balanced || deep.Pending != int64(len(fed)) {
		r.t.Errorf("deep: %+v %v", deep, err)
	}
	notices, _, err := r.s.Notices(ctx, r.kept.Key, store.Page{Limit: 10})
	if err != nil || lost != (len(notices) == 1 && notices[0].Kind == store.NoticeWentBack && notices[0].WebhookID == "") {
		r.t.Errorf("notices: %+v %v", notices, err)
	}
	for _, p := range must[[]store.Progress](r.t)(r.s.Progress(ctx)) { // events and not offsets
		if has := p.Partition == r.kept.Partition; has && p.Lag != int64(len(fed)) || !has && p.Lag != 0 {
			r.t.Errorf("partition %d is %d behind, of %d events", p.Partition, p.Lag, len(fed))
		}
	}
	again := must[*store.Era](r.t)(r.s.Nodes().Settle(ctx))
	if again != nil {
		r.t.Errorf("it went back once, and another era began: %+v", again)
	}
	return era
}

func openEra(t *testing.T, url string, blind bool) *remembers {
	t.Helper()
	s, err := store.OpenPostgres(t.Context(), store.Options{DatabaseURL: url + "&pool_max_conns=5", MasterKey: []byte(storetest.MasterKey), Unfinished: blind})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &remembers{t: t, s: s}
}

// twoClusters are a server and a standby that has all of it, and a database there.
func twoClusters(t *testing.T) (first, second *postgrestest.Cluster, database string) {
	t.Helper()
	cluster(t) // skips where there is none
	first, err := postgrestest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(first.Stop)
	if database, err = first.Database(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if second, err = first.Standby(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Stop)
	return first, second, database
}

// TestStandbyPromoted: a standby is promoted that lacks the last of what was acknowledged. With blind
// set, nobody looks: the same offsets and keys are given out again.
func TestStandbyPromoted(t *testing.T) {
	for _, blind := range []bool{false, true} {
		t.Run(fmt.Sprintf("blind=%t", blind), func(t *testing.T) {
			t.Parallel()
			first, second, database := twoClusters(t)
			r := openEra(t, first.Either(second, database), blind)
			if blind {
				r.kept = must[*store.Company](t)(r.s.EnsureCompany(t.Context(), "kept"))
				must[hook.Offset](t)(r.append(r.kept, "before"))
				if err := second.Detach(t.Context()); err != nil {
					t.Fatal(err)
				}
				r.lost = must[*store.Company](t)(r.s.EnsureCompany(t.Context(), "lost"))
				r.last = must[hook.Offset](t)(r.append(r.kept, "lost"))
			} else {
				r.before(func() {
					if err := second.Detach(t.Context()); err != nil {
						t.Fatal(err)
					}
				})
			}
			if err := errors.Join(first.Kill(t.Context()), second.Promote(t.Context())); err != nil {
				t.Fatal(err)
			}
			if !blind {
				r.noticed()
				r.settled(true)
				return
			}
			var offset hook.Offset
			for err := errors.New("none yet"); err != nil; {
				if offset, err = r.append(r.kept, "again"); t.Context().Err() != nil {
					t.Fatal(err)
				}
			}
			if late := must[*store.Company](t)(r.s.EnsureCompany(t.Context(), "late")); offset != r.last || late.Key != r.lost.Key {
				t.Errorf("control: offset %d after %d, company %d after %d", offset, r.last, late.Key, r.lost.Key)
			}
		})
	}
}

// TestSynchronousStandbyPromoted: commits waited for the standby that is promoted. Nothing is missing,
// and nobody is told that something might be.
func TestSynchronousStandbyPromoted(t *testing.T) {
	t.Parallel()
	first, second, database := twoClusters(t)
	for _, statement := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		if err := first.Exec(t.Context(), database, statement); err != nil {
			t.Fatal(err)
		}
	}
	r := openEra(t, first.Either(second, database), false)
	r.before(func() {})
	if err := errors.Join(first.Kill(t.Context()), second.Promote(t.Context())); err != nil {
		t.Fatal(err)
	}
	r.noticed()
	if era := r.settled(false); era.MissingFrom != nil {
		t.Errorf("something is said to be missing: %+v", era)
	}
	fed, err := r.s.Feed(t.Context(), r.hook.Key, 0, 100)
	if err != nil || len(fed) != 7 {
		t.Errorf("of 7 events %d are there: %v", len(fed), err)
	}
}

// TestDumpRestoredUnderNodes: pg_restore brings back an older copy under a store that stays connected.
func TestDumpRestoredUnderNodes(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name, err := c.Database(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	r := openEra(t, c.URL(name), false)
	var file string
	r.before(func() {
		if file, err = c.Dump(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	})
	if err := c.Load(t.Context(), name, file); err != nil {
		t.Fatal(err)
	}
	r.noticed()
	r.settled(true)
}

// TestDumpRestoredBeforeStart: nobody remembers anything, and the copy shows that it is one.
func TestDumpRestoredBeforeStart(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	name, err := c.Database(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	r := openEra(t, c.URL(name), false)
	var file string
	r.before(func() {
		if file, err = c.Dump(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	})
	if err := errors.Join(r.s.Close(), c.Load(t.Context(), name, file)); err != nil {
		t.Fatal(err)
	}
	began := openEra(t, c.URL(name), false).s.EraBegun()
	if began == nil || began.Cause == "" || began.MissingFrom == nil {
		t.Errorf("era: %+v", began)
	}
	if again := openEra(t, c.URL(name), false).s.EraBegun(); again != nil {
		t.Errorf("another start: %+v", again)
	}
}

// TestHeldWhenWentBack: with HoldWhenBack nothing is delivered afterwards until somebody says so; without,
// nothing is held.
func TestHeldWhenWentBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := cluster(t)
	name := must[string](t)(c.Database(ctx, ""))
	url := c.URL(name) + "&pool_max_conns=5"
	if err := openEra(t, c.URL(name), false).s.Close(); err != nil { // makes the tables
		t.Fatal(err)
	}
	for _, hold := range []bool{false, true} {
		file := must[string](t)(c.Dump(ctx, name))
		if err := c.Load(ctx, name, file); err != nil {
			t.Fatal(err)
		}
		s := must[*store.Store](t)(store.OpenPostgres(ctx, store.Options{DatabaseURL: url, MasterKey: []byte(storetest.MasterKey), HoldWhenBack: hold}))
		if since := must[*time.Time](t)(s.HeldSince(ctx)); s.EraBegun() == nil || hold != (since != nil) {
			t.Errorf("hold=%t: held since %v in %+v", hold, since, s.EraBegun())
		}
		if err := s.Resume(ctx); err != nil {
			t.Error(err)
		}
		if since := must[*time.Time](t)(s.HeldSince(ctx)); since != nil {
			t.Errorf("held since %v after it was let go", since)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDiskSetBack: the files of the server are put back as they were. Nothing of the server shows it, only
// that the last event, or the last renewal of the lease, is not there: each of them alone is enough. With
// blind set, nobody looks, and an offset is given out again.
func TestDiskSetBack(t *testing.T) {
	for _, by := range []string{"event", "beat", "blind"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			cluster(t) // skips where there is none
			ctx := t.Context()
			c, err := postgrestest.Start(ctx)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Stop)
			name := must[string](t)(c.Database(ctx, ""))
			r := openEra(t, c.URL(name), by == "blind")
			r.kept = must[*store.Company](t)(r.s.EnsureCompany(ctx, "kept"))
			must[hook.Offset](t)(r.append(r.kept, "before"))
			if by == "beat" {
				if err := r.s.Nodes().Join(ctx, store.Node{ID: "node", StartedAt: time.Now()}, time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Snapshot(ctx); err != nil {
				t.Fatal(err)
			}
			if by == "beat" {
				must[store.Members](t)(r.s.Nodes().Renew(ctx, store.Node{ID: "node"}, time.Minute))
			} else {
				r.last = must[hook.Offset](t)(r.append(r.kept, "lost"))
			}
			if err := c.SetBack(ctx); err != nil {
				t.Fatal(err)
			}
			var offset hook.Offset
			for err = errors.New("none yet"); err != nil && !errors.Is(err, store.ErrWentBack); {
				if offset, err = r.append(r.kept, "again"); ctx.Err() != nil {
					t.Fatal(err)
				}
			}
			if by == "blind" {
				if err != nil || offset != r.last {
					t.Errorf("control: offset %d after %d, %v", offset, r.last, err)
				}
				return
			}
			if err == nil {
				t.Fatal("not noticed")
			}
			if era := must[*store.Era](t)(r.s.Nodes().Settle(ctx)); era == nil || era.MissingFrom == nil {
				t.Errorf("era: %+v", era)
			}
			if offset := must[hook.Offset](t)(r.append(must[*store.Company](t)(r.s.EnsureCompany(ctx, "kept")), "after")); offset <= leap {
				t.Errorf("offset %d", offset)
			}
		})
	}
}

// TestEmbeddedRestored: the file of the embedded store is put back as it was. Nothing shows it; who says so
// gets an era in which everything lies above what was given out, once. Control: who does not gives an offset
// out again.
func TestEmbeddedRestored(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir, kept := emptyStore(t), t.TempDir()
	file := func(dir string) string { return filepath.Join(dir, "atlas-webhooks.db") }
	with := func(dir string, opt store.Options, do func(*remembers)) *store.Era {
		t.Helper()
		opt.Dir, opt.MasterKey, opt.UnsafeNoSync = dir, []byte(storetest.MasterKey), true
		s := must[*store.Store](t)(store.OpenSQLite(ctx, opt))
		r := &remembers{t: t, s: s, kept: must[*store.Company](t)(s.EnsureCompany(ctx, "kept"))}
		do(r)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		return s.EraBegun()
	}
	var last, again, after hook.Offset
	with(dir, store.Options{}, func(r *remembers) { must[hook.Offset](t)(r.append(r.kept, "before")) })
	if err := os.CopyFS(kept, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	with(dir, store.Options{}, func(r *remembers) { last = must[hook.Offset](t)(r.append(r.kept, "lost")) })
	text, err := os.ReadFile(file(kept))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file(dir), text, 0o600); err != nil {
		t.Fatal(err)
	}
	with(kept, store.Options{}, func(r *remembers) { again = must[hook.Offset](t)(r.append(r.kept, "again")) })
	if again != last {
		t.Errorf("control: offset %d after %d", again, last)
	}
	era := with(dir, store.Options{Restored: true, HoldWhenBack: true}, func(r *remembers) {
		after = must[hook.Offset](t)(r.append(r.kept, "after"))
		if since := must[*time.Time](t)(r.s.HeldSince(ctx)); since == nil {
			t.Error("it is not held back")
		}
	})
	if era == nil || era.Number != 2 || era.MissingFrom == nil || after <= leap {
		t.Errorf("offset %d after %d in %+v", after, last, era)
	}
	if era := with(dir, store.Options{}, func(*remembers) {}); era != nil {
		t.Errorf("the start after it: %+v", era)
	}
}
