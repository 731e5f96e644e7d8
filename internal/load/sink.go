package load

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// sink is a receiver that answers 200 and counts: a plain net/http server, the same for the ceiling
// and for the server's deliveries.
type sink struct {
	server   *http.Server
	listener net.Listener
	ended    chan struct{}
	received atomic.Int64
	run      atomic.Pointer[run]
}

// run is what one measurement published, and what of it arrived.
type run struct {
	name       string
	companies  []company
	webhooks   int          // that each event goes to
	published  atomic.Int64 // events; their ids end in 0 … published−1
	arrived    atomic.Int64 // deliveries, each counted once
	duplicates atomic.Int64
	foreign    atomic.Int64 // not of this run
	progress   chan struct{}

	mu    sync.Mutex
	seen  [][]uint64            // a bit for each event, for each webhook
	times map[string]*itinerary // of events by id; nil = not measured
}

// company is one of a run's, with the ids of its webhooks.
type company struct {
	id       string
	webhooks []string
}

// itinerary is when an event was where.
type itinerary struct{ sent, accepted, received time.Time }

func newSink(ctx context.Context) (*sink, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{listener: l, ended: make(chan struct{})}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
	go func() {
		defer close(s.ended)
		_ = s.server.Serve(l) // until it is closed
	}()
	return s, nil
}

func (s *sink) close() {
	_ = s.server.Close() // of a listener that is closed anyway
	<-s.ended
}

func (s *sink) url() string { return "http://" + s.listener.Addr().String() }

// bodies are read into buffers that are used again; nobody looks at them.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// ServeHTTP takes /<webhook> with the event's id in its header, or the ceiling's posts, which have
// none.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	buffer := buffers.Get().(*[]byte)
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body, *buffer)
	buffers.Put(buffer)
	if err != nil {
		return
	}
	if id := r.Header.Get(wire.HeaderEventID); id != "" {
		if run := s.run.Load(); run != nil {
			run.take(r.URL.Path, id)
		}
	}
	s.received.Add(1)
	w.WriteHeader(http.StatusOK)
}

func (n *run) take(path, id string) {
	webhook, err := strconv.Atoi(strings.TrimPrefix(path, "/"))
	name, number, ok := strings.Cut(id, "_")
	event, wrong := strconv.ParseInt(number, 10, 64)
	if err != nil || wrong != nil || !ok || name != n.name || webhook < 0 || webhook >= n.webhooks {
		n.foreign.Add(1)
		return
	}
	n.mu.Lock()
	word, bit := event/64, uint64(1)<<(event%64)
	for int64(len(n.seen[webhook])) <= word {
		n.seen[webhook] = append(n.seen[webhook], 0)
	}
	fresh := n.seen[webhook][word]&bit == 0
	n.seen[webhook][word] |= bit
	if i := n.times[id]; i != nil && fresh {
		i.received = time.Now()
	}
	n.mu.Unlock()
	if !fresh {
		n.duplicates.Add(1)
		return
	}
	n.arrived.Add(1)
	select {
	case n.progress <- struct{}{}:
	default:
	}
}

// waiting is how many deliveries are still to come.
func (n *run) waiting() int64 { return n.published.Load()*int64(n.webhooks) - n.arrived.Load() }

// patience is how long nothing may arrive until what is missing counts as lost.
const patience = time.Minute

// drain waits until everything has arrived, and returns how much has not.
func (n *run) drain(ctx context.Context) int64 {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for n.waiting() > 0 {
		select {
		case <-n.progress:
			timer.Reset(patience)
		case <-timer.C:
			return n.waiting()
		case <-ctx.Done():
			return n.waiting()
		}
	}
	return 0
}
