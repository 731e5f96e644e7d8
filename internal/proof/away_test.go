package proof_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
)

// fault is something that happens to a database, and may happen again.
type fault struct {
	name  string
	times int
	does  func()
}

// TestDatabaseAway is O1 of the test plan: the database is restarted, crashes, ends all sessions every
// second and is cut off without a word, while events come in and go out. Nothing is lost, nobody is
// told what is not so, and the server needs no restart.
func TestDatabaseAway(t *testing.T) {
	t.Parallel() // it waits, mostly
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 6)) //nolint:gosec // a test's dice
	cluster := ownCluster(t)
	r, database := newPostgresRig(t, cluster, append(unhurried, "--max-in-flight", fmt.Sprint(maxInFlight))...)
	network := newLink(t, cluster.Socket())
	onPostgres(&r.options, network.url(database))
	r.start()
	companies := names("company", 4)
	sound(r, companies)
	f := r.flow(dice, companies, 60)
	f.recovers(10*time.Second, "the start")
	dark := 0
	for _, x := range []fault{
		{"a restart", away.restarts, func() { restart(r, cluster, false) }},
		{"the end of all sessions", away.kicks, func() {
			pause(r.ctx, time.Second)
			endSessions(r, cluster, database)
		}},
		{"a crash", away.crashes, func() { restart(r, cluster, true) }},
		{"silence", away.silences, func() {
			network.turn(true)
			pause(r.ctx, away.silence)
			// Attempts that outlive the lease are given up, and made again.
			r.oracle.Crashed(time.Now())
			dark++
			network.turn(false)
		}},
	} {
		for range x.times {
			x.does()
			if x.name != "the end of all sessions" {
				f.recovers(10*time.Second, x.name)
			}
		}
		f.recovers(10*time.Second, x.name)
	}
	f.end()
	r.settled(companies, time.Minute)
	r.foundInLog(companies)
	r.stop()

	r.judge(seed, dark)
}

// TestDatabaseAwayControl: a database that does not keep what it has committed: its files are put back as
// they were. That is noticed.
func TestDatabaseAwayControl(t *testing.T) {
	t.Parallel() // it waits, mostly
	cluster := ownCluster(t)
	r, _ := newPostgresRig(t, cluster)
	r.start()
	companies := names("company", 1)
	sound(r, companies)
	if err := cluster.Snapshot(r.ctx); err != nil {
		t.Fatal(err)
	}
	f := r.flow(rand.New(rand.NewPCG(1, 7)), companies, 100) //nolint:gosec // a test's dice
	f.recovers(10*time.Second, "the start")
	f.end()
	acked := r.oracle.Events(oracle.Acked)
	r.kill() // its memory knows better than the log
	if err := cluster.SetBack(r.ctx); err != nil {
		t.Fatal(err)
	}
	r.start()
	if missing := r.missingFromLog(companies, acked); missing == 0 {
		t.Errorf("control: a database that forgets commits passes for sound")
	} else {
		t.Logf("control: %d of %d events are missing", missing, len(acked))
	}
}

func restart(r *rig, c *postgrestest.Cluster, crash bool) {
	r.t.Helper()
	if err := c.Restart(r.ctx, crash); err != nil {
		r.t.Fatal(err)
	}
}

// endSessions ends whatever is connected to a database.
func endSessions(r *rig, c *postgrestest.Cluster, database string) {
	r.t.Helper()
	err := c.Exec(r.ctx, database, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()`, database)
	if err != nil {
		r.t.Fatal(err)
	}
}
