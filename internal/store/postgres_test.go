package store_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
)

// postgres is the cluster of this package's tests, started by the first that needs it.
var postgres struct {
	sync.Once
	*postgrestest.Cluster
	template string // a database with an empty store
	err      error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if postgres.Cluster != nil {
		postgres.Stop()
	}
	os.Exit(code)
}

// cluster returns the running Postgres, or skips the test where none is installed.
func cluster(t testing.TB) *postgrestest.Cluster {
	postgres.Do(func() {
		ctx := context.Background()
		if postgres.Cluster, postgres.err = postgrestest.Start(ctx); postgres.err != nil {
			return
		}
		if postgres.template, postgres.err = postgres.Database(ctx, ""); postgres.err != nil {
			return
		}
		var s *store.Store
		s, postgres.err = store.OpenPostgres(ctx, store.Options{DatabaseURL: postgres.URL(postgres.template), MasterKey: []byte(storetest.MasterKey)})
		if postgres.err == nil {
			postgres.err = s.Close()
		}
	})
	if errors.Is(postgres.err, postgrestest.ErrMissing) {
		t.Skip(postgres.err)
	}
	if postgres.err != nil {
		t.Fatal(postgres.err)
	}
	return postgres.Cluster
}

// database makes a database with an empty store for one test.
func database(t testing.TB) string {
	t.Helper()
	c := cluster(t)
	return databaseLike(t, c.URL(postgres.template))
}

// databaseLike makes a copy of a database that nobody is connected to.
func databaseLike(t testing.TB, like string) string {
	t.Helper()
	c := cluster(t)
	u, err := url.Parse(like)
	if err != nil {
		t.Fatal(err)
	}
	name, err := c.Database(t.Context(), strings.TrimPrefix(u.Path, "/"))
	if err != nil {
		t.Fatal(err)
	}
	// It is no database that went back: nobody remembers this one.
	if err := c.Exec(t.Context(), name, `DO $$ BEGIN IF to_regclass('eras') IS NOT NULL THEN DELETE FROM eras; END IF; END $$`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Drop(context.WithoutCancel(t.Context()), name); err != nil {
			t.Error(err)
		}
	})
	return c.URL(name)
}

// TestPostgres runs the suite. A directory stands for a database.
func TestPostgres(t *testing.T) {
	cluster(t)
	var mu sync.Mutex
	databases := map[string]string{}
	storetest.Run(t, func(t *testing.T, opt store.Options) (*store.Store, error) {
		mu.Lock()
		defer mu.Unlock()
		if databases[opt.Dir] == "" {
			databases[opt.Dir] = database(t)
		}
		opt.DatabaseURL = databases[opt.Dir] + "&pool_max_conns=5"
		return store.OpenPostgres(t.Context(), opt)
	})
}
