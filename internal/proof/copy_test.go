package proof_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// halts make the database hold a copy in the middle of a table, as long as somebody has the lock: the
// rows before are committed, these are not.
const halts = `
	CREATE FUNCTION halt() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT count(*) FROM %[1]s) > %[2]d THEN PERFORM pg_advisory_xact_lock(7); END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER halt AFTER INSERT ON %[1]s FOR EACH STATEMENT EXECUTE FUNCTION halt();
	SELECT pg_advisory_lock(7)`

// TestCopyKilled moves a server that crashed under load from a data directory to Postgres, by the
// command, which is killed in the middle of one table and of another. No server starts on a part of a
// copy. What the command does when it is run once more is a store on which everything goes on: those
// who publish notice nothing but a pause, and every delivery is where it was.
func TestCopyKilled(t *testing.T) {
	t.Parallel() // it waits, mostly
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 12)) //nolint:gosec // a test's dice
	cluster := sharedCluster(t)
	database, err := cluster.Database(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, "--max-in-flight", fmt.Sprint(maxInFlight))
	companies := names("company", 3)
	r.start()
	crowd(r, dice, companies, 9)
	waits := &endpoint{webhook: oracle.Webhook{Company: companies[0], Topics: []string{"conversation"}}, settings: patient}
	r.subscribe(waits)
	r.ask(http.MethodPatch, "/v1/webhooks/"+waits.webhook.ID, companies[0], `{"status": "PAUSED"}`, nil)
	f := r.flow(dice, companies, 500)
	eventually(t, time.Minute, "a history of some length", func() bool { return f.published.Load() > 2000 })
	r.kill()

	from, to := r.options.Dir, cluster.URL(database)
	r.run("migrate", "--database-url", to)
	admin, err := pgx.Connect(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close(r.ctx) })
	exec := func(statement string) {
		t.Helper()
		if _, err := admin.Exec(r.ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	r.moveTo(to)
	for _, at := range []struct {
		table string
		rows  int
	}{{"events", 1000}, {"attempts", 2000}} {
		exec(fmt.Sprintf(halts, at.table, at.rows))
		killWaiting(t, r, admin, "copy", "--from", from, "--to", to)
		exec(`DROP FUNCTION halt CASCADE`)
		exec(`SELECT pg_advisory_unlock_all()`)
		var rows int
		if err := admin.QueryRow(r.ctx, `SELECT count(*) FROM `+at.table).Scan(&rows); err != nil || rows != at.rows {
			t.Fatalf("%d rows of %s, want %d: %v", rows, at.table, at.rows, err)
		}
		if _, err := process.Start(r.ctx, r.options); err == nil || !strings.Contains(err.Error(), "a copy into this store is not finished") {
			t.Fatalf("a server on a part of a copy: %v", err)
		}
	}
	said := r.run("copy", "--from", from, "--to", to)
	if want := "Both stores say the same of 3 companies and 10 webhooks"; !strings.Contains(said, want) {
		t.Errorf("%s: no %q", said, want)
	}
	r.start()
	r.ask(http.MethodPatch, "/v1/webhooks/"+waits.webhook.ID, companies[0], `{"status": "ACTIVE", "resume": "backlog"}`, nil)
	pause(r.ctx, time.Second)
	f.end()
	r.settled(companies, time.Minute)
	r.foundInLog(companies)
	r.stop()
	r.judge(seed, 1)
}

// moveTo makes the servers of a rig work on a database, with the keys that its directory has.
func (r *rig) moveTo(url string) {
	r.t.Helper()
	key := func(name string) string {
		b, err := os.ReadFile(filepath.Join(r.options.Dir, name))
		if err != nil {
			r.t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	onPostgres(&r.options, url)
	r.options.Key = key("operator.key")
	r.options.Env = []string{"ATLAS_WEBHOOKS_DATABASE_URL=" + url, "ATLAS_WEBHOOKS_MASTER_KEY=" + key("master.key")}
	r.options.Dir = r.t.TempDir()
}

// killWaiting runs a command of the binary and kills it when the database makes it wait.
func killWaiting(t *testing.T, r *rig, admin *pgx.Conn, args ...string) {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.CommandContext(r.ctx, r.options.Binary, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Env = append(cmd.Environ(), r.options.Env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the command waits for the lock", func() bool {
		var waiting bool
		err := admin.QueryRow(r.ctx, `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)`).Scan(&waiting)
		return err == nil && waiting
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatalf("it ended before it was killed: %s", &said)
	}
}
