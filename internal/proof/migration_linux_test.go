package proof_test

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// TestMigrationKilled is D10 of the test plan: the server is killed at one write after another, and
// between every two migrations, while it brings an empty directory, and one of its first version, to
// the schema of today. The next start finishes that, and what was there is there.
func TestMigrationKilled(t *testing.T) {
	_, err := exec.LookPath("strace")
	need(t, err == nil, "the command strace")
	armable, err := armable()
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for name, from := range map[string]string{"empty": "", "version 1": oldStore(t)} {
		for _, k := range killedWrites {
			t.Run(fmt.Sprintf("%s, write %d", name, k), func(t *testing.T) {
				killed += migrateKilled(t, from, func(o *process.Options) {
					o.Env = []string{"GOMAXPROCS=1"} // strace counts the calls of each thread
					o.Wrap = []string{
						"strace", "-D", "-f", "-qq", "-o", filepath.Join(t.TempDir(), "strace"), "-e", "trace=pwrite64",
						"-e", fmt.Sprintf("inject=pwrite64:signal=KILL:when=%d", k),
					}
				})
			})
		}
		for n := range 3 {
			t.Run(fmt.Sprintf("%s, migration %d", name, n+1), func(t *testing.T) {
				killed += migrateKilled(t, from, func(o *process.Options) {
					o.Binary, o.Env = armable, []string{fmt.Sprintf("FAILPOINT=%s:%d", failpoint.Migration, n+1)}
				})
			})
		}
	}
	if killed < 2*3+len(killedWrites) {
		t.Errorf("it was killed %d times before it answered: the test tested little", killed)
	}
}

// migrateKilled starts a server that is to be killed, then one that is not. It returns 1 if the first
// did not come to answer.
func migrateKilled(t *testing.T, from string, arm func(*process.Options)) (killed int) {
	t.Helper()
	r := newRig(t)
	if from != "" {
		if err := os.CopyFS(r.options.Dir, os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	armed := r.options
	arm(&armed)
	server, err := process.Start(r.ctx, armed)
	if err == nil {
		server.Kill()
	}
	r.start()
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}})
	r.persist(r.ctx, &oracle.Event{ID: "after", Company: "c1", Topic: "conversation", Data: `{}`})
	r.settled([]string{"c1"}, 30*time.Second)
	if from != "" {
		r.ask(http.MethodGet, "/v1/events/before", "c0", "", nil)
	}
	r.stop()
	if err != nil {
		return 1
	}
	return 0
}

// oldStore is a directory with a store of the first version in it, and an event.
func oldStore(t *testing.T) string {
	t.Helper()
	r := newRig(t)
	r.start() // for the keys
	r.stop()
	dir := r.options.Dir
	for _, name := range []string{"atlas-webhooks.db", "atlas-webhooks.db-wal", "atlas-webhooks.db-shm"} {
		remove(t, dir, name)
	}
	first, err := os.ReadFile("../store/sqlite/migrations/0001_log.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "atlas-webhooks.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		`PRAGMA journal_mode = WAL`,
		`CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')))`,
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1)`,
		string(first),
		`UPDATE meta SET value = 1 WHERE name = 'company_key'`,
		`INSERT INTO companies (key, id, partition, created_at, updated_at) VALUES (1, 'c0', 0, 1, 1)`,
		`INSERT INTO events (offset, id, company, topic, object_key, data, digest, accepted_at)
			VALUES (1, 'before', 1, 'conversation', '', x'7B7D', x'00', CAST(unixepoch() AS INTEGER) * 1000000)`,
	} {
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(errors.Join(err, db.Close()))
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}
