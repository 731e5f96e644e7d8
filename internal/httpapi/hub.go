package httpapi

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/advice"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Limits of what the live streams keep of the past.
const (
	ringsBytes  = 32 << 20        // of all companies, shared evenly
	leastRing   = 64 << 10        // of one company, however many there are
	mostRing    = 2 << 20         // of one company
	ringKept    = 2 * time.Minute // without a reader
	atATime     = 64              // attempts that a reader takes
	watchedSize = 1 << 10         // memory of one attempt, rendered, beside its detail
)

// hub keeps the last attempts of each company that somebody watches. The engine writes, readers read;
// it costs next to nothing where nobody watches.
type hub struct {
	epoch                string // tells this process's numbers from another's
	maxReaders, maxOfOne int

	mu      sync.Mutex // for finding a ring; never held while something is rendered, copied or written
	rings   map[hook.CompanyKey]*ring
	made    int // rings, ever
	readers int
	stopped bool
}

// ring is what is kept for the streams of one company.
type ring struct {
	epoch   string
	readers int       // the hub's
	left    time.Time // since when nobody reads; the hub's

	mu      sync.Mutex
	list    []*watched // the last of them is number next - 1
	next    uint64     // number of the next attempt; numbers begin at 1
	bytes   int
	changed chan struct{} // closed at the next attempt
	stopped bool
}

// watched is an attempt as all readers see it. Who reads it first renders it.
type watched struct {
	webhook hook.WebhookKey
	shape   client.StreamEvent
	bytes   int

	once sync.Once
	text []byte
}

func (w *watched) render() []byte {
	w.once.Do(func() { w.text, _ = json.Marshal(&w.shape) }) // of texts and numbers, which it cannot refuse
	return w.text
}

func newHub(now time.Time, maxReaders, maxOfOne int) *hub {
	return &hub{epoch: strconv.FormatInt(now.UnixMicro(), 36), maxReaders: maxReaders, maxOfOne: maxOfOne, rings: map[hook.CompanyKey]*ring{}}
}

// Attempted tells the live streams of an attempt of a webhook, for an event. It neither blocks nor keeps
// what it is given.
func (a *API) Attempted(attempt *hook.Attempt, w *hook.Webhook, event *hook.Event) {
	r, limit := a.hub.ring(w.Company, a.opt.Now())
	if r == nil {
		return
	}
	r.add(watch(attempt, w, event), limit)
}

func watch(a *hook.Attempt, w *hook.Webhook, e *hook.Event) *watched {
	shape := client.StreamEvent{
		WebhookID: w.ID, EventID: e.ID, Event: e.Topic, ObjectID: orNull(e.ObjectID()), Number: a.Number, Kind: a.Kind, StartedAt: a.StartedAt,
		Outcome: a.Outcome, ErrorClass: orNull(string(a.ErrorClass)), ErrorDetail: orNull(text([]byte(a.ErrorDetail))), TotalMS: milliseconds(a.Phases.Total),
	}
	if a.Sequence > 0 {
		shape.Sequence = new(a.Sequence)
	}
	if a.StatusCode != 0 {
		shape.StatusCode = new(a.StatusCode)
	}
	if a.Outcome != hook.OutcomeDelivered {
		shape.Advice = orNull(advice.Of(advice.Circumstances{Attempt: a, Endpoint: w.Endpoint, OwnHeaders: w.Headers}))
	}
	return &watched{webhook: w.Key, shape: shape, bytes: watchedSize + 2*len(a.ErrorDetail)}
}

// EndStreams ends the live streams, so that a server that shuts down need not wait for them.
func (a *API) EndStreams() {
	a.forwarder.end()
	h := a.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	for _, r := range h.rings {
		r.stop()
	}
}

// ring is what a company's attempts are kept in, and how many bytes of them; nil where nobody watches.
func (h *hub) ring(company hook.CompanyKey, now time.Time) (r *ring, limit int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r = h.rings[company]
	if r != nil && r.readers == 0 && now.Sub(r.left) > ringKept {
		delete(h.rings, company)
		return nil, 0
	}
	return r, min(max(ringsBytes/max(1, len(h.rings)), leastRing), mostRing)
}

// enter lets one more watch a company.
func (h *hub) enter(company hook.CompanyKey, now time.Time) (*ring, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.readers >= h.maxReaders || h.stopped {
		return nil, &hook.Error{Kind: hook.KindUnavailable, Code: "too_many_streams", Detail: "too many streams are open", RetryAfter: 5 * time.Second}
	}
	r := h.rings[company]
	if r != nil && r.readers >= h.maxOfOne {
		return nil, &hook.Error{Kind: hook.KindLimited, Code: "too_many_streams", Detail: "the company has as many streams open as it may have", RetryAfter: 5 * time.Second}
	}
	if r == nil {
		h.forgetOld(now)
		h.made++
		r = &ring{epoch: h.epoch + "." + strconv.FormatInt(int64(h.made), 36), next: 1, changed: make(chan struct{})}
		h.rings[company] = r
	}
	h.readers++
	r.readers++
	return r, nil
}

func (h *hub) forgetOld(now time.Time) {
	for company, r := range h.rings {
		if r.readers == 0 && now.Sub(r.left) > ringKept {
			delete(h.rings, company)
		}
	}
}

func (h *hub) leave(r *ring, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers--
	r.readers--
	r.left = now
}

func (r *ring) add(w *watched, limit int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return
	}
	r.list = append(r.list, w)
	r.next++
	r.bytes += w.bytes
	for r.bytes > limit && len(r.list) > 1 {
		r.bytes -= r.list[0].bytes
		r.list[0] = nil
		r.list = r.list[1:]
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *ring) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.stopped {
		r.stopped = true
		close(r.changed)
	}
}

func (r *ring) end() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next
}

// after returns some attempts from a number on, and the number that follows them. wait is nil when there
// are more already; lost says that some are gone.
func (r *ring) after(from uint64) (list []*watched, next uint64, wait <-chan struct{}, lost, stopped bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if oldest := r.next - uint64(len(r.list)); from < oldest {
		from, lost = oldest, true
	}
	from = min(from, r.next)
	rest := r.list[len(r.list)-int(r.next-from):]
	list = append(list, rest[:min(len(rest), atATime)]...)
	if len(list) == len(rest) {
		wait = r.changed
	}
	return list, from + uint64(len(list)), wait, lost, r.stopped
}

// place resolves a Last-Event-ID; known is false for one of another process, or of a ring that is gone.
func (r *ring) place(id string) (from uint64, known bool) {
	epoch, n, _ := strings.Cut(id, "-")
	last, err := strconv.ParseUint(n, 10, 63)
	return last + 1, err == nil && epoch == r.epoch
}
