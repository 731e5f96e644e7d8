package deliver

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// world is a real store with an engine on it and endpoints that are functions. It runs in a
// synctest bubble: a schedule of three days takes no time.
type world struct {
	t       *testing.T
	dir     string
	store   *store.Store
	company *store.Company
	sender  *fakeSender
	engine  *Engine
	stop    context.CancelFunc
	hard    context.CancelFunc
	ended   chan error
	config  func(*Config)
	tamper  func(*Engine) // switches a guard off, for controls
	deaf    atomic.Bool   // the engine does not hear of commits
	unheard atomic.Int64  // the latest version that it did not hear of
}

// fakeSender answers for every endpoint and keeps a journal.
type fakeSender struct {
	sync.Mutex
	answer  func(r send.Request) send.Result // called without the lock
	journal []received
}

type received struct {
	webhook  string
	event    string
	topic    string
	attempt  int
	sequence int64
	kind     hook.Kind
	at       time.Time
	ok       bool
}

func (f *fakeSender) Send(_ context.Context, r send.Request) send.Result {
	start := time.Now()
	result := send.Result{StatusCode: 200}
	f.Lock()
	answer := f.answer
	f.Unlock()
	if answer != nil {
		result = answer(r)
	}
	result.StartedAt, result.TimestampText = hook.Now(start), "1.5"
	result.Phases.Total = time.Since(start)
	if result.StatusCode/100 != 2 && result.Class == hook.ErrNone {
		result.Class = hook.ErrServerStatus
	}
	f.Lock()
	defer f.Unlock()
	f.journal = append(f.journal, received{r.Webhook.ID, r.Event.ID, r.Event.Topic, r.Attempt, r.Sequence, r.Kind, start, result.Class == hook.ErrNone})
	return result
}

func (f *fakeSender) received() []received {
	f.Lock()
	defer f.Unlock()
	return append([]received(nil), f.journal...)
}

// crowded answers each request with 200 after a tenth of a second. It tells seen how many there are at
// once, whenever another one comes, and when it came, counted from the first; seen holds the lock.
func (f *fakeSender) crowded(seen func(inFlight int, since time.Duration)) func(send.Request) send.Result {
	inFlight := 0
	var first time.Time
	return func(send.Request) send.Result {
		f.Lock()
		if first.IsZero() {
			first = time.Now()
		}
		inFlight++
		seen(inFlight, time.Since(first))
		f.Unlock()
		time.Sleep(100 * time.Millisecond)
		f.Lock()
		inFlight--
		f.Unlock()
		return status(200)
	}
}

// awayUntil refuses connections until a time, and then answers as told.
func awayUntil(back time.Time, then func(send.Request) send.Result) func(send.Request) send.Result {
	return func(r send.Request) send.Result {
		if time.Now().Before(back) {
			return refused(r)
		}
		return then(r)
	}
}

// shared is what a test changes while endpoints look at it.
type shared[T any] struct {
	sync.Mutex
	value T
}

func (s *shared[T]) get() T {
	s.Lock()
	defer s.Unlock()
	return s.value
}

func (s *shared[T]) set(v T) {
	s.Lock()
	defer s.Unlock()
	s.value = v
}

// status answers with a status code.
func status(code int) send.Result { return send.Result{StatusCode: code} }

func newWorld(t *testing.T) *world {
	w := &world{t: t, dir: t.TempDir(), sender: &fakeSender{}}
	w.open()
	w.in("c1")
	t.Cleanup(func() {
		if w.engine != nil {
			w.halt()
		}
		w.close()
	})
	return w
}

// in makes a company the one that webhooks and events are of.
func (w *world) in(id string) *store.Company {
	w.t.Helper()
	company, err := w.store.EnsureCompany(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	w.company = company
	return company
}

func (w *world) open() {
	s, err := store.OpenSQLite(context.WithoutCancel(w.t.Context()), store.Options{
		Dir: w.dir, MasterKey: make([]byte, 32), MinFreeDisk: -1, UnsafeNoSync: true, // no power is cut here
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.store = s
}

func (w *world) close() {
	if w.store != nil {
		if err := w.store.Close(); err != nil {
			w.t.Error(err)
		}
		w.store = nil
	}
}

func (w *world) start() {
	c := Config{Store: w.store, Sender: w.sender, Log: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Dice: rand.New(rand.NewPCG(1, 2))}
	if w.config != nil {
		w.config(&c)
	}
	w.engine = New(c)
	if w.tamper != nil {
		w.tamper(w.engine)
	}
	heard := w.engine.Committed
	w.store.OnAppend(func(p hook.Partition, events []*hook.Event, version int64) {
		if w.deaf.Load() {
			w.unheard.Store(version)
			return
		}
		heard(p, events, version)
	})
	ctx, stop := context.WithCancel(context.Background())
	hard, kill := context.WithCancel(context.Background())
	w.stop, w.hard, w.ended = stop, kill, make(chan error, 1)
	engine, ended := w.engine, w.ended
	go func() { ended <- engine.Run(ctx, hard, 0) }()
}

// halt stops the engine and waits for what is in flight.
func (w *world) halt() {
	w.stop()
	if err := <-w.ended; err != nil {
		w.t.Error(err)
	}
	w.hard()
	w.engine = nil
}

// kill ends the engine as a crash does: what is in flight goes out, and is never recorded.
func (w *world) kill() {
	w.hard()
	<-w.ended
	w.stop()
	w.close()
	w.open()
	w.start()
}

// restart stops everything and opens it again from disk.
func (w *world) restart() {
	w.halt()
	w.close()
	w.open()
	w.start()
}

func (w *world) webhook(change func(*hook.Webhook)) *hook.Webhook {
	h := hook.Webhook{
		Company: w.company.Key, Endpoint: fmt.Sprintf("https://example.com/%d", rand.Uint64()), Topics: []string{"*"}, Scheme: hook.SchemeHex,
		Format: hook.DataString, Ordering: hook.Relaxed, MaxConcurrency: hook.DefaultWindow, Timeout: hook.DefaultTimeout,
		RetrySchedule: hook.DefaultRetrySchedule(), Metadata: []byte("{}"),
	}
	if change != nil {
		change(&h)
	}
	created, err := w.store.CreateWebhook(w.t.Context(), h, nil, store.Audit{Actor: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return created
}

// publish appends n events; object names the object of the i-th.
func (w *world) publish(n int, object func(i int) string) []string {
	return w.publishAs("conversation", n, object)
}

// publishOf appends n events of a topic.
func (w *world) publishOf(topic string, n int) []string { return w.publishAs(topic, n, nil) }

func (w *world) publishAs(topic string, n int, object func(i int) string) []string {
	var events []*hook.Event
	var ids []string
	for i := range n {
		e := &hook.Event{
			ID: hook.NewID(hook.EventPrefix, time.Now()), FreshID: true, Company: w.company.Key, CompanyID: w.company.ID,
			Topic: topic, Data: fmt.Appendf(nil, `{"n":%d}`, i),
		}
		if object != nil {
			e.ObjectKey = hook.ObjectKey(e.Topic, object(i))
		}
		e.Digest = hook.EventDigest(e.Topic, e.ObjectKey, e.Data)
		events = append(events, e)
		ids = append(ids, e.ID)
	}
	for len(events) > 0 {
		n := min(len(events), 500)
		if _, err := w.store.Append(w.t.Context(), 0, events[:n]); err != nil {
			w.t.Fatal(err)
		}
		events = events[n:]
	}
	return ids
}

// settle lets virtual time pass until the condition holds.
func (w *world) settle(what string, within time.Duration, done func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(within)
	for step := 10 * time.Millisecond; !done(); step = min(2*step, time.Second+within/1000) {
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not within %s of virtual time", what, within)
		}
		time.Sleep(step)
		synctest.Wait()
	}
}

func (w *world) delivered() int {
	n := 0
	for _, r := range w.sender.received() {
		if r.ok {
			n++
		}
	}
	return n
}

func bubble(t *testing.T, fn func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, fn)
}
