package proof_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
)

// TestPowerCut is D2 of the test plan: the power fails again and again while 500 events a second
// come in, and each time everything that was acknowledged is found on the disk.
func TestPowerCut(t *testing.T) {
	needDisks(t, "mkfs.ext4", "mount", "umount")
	if lost := cutPower(t, powerCuts, nil); lost > 0 {
		t.Errorf("acknowledged events were lost in %d of %d power cuts", lost, powerCuts)
	}
}

// TestPowerCutControl: the same over a disk that says "done" to every fsync and does nothing.
func TestPowerCutControl(t *testing.T) {
	needDisks(t, "mkfs.ext4", "mount", "umount", "strace")
	wrap := strace(filepath.Join(t.TempDir(), "strace"), "fsync,fdatasync", "retval=0")
	if lost := cutPower(t, controlCuts, wrap); lost < controlCuts/2 {
		t.Errorf("control: without fsync only %d of %d power cuts lost anything", lost, controlCuts)
	}
}

// cutPower returns in how many of some power cuts an acknowledged event was lost.
func cutPower(t *testing.T, cuts int, wrap []string) (lossy int) {
	t.Helper()
	d := newDisk(t, 512)
	r := newRig(t)
	r.options.Dir, r.options.Wrap = filepath.Join(d.dir, "data"), wrap
	server := r.start()
	defer r.kill() // before its disk goes
	return r.powerFails(cuts, func(s syscall.Signal) error { return server.Signal(s) }, func(acked []string) int {
		after := d.afterPowerCut()
		if err := server.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		o := r.options
		o.Wrap, o.Dir = nil, filepath.Join(after.dir, "data")
		return r.missingAfter(o, acked)
	})
}

// TestPowerCutPostgres: it is the database's disk that loses power.
func TestPowerCutPostgres(t *testing.T) {
	if lost := cutPostgresPower(t, postgresCuts, true); lost > 0 {
		t.Errorf("acknowledged events were lost in %d of %d power cuts", lost, postgresCuts)
	}
}

// TestPowerCutPostgresControl: the same over a database that is told to do without fsync, and a server that
// does not look.
func TestPowerCutPostgresControl(t *testing.T) {
	if lost := cutPostgresPower(t, postgresCuts, false); lost < postgresCuts/2 {
		t.Errorf("control: without fsync only %d of %d power cuts lost anything", lost, postgresCuts)
	}
}

func cutPostgresPower(t *testing.T, cuts int, fsync bool) int {
	t.Helper()
	needDisks(t, "mkfs.ext4", "mount", "umount")
	need(t, postgrestest.Installed(), "Postgres")
	d := newDisk(t, 512)
	cluster := clusterOn(t, d)
	defer cluster.Stop() // before its disk goes
	r, database := newPostgresRig(t, cluster)
	if !fsync {
		program, err := armable()
		if err != nil {
			t.Fatal(err)
		}
		r.options.Binary, r.options.Env = program, append(r.options.Env, "FAILPOINT="+string(failpoint.Blind)+":1")
	}
	r.start()
	defer r.kill()
	if !fsync {
		for _, statement := range []string{"ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"} {
			if err := cluster.Exec(r.ctx, database, statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	signal := func(s syscall.Signal) error {
		pids, err := cluster.Processes()
		for _, pid := range pids { // once the first of them stands, there come no more
			if gone := syscall.Kill(pid, s); !errors.Is(gone, syscall.ESRCH) { // a session may have ended meanwhile
				err = errors.Join(err, gone)
			}
		}
		return err
	}
	return r.powerFails(cuts, signal, func(acked []string) int {
		after := d.afterPowerCut()
		if err := signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		found, err := postgrestest.StartIn(r.ctx, filepath.Join(after.dir, "pg"), "fsync=on")
		if err != nil {
			t.Logf("after the power cut: %v", err)
			return len(acked)
		}
		defer found.Stop()
		o := r.options
		onPostgres(&o, found.URL(database))
		return r.missingAfter(o, acked)
	})
}

// clusterOn starts a cluster on a disk, which the database's user must be able to reach.
func clusterOn(t *testing.T, d *disk) *postgrestest.Cluster {
	t.Helper()
	c, err := postgrestest.StartIn(t.Context(), filepath.Join(d.dir, "pg"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// powerFails publishes, again and again stops what writes to the disk, and returns how often check
// found an acknowledged event missing from what is on the disk then. Check lets the writer go on.
func (r *rig) powerFails(cuts int, signal func(syscall.Signal) error, check func(acked []string) int) (lossy int) {
	r.t.Helper()
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}})
	limit := rate.NewLimiter(500, 10)
	var number atomic.Int64
	var publishing sync.WaitGroup
	defer publishing.Wait()
	defer r.giveUp()
	for range 8 {
		publishing.Go(func() {
			for limit.Wait(r.ctx) == nil {
				n := number.Add(1)
				r.persist(r.ctx, &oracle.Event{ID: fmt.Sprintf("event-%d", n), Company: "c1", Topic: "conversation", Data: fmt.Sprintf(`{"id": %d}`, n)})
			}
		})
	}
	for cut := range cuts {
		pause(r.ctx, 700*time.Millisecond)
		if err := signal(syscall.SIGSTOP); err != nil {
			r.t.Fatal(err)
		}
		// Answers that are on their way belong to events that are acknowledged, too.
		pause(r.ctx, 20*time.Millisecond)
		acked := r.oracle.Events(oracle.Acked)
		missing := check(acked)
		r.t.Logf("power cut %d: %d acknowledged, %d of them lost", cut+1, len(acked), missing)
		if missing > 0 {
			lossy++
		}
	}
	return lossy
}

// missingAfter starts a server on what a power cut left, and counts the events that it does not know.
func (r *rig) missingAfter(o process.Options, acked []string) int {
	r.t.Helper()
	// What waits there must not reach the receivers: they would count it twice.
	o.Args = append([]string{"--deny-networks", "127.0.0.0/8"}, o.Args...)
	s, err := process.Start(r.ctx, o)
	if err != nil {
		r.t.Logf("after the power cut: %v", err)
		return len(acked) // nothing of it can be read
	}
	defer s.Kill()
	other := r.at(s)
	missing := other.missingFromLog([]string{"c1"}, acked)
	if missing == 0 {
		other.accounted("c1")
	}
	return missing
}
