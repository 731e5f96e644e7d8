package proof_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// contest is one id that many publish at once, some of them perhaps with other data.
type contest struct {
	events []oracle.Event // as they were published: one, or two that differ

	mu       sync.Mutex
	acked    map[int]int // answers 202 by place in events
	refused  map[int]int // 409
	fresh    int         // answers that said it was no duplicate
	silent   int         // publishes that got no answer
	accepted map[string]bool
}

// TestOnce is D5 of the test plan: the same ids are published from many connections at once while the
// server is killed, also between the commit and the answer. Each makes one event.
func TestOnce(t *testing.T) {
	publishOnce(t, newRig(t, "--max-in-flight", fmt.Sprint(maxInFlight)), once.ids)
}

// TestOncePostgres is the same with the log in Postgres, where a commit outlives the server that sent
// it.
func TestOncePostgres(t *testing.T) {
	r, _ := newPostgresRig(t, sharedCluster(t), "--max-in-flight", fmt.Sprint(maxInFlight))
	publishOnce(t, r, once.postgres)
}

func publishOnce(t *testing.T, r *rig, ids int) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 5)) //nolint:gosec // a test's dice
	r.start()
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, settings: patient})

	var contests []*contest
	more := func() []*contest {
		for range once.atOnce {
			contests = append(contests, newContest(len(contests)))
		}
		return contests[len(contests)-once.atOnce:]
	}
	kills := 0
	// batch publishes the next ids, and ends the server while their first are being committed: wait is
	// how long after the first publish, or 0 for no end. It returns how long the first answer took.
	batch := func(contests []*contest, wait time.Duration) time.Duration {
		var all sync.WaitGroup
		var first atomic.Int64
		began := time.Now()
		for _, c := range contests {
			for p := range once.publishers {
				all.Go(func() {
					c.publish(r, p%len(c.events))
					first.CompareAndSwap(0, int64(time.Since(began)))
				})
			}
		}
		if wait > 0 {
			pause(r.ctx, wait)
			r.kill()
			r.start()
			kills++
		}
		all.Wait()
		return time.Duration(first.Load())
	}
	unanswered := func() (n int) {
		for _, c := range contests {
			n += c.unanswered()
		}
		return n
	}
	// The moment between a commit and its answers is short, and where it lies depends on the machine: a
	// batch without an end tells how long it takes, the ends fall around it, and where none has met it
	// among the ids that were planned, there are more of both.
	for planned := ids; len(contests) < planned || unanswered() == 0 && kills < once.mostKills; {
		quick := batch(more(), 0)
		batch(more(), time.Duration(dice.Int64N(int64(2*quick)))+1)
	}
	ids = len(contests)
	if t.Failed() {
		return
	}
	for _, c := range contests {
		c.check(t, r.oracle)
	}
	r.settled([]string{"c1"}, time.Minute)
	report := r.oracle.Check()
	t.Logf("%d kills; %d events were committed and nobody was told; %s", kills, unanswered(), report)
	if faults := report.Faults(); len(faults) > 0 {
		t.Errorf("seed %d: %s", seed, faults)
	}
	if n := len(report[oracle.Duplicate]); n > kills*maxInFlight {
		t.Errorf("%d duplicates, more than %d", n, kills*maxInFlight)
	}
	if b := r.conservation("c1", true); len(b) != 1 || b[0].Matched != int64(ids) {
		t.Errorf("%d ids, and the log has %+v", ids, b)
	}
	// A control of the harness: without a kill between commit and answer it proves little.
	if unanswered() == 0 {
		t.Errorf("seed %d: no event was committed without an answer in %d kills", seed, kills)
	}
	r.stop()
}

func newContest(i int) *contest {
	e := oracle.Event{ID: fmt.Sprintf("once-%05d", i), Company: "c1", Topic: "conversation", Data: fmt.Sprintf(`{"n": %d}`, i)}
	c := &contest{events: []oracle.Event{e}, acked: map[int]int{}, refused: map[int]int{}, accepted: map[string]bool{}}
	if i%4 == 3 {
		e.Data = fmt.Sprintf(`{"n": %d, "other": true}`, i)
		c.events = append(c.events, e)
	}
	return c
}

// publish publishes one of the contest's contents until there is a definite answer.
func (c *contest) publish(r *rig, content int) {
	e := c.events[content]
	for r.ctx.Err() == nil {
		status, answer, err := r.call(r.ctx, http.MethodPost, "/v1/events", "", publication(&e))
		var said struct {
			Duplicate  bool
			AcceptedAt string `json:"accepted_at"`
		}
		c.mu.Lock()
		switch {
		case err != nil || status == http.StatusServiceUnavailable:
			c.silent++
		case status == http.StatusAccepted && json.Unmarshal(answer, &said) == nil:
			c.acked[content]++
			c.accepted[said.AcceptedAt] = true
			if !said.Duplicate {
				c.fresh++
			}
		case status == http.StatusConflict:
			c.refused[content]++
		default:
			r.t.Errorf("publish %s: %d %s", e.ID, status, answer)
		}
		c.mu.Unlock()
		if err == nil && status != http.StatusServiceUnavailable {
			return
		}
		pause(r.ctx, 10*time.Millisecond)
	}
}

// unanswered is 1 if the event was committed by a publish that got no answer, else 0.
func (c *contest) unanswered() int { return 1 - c.fresh }

// check looks at a contest's answers, and tells the oracle who won.
func (c *contest) check(t *testing.T, o *oracle.Oracle) {
	t.Helper()
	winner := 0
	if c.acked[1] > 0 {
		winner = 1
	}
	loser := 1 - winner
	o.Publishing(c.events[winner])
	o.Answered(c.events[winner].ID, oracle.Acked)
	if c.acked[winner] == 0 || c.refused[winner] > 0 || c.acked[loser] > 0 || len(c.events) == 2 && c.refused[loser] == 0 {
		t.Errorf("%s: accepted %v, refused %v", c.events[0].ID, c.acked, c.refused)
	}
	if c.fresh > 1 || len(c.accepted) != 1 {
		t.Errorf("%s was accepted %d times as new, at %v", c.events[0].ID, c.fresh, c.accepted)
	}
	if c.fresh == 0 && c.silent == 0 {
		t.Errorf("%s: everybody was told that it is a duplicate", c.events[0].ID)
	}
}
