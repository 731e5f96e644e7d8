package proof_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
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
		if err := server.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		// Answers that are on their way belong to events that are acknowledged, too.
		pause(r.ctx, 20*time.Millisecond)
		acked := r.oracle.Events(oracle.Acked)
		after := d.afterPowerCut()
		if err := server.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		missing := missingAfter(t, r, filepath.Join(after.dir, "data"), acked)
		t.Logf("power cut %d: %d acknowledged, %d of them lost", cut+1, len(acked), missing)
		if missing > 0 {
			lossy++
		}
	}
	return lossy
}

// missingAfter starts a server on what a power cut left, and counts the events that it does not know.
func missingAfter(t *testing.T, r *rig, dir string, acked []string) int {
	t.Helper()
	// What waits there must not reach the receivers: they would count it twice.
	s, err := process.Start(t.Context(), process.Options{Binary: r.options.Binary, Dir: dir, Args: []string{"--deny-networks", "127.0.0.0/8"}, Log: r.log})
	if err != nil {
		t.Logf("after the power cut: %v", err)
		return len(acked) // nothing of it can be read
	}
	defer s.Kill()
	other := &rig{t: t, ctx: r.ctx, client: &http.Client{Timeout: 10 * time.Second}, server: s}
	defer other.client.CloseIdleConnections()
	kept := map[string]bool{}
	for cursor := ""; ; {
		var page struct {
			Data []struct{ ID string }
			Next *string `json:"next_cursor"`
		}
		status, answer, err := other.call(r.ctx, http.MethodGet, "/v1/events?limit=250&cursor="+cursor, "c1", nil)
		if status == http.StatusNotFound {
			break // not even the company is there
		}
		if err != nil || status != http.StatusOK {
			t.Fatalf("list events: %d %s %v", status, answer, err)
		}
		decode(t, answer, &page)
		for _, e := range page.Data {
			kept[e.ID] = true
		}
		if page.Next == nil {
			break
		}
		cursor = *page.Next
	}
	missing := 0
	for _, id := range acked {
		if !kept[id] {
			missing++
		}
	}
	if missing == 0 {
		for _, b := range other.conservation("c1", true) {
			if !b.Balanced {
				t.Errorf("after a power cut: %+v", b)
			}
		}
	}
	return missing
}
