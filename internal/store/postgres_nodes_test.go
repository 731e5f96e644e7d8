package store_test

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
)

// nodes opens a store that nodes of these names have joined, and a way to its tables.
func nodes(t *testing.T, names ...string) (*store.Store, *store.Nodes, *pgxpool.Pool) {
	address := database(t)
	s, err := store.OpenPostgres(t.Context(), store.Options{DatabaseURL: address + "&pool_max_conns=5", MasterKey: []byte(storetest.MasterKey)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	pool, err := pgxpool.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	for _, name := range names {
		if err := s.Nodes().Join(t.Context(), store.Node{ID: name, URL: "http://" + name, Version: "v", StartedAt: time.Now()}, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	return s, s.Nodes(), pool
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestNodes(t *testing.T) {
	_, n, pool := nodes(t, "a", "b")
	ctx := t.Context()
	all := []hook.Partition{0, 1, 2, 3}
	if taken := must[[]hook.Partition](t)(n.Take(ctx, "a", all)); len(taken) != 4 {
		t.Fatalf("a took %v", taken)
	}
	// Nobody takes from the living, and only the owner gives.
	if taken := must[[]hook.Partition](t)(n.Take(ctx, "b", all)); len(taken) != 0 {
		t.Fatalf("b took %v from one that lives", taken)
	}
	if err := errors.Join(n.Give(ctx, "b", "b", 0), n.Give(ctx, "a", "b", 3)); err != nil {
		t.Fatal(err)
	}
	m := must[store.Members](t)(n.Renew(ctx, store.Node{ID: "b", InFlight: 7, Leaving: true}, time.Minute))
	if len(m.Nodes) != 2 || m.Nodes[1].InFlight != 7 || !m.Nodes[1].Leaving || m.Nodes[1].Expired || m.Owners[0] != "a" || m.Owners[3] != "b" || m.Owners[5] != "" {
		t.Fatalf("%+v", m)
	}
	if owned := must[[]store.Owned](t)(n.Owned(ctx, "b")); len(owned) != 1 || owned[0].Partition != 3 {
		t.Fatalf("b owns %+v", owned)
	}
	// A lease that lasts cannot be ended by others; one that has run out can, and for ever.
	if err := n.Bury(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	must[store.Members](t)(n.Renew(ctx, store.Node{ID: "a"}, time.Minute))
	if _, err := pool.Exec(ctx, `UPDATE nodes SET lease_until = clock_timestamp() - interval '1 s' WHERE id = 'a'`); err != nil {
		t.Fatal(err)
	}
	if taken := must[[]hook.Partition](t)(n.Take(ctx, "b", all)); len(taken) != 0 {
		t.Fatalf("b took %v from one that was not declared dead", taken)
	}
	if err := n.Bury(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Renew(ctx, store.Node{ID: "a"}, time.Minute); !errors.Is(err, store.ErrFenced) {
		t.Fatalf("the dead renewed their lease: %v", err)
	}
	if _, err := n.Take(ctx, "a", all); !errors.Is(err, store.ErrFenced) {
		t.Fatalf("the dead took a partition: %v", err)
	}
	if taken := must[[]hook.Partition](t)(n.Take(ctx, "b", all)); len(taken) != 3 {
		t.Fatalf("b took %v", taken)
	}
	if err := n.Leave(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if m := must[store.Members](t)(n.Members(ctx)); len(m.Nodes) != 0 {
		t.Fatalf("%+v", m)
	}
}

// TestNodesTakeAtOnce: two nodes that have joined at the same time take the same partitions. The one that
// comes second waits for the first, and then takes nothing: it does not go by what it saw before.
func TestNodesTakeAtOnce(t *testing.T) {
	_, n, pool := nodes(t, "first", "second")
	ctx := t.Context()
	first, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Rollback(ctx)
	if _, err := first.Exec(ctx, `UPDATE owners SET node_id = 'first' WHERE partition < 2`); err != nil {
		t.Fatal(err)
	}
	var second sync.WaitGroup
	second.Go(func() {
		taken, err := n.Take(ctx, "second", []hook.Partition{0, 1, 2})
		if err != nil || !slices.Equal(taken, []hook.Partition{2}) {
			t.Errorf("took %v of those that another one took: %v", taken, err)
		}
	})
	waitForLocks(t, pool, 1)
	if err := first.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	second.Wait()
}

// TestFence: a node that is declared dead while it records has either recorded before, or records
// nothing any more. Its successor takes the partition only then.
func TestFence(t *testing.T) {
	s, n, pool := nodes(t, "old", "new")
	ctx := t.Context()
	must[[]hook.Partition](t)(n.Take(ctx, "old", []hook.Partition{0}))
	if _, err := s.Record(ctx, &store.Record{Node: "old", At: time.Now(), Swept: map[hook.Partition]hook.Offset{0: 1}}); err != nil {
		t.Fatal(err)
	}

	// A record under way, which waits in its middle for a row that somebody else holds.
	holder, err := pool.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Rollback(ctx)
	if _, err := holder.Exec(ctx, `SELECT FROM owners WHERE partition = 0 FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := s.Record(ctx, &store.Record{Node: "old", At: time.Now(), Swept: map[hook.Partition]hook.Offset{0: 2}}); err != nil {
			t.Error(err)
		}
	})
	waitForLocks(t, pool, 1)
	renewal, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := n.Renew(renewal, store.Node{ID: "old"}, time.Minute); err != nil {
		t.Errorf("a record under way stood in the way of the lease: %v", err)
	}
	// Its lease is over, and it is to be declared dead.
	all.Go(func() {
		if _, err := pool.Exec(ctx, `UPDATE nodes SET lease_until = clock_timestamp() - interval '1 s' WHERE id = 'old'`); err != nil {
			t.Error(err)
		}
		if err := n.Bury(ctx, "old"); err != nil {
			t.Error(err)
		}
	})
	waitForLocks(t, pool, 2) // with a fence that only reads, nobody would wait here for the record
	if err := holder.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	all.Wait()

	_, err = s.Record(ctx, &store.Record{Node: "old", At: time.Now(), Swept: map[hook.Partition]hook.Offset{0: 9}})
	if !errors.Is(err, store.ErrFenced) {
		t.Errorf("the dead recorded: %v", err)
	}
	if taken := must[[]hook.Partition](t)(n.Take(ctx, "new", []hook.Partition{0})); !slices.Equal(taken, []hook.Partition{0}) {
		t.Errorf("took %v", taken)
	}
	var swept int64
	if err := pool.QueryRow(ctx, `SELECT swept FROM owners WHERE partition = 0`).Scan(&swept); err != nil || swept != 2 {
		t.Errorf("swept is %d, %v", swept, err)
	}
}

// waitForLocks returns when so many statements wait for locks of others.
func waitForLocks(t *testing.T, pool *pgxpool.Pool, n int) {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for time.Now().Before(end) {
		var waiting int
		if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted`).Scan(&waiting); err != nil {
			t.Fatal(err)
		}
		if waiting >= n {
			return
		}
	}
	t.Fatalf("%d statements were to wait for locks", n)
}

// TestAcceptedByTheDatabasesClock: nodes whose clocks disagree accept in one order of times.
func TestAcceptedByTheDatabasesClock(t *testing.T) {
	address := database(t)
	pool, err := pgxpool.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	// A database whose clock is ten minutes ahead of ours.
	_, err = pool.Exec(t.Context(), `CREATE SCHEMA ahead;
		CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT pg_catalog.clock_timestamp() + interval '10 min' $$`)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.OpenPostgres(t.Context(), store.Options{
		DatabaseURL: address + "&pool_max_conns=3&search_path=" + url.QueryEscape("ahead,public,pg_catalog"), MasterKey: []byte(storetest.MasterKey),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	company, err := s.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	e := &hook.Event{ID: "e1", Company: company.Key, CompanyID: company.ID, Topic: "customer", Data: []byte("{}")}
	got, err := s.Append(t.Context(), company.Partition, []*hook.Event{e})
	if err != nil {
		t.Fatal(err)
	}
	if ahead := time.Until(got.Appended[0].Event.AcceptedAt); ahead < 5*time.Minute || ahead > 11*time.Minute {
		t.Errorf("accepted %s ahead of this node's clock; the database is 10 minutes ahead", ahead)
	}
}

// A topic that one node puts is known to another within a second.
func TestTopicsReachEveryNode(t *testing.T) {
	address := database(t)
	var stores []*store.Store
	for range 2 {
		s, err := store.OpenPostgres(t.Context(), store.Options{DatabaseURL: address + "&pool_max_conns=5", MasterKey: []byte(storetest.MasterKey)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		stores = append(stores, s)
	}
	ctx, end := context.WithCancel(t.Context())
	followed := make(chan struct{})
	go func() {
		stores[1].FollowTopics(ctx, slog.New(slog.DiscardHandler))
		close(followed)
	}()
	defer func() { end(); <-followed }()
	knows := func(s *store.Store) bool { _, ok := s.Catalogue().Lookup("order"); return ok }
	for _, wants := range []bool{true, false} {
		var err error
		if wants {
			err = stores[0].PutTopic(ctx, hook.Topic{Name: "order", Category: "ORDER"}, store.Audit{})
		} else {
			err = stores[0].DeleteTopic(ctx, "order", store.Audit{})
		}
		if err != nil || knows(stores[0]) != wants {
			t.Fatal(err, knows(stores[0]))
		}
		if knows(stores[1]) == wants {
			t.Fatal("the other node knew it before it could")
		}
		since := time.Now()
		for knows(stores[1]) != wants {
			if time.Since(since) > time.Minute {
				t.Fatal("the other node does not learn of it")
			}
			runtime.Gosched()
		}
		t.Logf("known elsewhere after %s", time.Since(since))
	}
}
