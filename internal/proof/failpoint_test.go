package proof_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// armable makes the binary that ends itself at a failpoint, once for all tests.
var armable = sync.OnceValues(func() (string, error) { return compile("atlas-webhooks-armable", "-tags", "failpoint") })

// TestCrashAtFailpoints is D1 of the test plan where it is most telling: the server ends exactly
// between two steps, at each point that package failpoint names, while events come in and go out.
func TestCrashAtFailpoints(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 6)) //nolint:gosec // a test's dice
	r := newRig(t, "--max-in-flight", fmt.Sprint(maxInFlight))
	path, err := armable()
	if err != nil {
		t.Fatal(err)
	}
	r.options.Binary = path
	f := &failpoints{rig: r, dice: dice, companies: names("company", 3)}
	r.start()
	crowd(r, dice, f.companies, 9)
	f.late = &endpoint{
		webhook:  oracle.Webhook{Company: "company-late", Topics: []string{"conversation"}},
		script:   []string{fmt.Sprintf("fail 400:%d", lateEvents)},
		settings: `, "retry_schedule_seconds": []`,
	}
	r.subscribe(f.late)

	f.alive = true
	publishing, enough := context.WithCancel(r.ctx)
	published := f.publish(publishing)
	for range failpointRounds {
		for _, at := range []failpoint.Point{
			failpoint.BeforeCommit, failpoint.Appended, failpoint.Offered, failpoint.Dial, failpoint.Sent, failpoint.Answered, failpoint.Recorded,
		} {
			f.at(at, 1+dice.Int64N(100), nil)
		}
		f.at(failpoint.Park, 1+dice.Int64N(10), nil)
		f.at(failpoint.Checkpoint, 1, f.flood)
		f.at(failpoint.Checkpointed, 1, f.flood)
		f.at(failpoint.Drain, 1, f.terminate)
		f.at(failpoint.Drained, 1, f.terminate)
		f.at(failpoint.Rotation, 1, f.rotate)
	}
	f.at(failpoint.Replay, 1, f.replay)
	r.start()
	enough()
	published.Wait()
	f.replayed()
	r.settled(f.companies, time.Minute)
	pause(r.ctx, slack) // what no crash explains, for the controls
	for range 20 {
		r.persist(r.ctx, someEvent(dice, int(f.number.Add(1)), f.companies))
	}
	r.settled(f.companies, time.Minute)
	r.stop()
	r.judge(seed, f.crashes)
	controls(t, r.oracle)
	f.purge()
}

// lateEvents are how many there are to replay; slack is longer than the oracle's own.
const (
	lateEvents = 20
	slack      = 2100 * time.Millisecond
)

// failpoints is a rig whose server ends itself.
type failpoints struct {
	*rig
	dice      *rand.Rand
	companies []string
	late      *endpoint // fails everything for good at first, so that there is something to replay
	alive     bool
	crashes   int
	number    atomic.Int64
}

// at lets the server end when it comes to a point for the n-th time. What provokes that runs beside.
func (f *failpoints) at(point failpoint.Point, n int64, provoke func(context.Context)) {
	f.t.Helper()
	if f.alive {
		f.kill()
		f.alive = false
		f.crashes++
	}
	options := f.options
	options.Env = append(options.Env, fmt.Sprintf("FAILPOINT=%s:%d", point, n))
	server, err := process.Start(f.ctx, options)
	f.crashes++
	if err != nil { // it came there before it served
		if !strings.Contains(err.Error(), "signal: killed") {
			f.t.Fatalf("%s: %v", point, err)
		}
		f.oracle.Crashed(time.Now())
		return
	}
	if server.Took > 5*time.Second {
		f.t.Errorf("the server took %s until it answered, more than 5 s", server.Took)
	}
	f.adopt(server)
	ctx, cancel := context.WithTimeout(f.ctx, 20*time.Second)
	defer cancel()
	var beside sync.WaitGroup
	if provoke != nil {
		beside.Go(func() { provoke(ctx) })
	}
	select {
	case <-server.Ended():
		if code := server.ExitCode(); code != -1 {
			f.t.Errorf("at %s it ended with exit code %d", point, code)
		}
	case <-ctx.Done():
		f.t.Errorf("it never came to %s", point)
	}
	f.kill()
	cancel()
	beside.Wait()
}

// publish publishes until ctx ends.
func (f *failpoints) publish(ctx context.Context) *sync.WaitGroup {
	limit := rate.NewLimiter(300, 10)
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(f.dice.Uint64(), 7)) //nolint:gosec // a test's dice
	all := &sync.WaitGroup{}
	for range 4 {
		all.Go(func() {
			for limit.Wait(ctx) == nil {
				mu.Lock()
				e := someEvent(dice, int(f.number.Add(1)), f.companies)
				mu.Unlock()
				f.persist(f.ctx, e)
			}
		})
	}
	return all
}

// flood makes the write-ahead log large enough to be copied back.
func (f *failpoints) flood(ctx context.Context) {
	padding := strings.Repeat("x", 200_000)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for ctx.Err() == nil {
				f.rig.publish(ctx, &oracle.Event{
					ID: fmt.Sprintf("flood-%06d", f.number.Add(1)), Company: "company-void", Topic: "conversation", Data: fmt.Sprintf(`{"padding": %q}`, padding),
				})
				pause(ctx, 5*time.Millisecond)
			}
		})
	}
	all.Wait()
}

func (f *failpoints) terminate(context.Context) {
	if s, err := f.current(f.ctx); err == nil {
		_ = s.Signal(syscall.SIGTERM) // that it does not end, at sees
	}
}

// rotate asks for another secret, which is neither committed nor answered: the receiver goes on
// knowing the old one, and says so of every request.
func (f *failpoints) rotate(ctx context.Context) {
	w := f.late.webhook
	status, _, err := f.call(ctx, http.MethodPost, "/v1/webhooks/"+w.ID+"/secret/rotate", w.Company, []byte(`{"overlap_seconds": 0}`))
	if err == nil {
		f.t.Errorf("the rotation was answered: %d", status)
	}
}

// replay asks for what has failed for good.
func (f *failpoints) replay(ctx context.Context) {
	for n := range lateEvents {
		e := &oracle.Event{ID: fmt.Sprintf("late-%d", n), Company: "company-late", Topic: "conversation", Data: `{"n": 1}`}
		f.persist(ctx, e)
	}
	for ctx.Err() == nil && f.conservation("company-late", false)[0].Failed < lateEvents {
		pause(ctx, 20*time.Millisecond)
	}
	f.askForReplay(ctx)
}

func (f *failpoints) askForReplay(ctx context.Context) int {
	w := f.late.webhook
	status, _, _ := f.call(ctx, http.MethodPost, "/v1/webhooks/"+w.ID+"/replays", w.Company, []byte(`{"from": "2020-01-01T00:00:00Z", "only": "failed"}`))
	return status
}

// replayed waits for the replay, which went on by itself if it was ever asked for.
func (f *failpoints) replayed() {
	w := f.late.webhook
	var list struct{ Data []struct{ Status string } }
	f.ask(http.MethodGet, "/v1/webhooks/"+w.ID+"/replays", w.Company, "", &list)
	if len(list.Data) != 1 {
		f.t.Fatalf("%d replays, want the one that was asked for", len(list.Data))
	}
	eventually(f.t, 30*time.Second, "the replay ends", func() bool {
		f.ask(http.MethodGet, "/v1/webhooks/"+w.ID+"/replays", w.Company, "", &list)
		return list.Data[0].Status == "done"
	})
}

// purge ends the server within the purge of everything, which is made very old before, and lets it
// finish.
func (f *failpoints) purge() {
	f.t.Helper()
	f.alive = false // it was stopped
	beside := f.outsider()
	count := func() int { return beside.count(`SELECT count(*) FROM events`) }
	beside.exec(`UPDATE events SET accepted_at = accepted_at - 1000 * 86400 * 1000000`)
	before := count()
	f.at(failpoint.Purge, 3, nil)
	f.start()
	// The last events of each company stay until a later round: their cursors had not been written.
	eventually(f.t, 20*time.Second, "the purge goes on", func() bool { return count() <= before/4 })
	for _, company := range f.companies {
		for _, b := range append(f.conservation(company, false), f.conservation(company, true)...) {
			if !b.Balanced || b.Matched != b.Delivered {
				f.t.Errorf("after the purge: %+v", b)
			}
		}
	}
	f.stop()
}
