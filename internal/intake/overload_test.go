package intake_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// slowLog commits as a disk does: what waits goes in one group, which takes its time.
type slowLog struct {
	memoryLog
	perEvent time.Duration
	writer   chan struct{} // holds one: a mutex would keep virtual time from passing
}

func (l *slowLog) Append(ctx context.Context, p hook.Partition, events []*hook.Event) (store.Batch, error) {
	l.writer <- struct{}{}
	<-time.After(time.Duration(len(events)) * l.perEvent)
	<-l.writer
	return l.memoryLog.Append(ctx, p, events)
}

// Three times as much is published as can be committed: what is too much is refused at once, and
// nobody waits long. Time is virtual.
func TestOverload(t *testing.T) {
	const capacity, seconds = 40_000, 1
	run := func(most int64) (p99 time.Duration, accepted, refused int) {
		synctest.Test(t, func(t *testing.T) {
			in := intake.New(&slowLog{perEvent: time.Second / capacity, writer: make(chan struct{}, 1)}, intake.Options{MaxWaiting: most})
			var mu sync.Mutex
			var took []time.Duration
			var all sync.WaitGroup
			for n := range 3 * capacity * seconds / 100 {
				all.Go(func() {
					began := time.Now()
					var body []byte
					for i := range 100 {
						body = fmt.Appendf(body, `{"company_id":"c1","event":"conversation","id":"e-%d-%d","data":%d}`+"\n", n, i, i)
					}
					_, err := in.PublishBatch(t.Context(), body, intake.Publishing{Lines: true})
					mu.Lock()
					defer mu.Unlock()
					took = append(took, time.Since(began))
					var e *hook.Error
					switch {
					case err == nil:
						accepted++
					case errors.As(err, &e) && e.Kind == hook.KindUnavailable && e.Code == "intake_full" && e.RetryAfter > 0:
						refused++
					default:
						t.Error(err)
					}
				})
				<-time.After(time.Second / (3 * capacity / 100))
			}
			all.Wait()
			slices.Sort(took)
			p99 = took[len(took)*99/100]
		})
		return p99, accepted, refused
	}
	p99, accepted, refused := run(0)
	t.Logf("p99 %s, %d accepted, %d refused", p99, accepted, refused)
	if p99 > 200*time.Millisecond || accepted < capacity*seconds/100 || refused < capacity*seconds/100 {
		t.Errorf("p99 %s, %d accepted, %d refused", p99, accepted, refused)
	}
	if p99, _, refused = run(-1); p99 < time.Second || refused > 0 {
		t.Errorf("control: without a bound p99 is %s, %d refused", p99, refused)
	}
}

// A batch that has no room is refused by its first event, whatever follows: that costs little.
func TestRefusedBatchIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := intake.New(&slowLog{perEvent: time.Second, writer: make(chan struct{}, 1)}, intake.Options{MaxWaiting: 1})
		code := func() string {
			_, err := in.PublishBatch(t.Context(), []byte(`[{"company_id":"c1","event":"conversation","data":1}, no more`), intake.Publishing{})
			var e *hook.Error
			if !errors.As(err, &e) {
				t.Fatal(err)
			}
			return e.Code
		}
		read := code()
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := in.Publish(t.Context(), []byte(`{"company_id":"c1","event":"conversation","data":1}`), intake.Publishing{}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if refused := code(); read == "intake_full" || refused != "intake_full" {
			t.Errorf("%s where there is room, %s where there is none", read, refused)
		}
		waiting.Wait()
	})
}

// TestOwnKeysShareTheIntake: a company that publishes with a key of its own, and without a pause, is refused
// while half of what may wait is its own; another one's events still have room. Without keys of their own, which
// only operators do without, the first to come has all of it: the control.
func TestOwnKeysShareTheIntake(t *testing.T) {
	for own, want := range map[bool]int{true: 0, false: 4} {
		synctest.Test(t, func(t *testing.T) {
			in := intake.New(&slowLog{perEvent: time.Second, writer: make(chan struct{}, 1)}, intake.Options{MaxWaiting: 40})
			var mu sync.Mutex
			refused := map[string]int{}
			var all sync.WaitGroup
			publish := func(company string) {
				var p intake.Publishing
				if own {
					p.Company = company
				}
				all.Go(func() {
					if _, err := in.Publish(t.Context(), []byte(`{"company_id":"`+company+`","event":"conversation","data":1}`), p); err != nil {
						mu.Lock()
						defer mu.Unlock()
						refused[company]++
					}
				})
				synctest.Wait()
			}
			for range 30 {
				publish("greedy")
			}
			for range 4 { // its own half holds them
				if publish("other"); len(refused) == 0 {
					t.Fatal("nothing was refused")
				}
			}
			all.Wait()
			if got := refused["other"]; (got == 0) != (want == 0) {
				t.Errorf("own keys %v: %d of 4 of the other one's events were refused", own, got)
			}
			publish("greedy")
			all.Wait()
			if before := refused["greedy"]; before == 0 || before > 30 {
				t.Errorf("own keys %v: %d of the greedy one's were refused", own, before)
			}
		})
	}
}
