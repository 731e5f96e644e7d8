package proof_test

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// TestInputOutputError is D3 of the test plan: one fsync, or one write to the store, fails. From
// then on nothing is acknowledged: the server ends at once, or does not come up at all, and what was
// acknowledged before is there after the next start.
func TestInputOutputError(t *testing.T) {
	_, err := exec.LookPath("strace")
	need(t, err == nil, "the command strace")
	for _, calls := range []string{"fsync,fdatasync", "pwrite64"} {
		for _, k := range faultyCalls {
			t.Run(fmt.Sprintf("%s %d", calls, k), func(t *testing.T) { faultyDisk(t, calls, k) })
		}
	}
}

// TestCheckpointError: the fsync that fails is not a commit's but that of a checkpoint, whose pages
// the kernel may have thrown away. It is not repeated either: the server ends, and starts from the
// log.
func TestCheckpointError(t *testing.T) {
	_, err := exec.LookPath("strace")
	need(t, err == nil, "the command strace")
	r := newRig(t)
	r.start()
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, settings: patient})
	r.stop()
	sound := r.options
	// Only checkpoints call fsync on the database itself; commits do on its log.
	r.options.Wrap = strace(filepath.Join(t.TempDir(), "strace"), "fsync,fdatasync", "error=EIO:when=1", "-P", filepath.Join(r.options.Dir, "atlas-webhooks.db"))
	r.padding = strings.Repeat("x", 100_000)
	r.publishUntilItEnds(r.start())
	r.options = sound
	r.start()
	r.settled([]string{"c1"}, 30*time.Second)
	if faults := r.oracle.Check().Faults(); len(faults) > 0 {
		t.Error(faults)
	}
	r.stop()
}

func faultyDisk(t *testing.T, calls string, k int) {
	r := newRig(t)
	// The keys and the schema come from a start without faults, so that the faults hit the log.
	r.start()
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, settings: patient})
	r.stop()

	sound := r.options
	r.options.Wrap = strace(filepath.Join(t.TempDir(), "strace"), calls, fmt.Sprintf("error=EIO:when=%d", k))
	server, err := process.Start(r.ctx, r.options)
	if err == nil {
		r.adopt(server)
		r.publishUntilItEnds(server)
	} else {
		if strings.Contains(err.Error(), "panic") {
			t.Errorf("it fell over: %v", err)
		}
		t.Logf("it did not come up")
	}
	r.options = sound
	r.start()
	r.settled([]string{"c1"}, 30*time.Second)
	if faults := r.oracle.Check().Faults(); len(faults) > 0 {
		t.Error(faults)
	}
	r.stop()
}

// publishUntilItEnds publishes from several connections until the server has ended by itself, which
// it must.
func (r *rig) publishUntilItEnds(server *process.Server) {
	r.t.Helper()
	ctx, end := context.WithCancel(r.ctx)
	defer end()
	var number atomic.Int64
	var publishing sync.WaitGroup
	for range 4 {
		publishing.Go(func() {
			for ctx.Err() == nil {
				n := number.Add(1)
				if r.publish(ctx, &oracle.Event{ID: fmt.Sprintf("event-%d", n), Company: "c1", Topic: "conversation", Data: fmt.Sprintf(`{"id": %d, "padding": %q}`, n, r.padding)}) == 0 {
					pause(ctx, 5*time.Millisecond)
				}
			}
		})
	}
	timer := time.NewTimer(20 * time.Second)
	defer timer.Stop()
	select {
	case <-server.Ended():
		if code := server.ExitCode(); code != 3 {
			r.t.Errorf("exit code %d, want 3", code)
		}
		if !strings.Contains(server.Tail(), "EIO, input/output error") {
			r.t.Errorf("the log does not name the fault:\n%s", server.Tail())
		}
	case <-timer.C:
		r.t.Errorf("after a failed write to the store the server goes on")
	}
	r.kill()
	end() // of those who would wait for the next server
	publishing.Wait()
	fates, _ := r.oracle.Counts()
	r.t.Logf("it ended by itself after %v", fates)
}
