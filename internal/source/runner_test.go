package source_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// world is a broker, an intake and a store in memory that can fail.
type world struct {
	mu        sync.Mutex
	waiting   []string // not committed yet
	received  int      // of waiting, in this connection
	lost      chan struct{}
	opened    int
	failOpen  error
	failTake  error
	failDead  error
	failSend  error // of the next Commit
	log       []string
	dead      []store.DeadLetter
	committed []string
}

func (w *world) open(context.Context) (source.Source, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened++
	w.received = 0
	return w, w.failOpen
}

func (w *world) Receive(ctx context.Context) (source.Batch, error) {
	for {
		w.mu.Lock()
		list := w.waiting[w.received:]
		if len(list) > 3 {
			list = list[:3]
		}
		w.received += len(list)
		batch := source.Batch{Lost: w.lost}
		for _, text := range list {
			batch.Messages = append(batch.Messages, source.Message{Message: intake.Message{Body: []byte(text), ID: "id-" + text}, Key: text})
		}
		w.mu.Unlock()
		if len(list) > 0 {
			return batch, nil
		}
		select {
		case <-ctx.Done():
			return batch, ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *world) Commit(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.failSend; err != nil {
		w.failSend = nil
		return err
	}
	w.committed = append(w.committed, w.waiting[:w.received]...)
	w.waiting, w.received = w.waiting[w.received:], 0
	return nil
}

func (w *world) Lag(context.Context) (source.Lag, error) {
	return source.Lag{Messages: 7, Oldest: time.Now().Add(-time.Minute)}, nil
}

func (w *world) Close() {}

func (w *world) PublishMessages(_ context.Context, list []intake.Message, _ intake.Publishing) ([]intake.Outcome, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failTake != nil {
		return nil, w.failTake
	}
	outcomes := make([]intake.Outcome, len(list))
	for i, m := range list {
		text := string(m.Body)
		if strings.HasPrefix(text, "bad") {
			outcomes[i].Refused = hook.Invalid("event", "unknown_topic", "there is no such topic")
			continue
		}
		had := slices.Contains(w.log, text)
		if !had {
			w.log = append(w.log, text)
		}
		outcomes[i].Events = []intake.Accepted{{Duplicate: had}}
	}
	return outcomes, nil
}

func (w *world) AddDeadLetters(_ context.Context, list []store.DeadLetter) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failDead == nil {
		w.dead = append(w.dead, list...)
	}
	return w.failDead
}

func (w *world) CountDeadLetters(context.Context) (map[string]int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return map[string]int64{"s": int64(len(w.dead))}, nil
}

func (w *world) set(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

// run runs a runner over a world in virtual time.
func run(t *testing.T, w *world, change func(*source.Runner), test func(r *source.Runner)) {
	synctest.Test(t, func(t *testing.T) {
		r := &source.Runner{
			Sources: []source.Definition{{Name: "s", Kind: "memory", Secrets: []string{"hunter2"}, Open: w.open}},
			Intake:  w, Store: w, Log: slog.New(slog.DiscardHandler),
		}
		if change != nil {
			change(r)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { r.Run(ctx); close(done) }()
		test(r)
		cancel()
		<-done
	})
}

func numbers(from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

// TestRunnerTakesInOrder: what is good is in the log in its order, what is not is a dead letter, and both are
// committed at the source.
func TestRunnerTakesInOrder(t *testing.T) {
	w := &world{waiting: []string{"0", "1", "bad-2", "3", "4"}}
	run(t, w, nil, func(r *source.Runner) {
		<-time.After(time.Minute)
		if got := strings.Join(w.log, " "); got != "0 1 3 4" {
			t.Errorf("log: %s", got)
		}
		if len(w.dead) != 1 || w.dead[0].MessageKey != "bad-2" || w.dead[0].Code != "unknown_topic" || w.dead[0].EventID != "id-bad-2" || w.dead[0].Source != "s" {
			t.Errorf("dead letters: %+v", w.dead)
		}
		if len(w.waiting) != 0 {
			t.Errorf("not committed: %v", w.waiting)
		}
		s := r.Status()[0]
		if s.State != source.Running || s.Received != 5 || s.Accepted != 4 || s.SetAside != 1 || s.DeadLetters != 1 || !s.LagKnown || s.Lag.Messages != 7 {
			t.Errorf("status: %+v", s)
		}
	})
}

// TestRunnerHolds: while the intake takes nothing, and while dead letters cannot be kept, nothing is committed
// and nothing more received; afterwards everything is there once.
func TestRunnerHolds(t *testing.T) {
	full := &hook.Error{Kind: hook.KindUnavailable, Code: "store_busy", Detail: "busy", RetryAfter: time.Second}
	for _, field := range []string{"intake", "store"} {
		w := &world{waiting: append(numbers(0, 2), append([]string{"bad"}, numbers(3, 20)...)...)}
		fail := func(err error) {
			if field == "intake" {
				w.failTake = err
			} else {
				w.failDead = err
			}
		}
		fail(full)
		run(t, w, nil, func(r *source.Runner) {
			<-time.After(time.Hour)
			if s := r.Status()[0]; s.State != source.Holding || s.Received != 3 || !strings.Contains(s.Reason, "store_busy") || len(w.committed) != 0 || w.opened != 1 {
				t.Errorf("%s: %+v, %d committed", field, s, len(w.committed))
			}
			w.set(func() { fail(nil) })
			<-time.After(time.Minute)
			if s := r.Status()[0]; s.State != source.Running || len(w.log) != 19 || len(w.dead) != 1 || len(w.waiting) != 0 {
				t.Errorf("%s afterwards: %+v, %v", field, s, w.log)
			}
		})
	}
}

// TestRunnerConnectsAgain: a connection that breaks is made again, ever more slowly, and its reason is shown
// without the password. A commit that fails makes duplicates and loses nothing.
func TestRunnerConnectsAgain(t *testing.T) {
	w := &world{waiting: numbers(0, 4), failOpen: errors.New("dial amqp://u:hunter2@host: refused")}
	run(t, w, nil, func(r *source.Runner) {
		<-time.After(10 * time.Minute)
		if s := r.Status()[0]; s.State != source.Failing || strings.Contains(s.Reason, "hunter2") || !strings.Contains(s.Reason, "u:••••@host") {
			t.Errorf("%+v", s)
		}
		if w.opened < 15 || w.opened > 40 {
			t.Errorf("opened %d times in ten minutes", w.opened)
		}
		w.set(func() { w.failOpen, w.failSend = nil, errors.New("connection lost") })
		<-time.After(2 * time.Minute)
		if s := r.Status()[0]; s.Accepted != 4 || s.Duplicates != 3 || len(w.waiting) != 0 || s.State != source.Running {
			t.Errorf("%+v", s)
		}
	})
}

// TestRunnerDropsWhatIsLost: what others have meanwhile is neither held on to nor committed; what they did not
// commit is received again.
func TestRunnerDropsWhatIsLost(t *testing.T) {
	w := &world{waiting: numbers(0, 3), failTake: &hook.Error{Kind: hook.KindUnavailable, Code: "intake_full", RetryAfter: time.Second}}
	run(t, w, func(*source.Runner) { w.lost = make(chan struct{}) }, func(r *source.Runner) {
		<-time.After(time.Minute)
		w.set(func() {
			close(w.lost)
			w.lost, w.waiting = nil, []string{"1", "2", "3"}
		})
		<-time.After(time.Minute)
		w.set(func() { w.failTake = nil })
		<-time.After(time.Minute)
		want := []string{"1", "2", "3"}
		if s := r.Status()[0]; !slices.Equal(w.committed, want) || !slices.Equal(w.log, want) || w.opened != 2 || s.State != source.Running {
			t.Errorf("%+v: %v committed, %v in the log, opened %d times", s, w.committed, w.log, w.opened)
		}
	})
}

// TestRunnerTakesTurns: of those that one node may read, this one reads while it is its turn.
func TestRunnerTakesTurns(t *testing.T) {
	w := &world{waiting: numbers(0, 3)}
	mine := false
	run(t, w, func(r *source.Runner) {
		r.Sources[0].Alone = true
		r.Turn = func() bool { w.mu.Lock(); defer w.mu.Unlock(); return mine }
	}, func(r *source.Runner) {
		<-time.After(time.Minute)
		if s := r.Status()[0]; s.State != source.Standby || w.opened != 0 {
			t.Errorf("%+v", s)
		}
		w.set(func() { mine = true })
		<-time.After(time.Minute)
		if s := r.Status()[0]; s.State != source.Running || len(w.log) != 3 {
			t.Errorf("%+v", s)
		}
	})
}
