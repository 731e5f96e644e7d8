package store_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
)

// standing starts what stands before Postgres, or skips the test where it is not installed.
func standing(t *testing.T, b *postgrestest.Before, err error) *postgrestest.Before {
	t.Helper()
	if errors.Is(err, postgrestest.ErrMissing) && os.Getenv("CI") == "" { //nolint:forbidigo // a test may ask where it runs
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

// passes does everything that a node does all the time through what stands before Postgres.
func passes(t *testing.T, url string) {
	t.Helper()
	s := openPostgres(t, url)
	c, err := s.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.CreateWebhook(t.Context(), hook.Webhook{Company: c.Key, Endpoint: "https://example.com", Topics: []string{"*"}}, nil, store.Audit{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Nodes().Join(t.Context(), store.Node{ID: "a", StartedAt: testTime}, time.Minute); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			if _, err := s.Append(t.Context(), c.Partition, []*hook.Event{anEvent(c, fmt.Sprintf("e%d", i))}); err != nil {
				t.Error(err)
			}
			if _, err := s.Nodes().Renew(t.Context(), store.Node{ID: "a"}, time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	exercise(t, s, c, w)
	if ids := idsOf(t, s, c); len(ids) != 41 {
		t.Errorf("%d events", len(ids))
	}
}

// TestPgBouncer: pooling by session carries everything; pooling by transaction or statement is refused at
// the start. The control begins a session as drivers do, with a parameter.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	for _, mode := range []string{"session", "transaction", "statement"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b, err := c.PgBouncer(t.Context(), "pool_mode="+mode, "default_pool_size=40", "max_prepared_statements=0")
			if err != nil && strings.Contains(err.Error(), "max_prepared_statements") {
				b, err = c.PgBouncer(t.Context(), "pool_mode="+mode, "default_pool_size=40")
			}
			b = standing(t, b, err)
			name := nameOf(t, database(t))
			if mode != "session" {
				if err := tryPostgres(t, b.URL(name)); err == nil || !strings.Contains(err.Error(), "pool_mode=session") {
					t.Errorf("pooling by %s: %v", mode, err)
				}
				return
			}
			if conn, err := pgx.Connect(t.Context(), b.URL(name)+"&statement_timeout=7s"); err == nil {
				conn.Close(t.Context())
				t.Error("a parameter passes: the test proves nothing")
			}
			passes(t, b.URL(name))
		})
	}
}

// TestHAProxy: what closes idle connections is noticed before anything is asked on one.
func TestHAProxy(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	b, err := c.HAProxy(t.Context(), time.Second)
	b = standing(t, b, err)
	u := b.URL(nameOf(t, database(t)))
	admin, idle := session(t, database(t)), session(t, u) // the second is the control
	pid := value[int](t, idle, `SELECT pg_backend_pid()`)
	passes(t, u)
	s := openPostgres(t, u)
	company, err := s.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		if _, err := s.Append(t.Context(), company.Partition, []*hook.Event{anEvent(company, fmt.Sprintf("late%d", i))}); err != nil {
			t.Errorf("after idleness: %v", err)
		}
		eventually(t, func() error { // which is so long that the control is closed
			if value[int](t, admin, `SELECT count(*) FROM pg_stat_activity WHERE pid = $1`, pid) > 0 {
				return errors.New("the idle session goes on")
			}
			return nil
		})
		if idle.Ping(t.Context()) == nil {
			t.Error("the control goes on: the test proves nothing")
		}
	}
}

// TestPgpool: without load balancing it carries everything; a reader that is balanced away to a standby is
// noticed at the start.
func TestPgpool(t *testing.T) {
	t.Parallel()
	c := ownPostgres(t)
	if _, err := os.Stat("/usr/sbin/pgpool"); err != nil && os.Getenv("CI") == "" { //nolint:forbidigo // a test may ask where it runs
		t.Skip("no pgpool")
	}
	standby, err := c.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Stop)
	name := freshDatabase(t, c)
	for _, balancing := range []string{"off", "on"} {
		b, err := c.Pgpool(t.Context(), []*postgrestest.Cluster{standby}, "load_balance_mode = "+balancing)
		b = standing(t, b, err)
		if balancing == "off" {
			eventually(t, func() error { return tryPostgres(t, b.URL(name)) }) // it answers before its children do
			passes(t, b.URL(name))
			continue
		}
		if err := tryPostgres(t, b.URL(name)); err == nil || !strings.Contains(err.Error(), "load_balance_mode=off") && !strings.Contains(err.Error(), "standby") {
			t.Errorf("with load balancing: %v", err)
		}
	}
}
