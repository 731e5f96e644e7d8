package proof_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// usage reads what the server has used.
func (r *rig) usage(s *process.Server) process.Usage {
	r.t.Helper()
	u, err := process.UsageOf(s.PID)
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

// idles measures the CPU that the server uses while nothing is asked of it.
func (r *rig) idles(s *process.Server, length time.Duration) time.Duration {
	r.t.Helper()
	before := r.usage(s).CPU
	pause(r.ctx, length)
	return r.usage(s).CPU - before
}

// TestIdleServer: a server that nobody asks anything takes 56 MiB, of which 40 are the program's own pages,
// and next to no CPU.
func TestIdleServer(t *testing.T) {
	r := newRig(t)
	server := r.start()
	pause(r.ctx, time.Second)
	cpu, memory := r.idles(server, idle.length), r.usage(server).RSS
	t.Logf("an idle server takes %s of CPU in %s, %.1f MiB", cpu, idle.length, float64(memory)/(1<<20))
	if cpu > idle.length/50 {
		t.Errorf("an idle server took %s of CPU in %s", cpu, idle.length)
	}
	if memory > 56<<20 {
		t.Errorf("an idle server takes %d MiB", memory>>20)
	}
	// The control: one that is asked something a hundred times a second is not idle.
	before := r.usage(server).CPU
	r.latencies("c1", int(idle.length/(2*time.Millisecond)), time.Millisecond)
	if busy := r.usage(server).CPU - before; busy <= idle.length/50 {
		t.Errorf("control: a busy server passes for idle, with %s of CPU", busy)
	}
	r.stop()
}

// TestIdleWebhooks: what webhooks take that nothing happens to. 100,000 fit into 150 MiB.
func TestIdleWebhooks(t *testing.T) {
	r := newRig(t)
	r.start()
	r.stop()
	write(t, r.options.Dir, 0, func(f *writing) {
		f.webhooks(idle.webhooks, func(i int, h *hook.Webhook) {
			h.Company = f.company(fmt.Sprintf("company-%d", i%(idle.webhooks/100))).Key
		})
	})
	most := int64(80<<20) + int64(idle.webhooks)*(70<<20)/100_000
	server := r.start() // answers within 5 s
	eventually(t, 30*time.Second, "it has read its webhooks and is idle", func() bool { return r.idles(server, time.Second) < 50*time.Millisecond })
	used := r.usage(server)
	t.Logf("with %d idle webhooks: ready in %s, %d MiB, at most %d MiB, %s of CPU since its start", idle.webhooks, server.Took.Round(time.Millisecond), used.RSS>>20, used.Peak>>20, used.CPU)
	if used.Peak > most {
		t.Errorf("%d idle webhooks took %d MiB, more than %d", idle.webhooks, used.Peak>>20, most>>20)
	}
	// They are alive: an event wakes those of its company.
	r.ask(http.MethodPost, "/v1/events", "", `{"company_id": "company-1", "event": "conversation", "data": {}}`, nil)
	asked := func() int64 {
		for range 20 {
			r.conservation("company-1", false)
		}
		return r.usage(server).Peak
	}
	eventually(t, 30*time.Second, "an event for them is known", func() bool {
		list := r.conservation("company-1", false)
		return len(list) == 100 && list[0].Matched == 1 && list[0].Balanced
	})
	busy := most + 64<<20 // the collector leaves room while much is allocated
	if peak := asked(); peak > busy {
		t.Errorf("when it is asked something it takes %d MiB", peak>>20)
	}
	r.accounted("company-1")
	r.kill()
	r.options.Env = []string{"GOGC=off"} // the control: nothing that was used once is ever let go
	server = r.start()
	eventually(t, 30*time.Second, "control: a server that collects no garbage takes more", func() bool { return asked() > busy })
}

// limited is a wrap for a server that may have so many MiB of memory of its own. What it maps from
// files, as its program, does not count.
func limited(megabytes int) []string {
	return []string{"sh", "-c", fmt.Sprintf(`ulimit -d %d; exec "$@"`, megabytes<<10), "sh"}
}

// TestLargeBacklog is O14 of the test plan: millions of deliveries wait for a webhook, and beside
// them a quiet webhook of the same company. The server has 512 MiB; it starts at once, takes less than
// half of that, and publishing is as quick as on an empty store.
func TestLargeBacklog(t *testing.T) {
	empty := newRig(t)
	empty.start()
	alone := empty.latencies("c1", backlog.published, 5*time.Millisecond)
	empty.stop()

	r := newRig(t)
	r.options.Wrap = limited(512)
	r.start()
	quiet := &endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"customer.created"}}}
	r.subscribe(quiet)
	behind := &endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation.status"}, Hopeless: true}, settings: `, "status": "PAUSED"`}
	r.subscribe(behind)
	r.stop()
	write(t, r.options.Dir, 0, func(f *writing) {
		c := f.company("c1")
		f.events(c, backlog.events, "conversation.status")
		w, err := f.store.Webhook(t.Context(), c.Key, behind.webhook.ID)
		if err != nil {
			t.Fatal(err)
		}
		// As the engine leaves it: whoever lags has a place of its own.
		left := store.Record{
			At: hook.Now(time.Now()), Cursors: []store.CursorMove{{Webhook: w.Key, Detached: true}},
			Swept: map[hook.Partition]hook.Offset{0: hook.Offset(backlog.events)},
		}
		if _, err := f.store.Record(t.Context(), &left); err != nil {
			t.Fatal(err)
		}
	})
	server := r.start()
	beside := r.latencies("c1", backlog.published, 5*time.Millisecond)
	r.persist(r.ctx, &oracle.Event{ID: "quiet-1", Company: "c1", Topic: "customer.created", Data: `{"id": 1}`})
	eventually(t, 10*time.Second, "the quiet webhook has its event", func() bool { return len(r.oracle.Missing()) == 0 })
	r.ask(http.MethodPatch, "/v1/webhooks/"+behind.webhook.ID, "c1", `{"status": "ACTIVE", "resume": "backlog"}`, nil)
	eventually(t, time.Minute, "the backlog is delivered", func() bool {
		_, n := r.oracle.Counts()
		return n > backlog.delivered
	})
	r.kill()
	restarted := r.start()
	r.persist(r.ctx, &oracle.Event{ID: "quiet-2", Company: "c1", Topic: "customer.created", Data: `{"id": 2}`})
	took := eventually(t, 10*time.Second, "the quiet webhook has its event after a crash", func() bool { return len(r.oracle.Missing()) == 0 })
	before, after := r.usage(restarted), restarted.Took
	eventually(t, time.Minute, "the backlog goes on", func() bool {
		_, n := r.oracle.Counts()
		return n > 2*backlog.delivered
	})
	used := r.usage(restarted)
	t.Logf("with %d events behind: ready in %s, after a crash in %s, the quiet webhook's event %s later, %d MiB while it delivers (%d at first); publishing p50 %s p99 %s, on an empty store p50 %s p99 %s",
		backlog.events, server.Took.Round(time.Millisecond), after.Round(time.Millisecond), took.Round(time.Millisecond), used.Peak>>20, before.RSS>>20,
		percentile(beside, 50), percentile(beside, 99), percentile(alone, 50), percentile(alone, 99))
	if used.Peak > 256<<20 {
		t.Errorf("it took %d MiB", used.Peak>>20)
	}
	if slowed(beside, alone) {
		t.Errorf("publishing takes %s at p99, on an empty store %s", percentile(beside, 99), percentile(alone, 99))
	}
	r.accounted("c1")
	r.kill()
}

// TestMemoryLimit is the control of the limit: where it is too low the server does not run.
func TestMemoryLimit(t *testing.T) {
	o := process.Options{Binary: binary(t), Dir: filepath.Join(t.TempDir(), "data"), Wrap: limited(40), Ready: 10 * time.Second}
	server, err := process.Start(t.Context(), o)
	if err == nil {
		server.Kill()
		t.Fatal("control: it runs in 40 MiB")
	}
	if _, missing := os.Stat("/bin/sh"); missing != nil || !strings.Contains(err.Error(), "out of memory") {
		t.Errorf("it ended for another reason: %v", err)
	}
}
