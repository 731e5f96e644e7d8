package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/transfer"
)

// restored opens what a backup was restored into.
func restored(t *testing.T, engine, backup string) *store.Store {
	t.Helper()
	opt := store.Options{Dir: t.TempDir(), MasterKey: []byte(storetest.MasterKey)}
	if engine == "SQLite" {
		if err := transfer.RestoreSQLite(t.Context(), backup, opt); err != nil {
			t.Fatal(err)
		}
		return openLite(t, opt.Dir)
	}
	to := openPostgres(t, database(t)+"&pool_max_conns=4")
	if _, err := transfer.RestoreInto(t.Context(), backup, to, opt, nil); err != nil {
		t.Fatal(err)
	}
	return to
}

// backUp: a backup of either engine is restored into either, says of every company what it said,
// and delivers nothing until it may.
func backUp(t *testing.T, made []engine) {
	for i, a := range made {
		for _, b := range made[:len(made)-i] { // a backup is one kind of file, whatever it was made from
			t.Run(a.name+" to "+b.name, func(t *testing.T) {
				from, file := a.full(t), filepath.Join(t.TempDir(), "backup")
				if err := transfer.Backup(t.Context(), from, file); err != nil {
					t.Fatal(err)
				}
				if err := transfer.Backup(t.Context(), from, file); err == nil || !strings.Contains(err.Error(), "exists") {
					t.Errorf("a backup is written over: %v", err)
				}
				to := restored(t, b.name, file)
				for _, id := range populated[:2] {
					if diff := cmp.Diff(portrait(t, from, id), portrait(t, to, id)); diff != "" {
						t.Errorf("%s differs (-source +restored):\n%s", id, diff)
					}
					goesOn(t, to, id)
				}
				if since, err := to.HeldSince(t.Context()); err != nil || since == nil {
					t.Errorf("it may deliver: %v %v", since, err)
				}
				if err := to.Resume(t.Context()); err != nil {
					t.Fatal(err)
				}
				if since, err := to.HeldSince(t.Context()); err != nil || since != nil {
					t.Errorf("it may not deliver: %v %v", since, err)
				}
			})
		}
	}
}

// TestBackupUnderLoad: what was acknowledged before a backup began is in it, and what is in it is whole,
// whoever writes meanwhile.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"SQLite", "Postgres"} {
		t.Run(name, func(t *testing.T) {
			var s *store.Store
			if name == "SQLite" {
				s = openLite(t, t.TempDir())
			} else {
				s = openPostgres(t, database(t)+"&pool_max_conns=6")
			}
			c, err := s.EnsureCompany(t.Context(), "c1")
			if err != nil {
				t.Fatal(err)
			}
			w, err := s.CreateWebhook(t.Context(), hook.Webhook{Company: c.Key, Endpoint: "https://example.com", Topics: []string{"*"}}, nil, store.Audit{})
			if err != nil {
				t.Fatal(err)
			}
			padding := strings.Repeat("x", 2000)
			stop, acked := make(chan struct{}), make(chan hook.Offset, 1)
			var all sync.WaitGroup
			all.Go(func() {
				for i := hook.Offset(1); ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					var events []*hook.Event
					for j := range hook.Offset(50) {
						events = append(events, &hook.Event{ID: fmt.Sprintf("e%d-%d", i, j), Company: c.Key, Topic: "customer", Data: []byte(`"` + padding + `"`), Digest: [32]byte{1}})
					}
					if _, err := s.Append(context.WithoutCancel(t.Context()), c.Partition, events); err != nil {
						t.Error(err)
						return
					}
					// Every event is delivered in the moment in which it is there.
					r := store.Record{At: testTime}
					for _, e := range events {
						r.Items = append(r.Items, store.Item{Attempt: &hook.Attempt{Webhook: w.Key, Offset: e.Offset, Number: 1, Sequence: int64(e.Offset), Kind: hook.Live, Outcome: hook.OutcomeDelivered, StartedAt: testTime}})
					}
					last := events[len(events)-1].Offset
					r.Cursors = []store.CursorMove{{Webhook: w.Key, Offset: last, Sequence: int64(last), Delivered: int64(len(events))}}
					if _, err := s.Record(context.WithoutCancel(t.Context()), &r); err != nil {
						t.Error(err)
						return
					}
					if i == 20 { // some mebibytes, so that the backup takes steps
						acked <- last
					}
				}
			})
			before := <-acked
			file := filepath.Join(t.TempDir(), "backup")
			err = transfer.Backup(t.Context(), s, file)
			close(stop)
			all.Wait()
			if err != nil {
				t.Fatal(err)
			}
			to := restored(t, "SQLite", file)
			key := sumsOf(t, to, "c1")
			head, err := to.Head(t.Context(), 0)
			if err != nil || head < 1_000_000_000_000 || len(key) != 1 || !key[0].Balanced || key[0].Matched < int64(before) {
				t.Errorf("acknowledged up to %d, restored up to %d with %+v: %v", before, head, key, err)
			}
			t.Logf("acknowledged up to %d before, restored: %+v", before, key)
		})
	}
}

// TestRestoreRefuses what is no backup, what is damaged, another key, and a store that is there.
func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	s, file := openLite(t, t.TempDir()), filepath.Join(t.TempDir(), "backup")
	populate(t, s)
	if err := transfer.Backup(t.Context(), s, file); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	damaged := append([]byte{}, whole...)
	for i := len(damaged) / 3; i < len(damaged)/3+9000; i++ {
		damaged[i] ^= 0x5a
	}
	for name, test := range map[string]struct {
		content []byte
		key     string
	}{
		"no backup": {[]byte(strings.Repeat("no backup", 1000)), storetest.MasterKey},
		"cut":       {whole[:len(whole)/2], storetest.MasterKey},
		"damaged":   {damaged, storetest.MasterKey},
		"key":       {whole, strings.Repeat("k", 32)},
	} {
		path, dir := filepath.Join(t.TempDir(), "b"), t.TempDir()
		if err := os.WriteFile(path, test.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := transfer.RestoreSQLite(t.Context(), path, store.Options{Dir: dir, MasterKey: []byte(test.key)}); err == nil {
			t.Errorf("%s is restored", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%s leaves %v behind: %v", name, left, err)
		}
	}
	opt := store.Options{Dir: t.TempDir(), MasterKey: []byte(storetest.MasterKey)}
	if err := transfer.RestoreSQLite(t.Context(), file, opt); err != nil {
		t.Fatal(err)
	}
	if err := transfer.RestoreSQLite(t.Context(), file, opt); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("restored over a store: %v", err)
	}
}
