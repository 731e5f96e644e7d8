package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
)

// schema is what a database consists of.
func schema(t *testing.T, c *pgx.Conn) string {
	t.Helper()
	return value[string](t, c, `
		SELECT string_agg(what, E'\n' ORDER BY what) FROM (
			SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || coalesce(column_default, '') AS what
			FROM information_schema.columns WHERE table_schema = 'public'
			UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
			UNION ALL SELECT 'partition ' || id FROM partitions UNION ALL SELECT 'owner ' || partition FROM owners UNION ALL SELECT 'meta ' || name FROM meta) AS s`)
}

// TestPostgresMigrationBrokenOff: whenever the sessions of a migration are ended, the next one finishes,
// and the schema is that of one that nobody disturbed.
func TestPostgresMigrationBrokenOff(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	admin := session(t, c.URL("postgres"))
	broken, want := 0, ""
	for i := range 4 {
		url := databaseLike(t, c.URL("template0"))
		opt := store.Options{DatabaseURL: url, MasterKey: []byte(storetest.MasterKey)}
		if i > 0 { // the first is left in peace
			done := make(chan error, 1)
			go func() {
				_, err := store.Migrate(context.WithoutCancel(t.Context()), opt, true)
				done <- err
			}()
			name := url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
			for value[int](t, admin, `SELECT count(*) FROM pg_stat_activity WHERE datname = $1`, name) == 0 {
			}
			run(t, admin, `SELECT pg_sleep($1)`, float64(i)*0.02-0.01)
			run(t, admin, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1`, name)
			if err := <-done; err != nil {
				broken++
			}
		}
		list, err := store.Migrate(t.Context(), opt, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range list {
			if m.AppliedAt == nil {
				t.Errorf("%s is not there", m.Name)
			}
		}
		got := schema(t, session(t, url))
		if want == "" {
			want = got
		}
		if got != want {
			t.Errorf("another schema after a migration was broken off:\n%s\n%s", got, want)
		}
	}
	t.Logf("%d migrations were broken off", broken)
	if broken == 0 {
		t.Error("the test proves nothing")
	}
}

// TestMigrateTogether: nodes that start at once on a fresh database take turns.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	opt := store.Options{DatabaseURL: databaseLike(t, cluster(t).URL("template0")), MasterKey: []byte(storetest.MasterKey)}
	done := make(chan error)
	for range 4 {
		go func() {
			_, err := store.Migrate(context.WithoutCancel(t.Context()), opt, true)
			done <- err
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestPostgresGuards: a store does not open where it could lose what was acknowledged, or where a newer
// version has been.
func TestPostgresGuards(t *testing.T) {
	t.Parallel()
	url := database(t)
	open := func(suffix string) error {
		s, err := store.OpenPostgres(t.Context(), store.Options{DatabaseURL: url + suffix, MasterKey: []byte(storetest.MasterKey)})
		if err == nil {
			s.Close()
		}
		return err
	}
	if err := open(""); err != nil {
		t.Fatal("the control:", err)
	}
	if err := open("&synchronous_commit=off"); err == nil || !strings.Contains(err.Error(), "could lose") {
		t.Errorf("without waiting for the disk: %v", err)
	}
	run(t, session(t, url), `INSERT INTO atlas_webhooks_migrations (version_id, is_applied) VALUES (999999, true)`)
	if err := open(""); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("on a newer schema: %v", err)
	}
	if _, err := store.Migrate(t.Context(), store.Options{DatabaseURL: url}, true); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Errorf("migrate on a newer schema: %v", err)
	}
	if err := open("&host=/nowhere"); err == nil || strings.Contains(err.Error(), "postgres@") {
		t.Errorf("nowhere: %v", err)
	}
}

// adds matches a statement that leaves servers of the version before in peace.
var adds = regexp.MustCompile(`(?is)^(ALTER TABLE \w+ ADD COLUMN \w+ [^,]*DEFAULT[^,]*|CREATE (UNIQUE )?INDEX .*|DROP INDEX .*|CREATE TABLE .*|ALTER TABLE \w+ SET \(.*|INSERT INTO meta \(name, value\) VALUES \('\w+', \d+\))$`)

// TestMigrationsOnlyAdd: after the first, what is there stays, so that the code of the version before
// runs on.
func TestMigrationsOnlyAdd(t *testing.T) {
	files, err := filepath.Glob("*/migrations/*.sql")
	if err != nil || len(files) < 4 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "0001_log.sql") {
			continue
		}
		up, _, _ := strings.Cut(string(text), "-- +goose Down")
		up = regexp.MustCompile(`(?m)--.*$`).ReplaceAllString(up, "")
		for statement := range strings.SplitSeq(up, ";") {
			if statement = strings.TrimSpace(statement); statement != "" && !adds.MatchString(statement) {
				t.Errorf("%s: not a step that only adds: %s", file, statement)
			}
		}
	}
	for _, control := range []string{`ALTER TABLE parked DROP COLUMN due_at`, `ALTER TABLE parked ADD COLUMN a BIGINT NOT NULL`, `UPDATE events SET data = ''`, `INSERT INTO meta (name, value) SELECT 'a', count(*) FROM events`, `ALTER TABLE parked RENAME TO p`} {
		if adds.MatchString(control) {
			t.Errorf("%s passes", control)
		}
	}
}

// TestMigrationsAreNumbered without gaps, each number once: what is numbered twice is refused at each
// start, and what comes later with a lower number is never run where a higher one has been.
func TestMigrationsAreNumbered(t *testing.T) {
	for _, engine := range []string{"sqlite", "postgres"} {
		files, err := filepath.Glob(engine + "/migrations/*")
		if err != nil || len(files) < 2 {
			t.Fatal(files, err)
		}
		for i, file := range files { // in the order of their names
			if name := filepath.Base(file); !strings.HasPrefix(name, fmt.Sprintf("%04d_", i+1)) || !strings.HasSuffix(name, ".sql") {
				t.Errorf("%s: %s stands where number %d is expected", engine, name, i+1)
				break
			}
		}
	}
}
