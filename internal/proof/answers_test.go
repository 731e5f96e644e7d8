package proof_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// rawServer answers the first request to each path with bytes that a test chose, and every later one
// with 200.
type rawServer struct {
	url string

	mu       sync.Mutex
	answers  map[string]func() string
	requests map[string][]time.Time
}

func newRawServer(t *testing.T) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{url: "http://" + l.Addr().String(), answers: map[string]func() string{}, requests: map[string][]time.Time{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return // closed
			}
			all.Go(func() { s.serve(nc) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return s
}

func (s *rawServer) serve(nc net.Conn) {
	defer nc.Close()
	q, err := http.ReadRequest(bufio.NewReader(nc))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, q.Body) // a body that ends early is not what is tested here
	s.mu.Lock()
	first := len(s.requests[q.URL.Path]) == 0
	s.requests[q.URL.Path] = append(s.requests[q.URL.Path], time.Now())
	answer := s.answers[q.URL.Path]
	s.mu.Unlock()
	text := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
	if first {
		text = answer()
	}
	_, _ = io.WriteString(nc, text) // who does not read it says so itself
}

func (s *rawServer) times(path string) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]time.Time(nil), s.requests[path]...)
}

// answer is what a receiver says to the first attempt.
type answerCase struct {
	name    string
	status  int
	headers func() string // lines, without the last line's end
	outcome hook.Outcome
	// The second attempt comes no sooner and no later than this after the first; 0 and 0: there is
	// none as long as the test looks.
	soonest, latest time.Duration
}

func lines(text string) func() string { return func() string { return text } }

// in is a Retry-After with a date so long from now, in one of HTTP's three forms
// (RFC 9110, section 5.6.7).
func in(wait time.Duration, form string) func() string {
	return func() string { return "Retry-After: " + time.Now().Add(wait).UTC().Format(form) }
}

const rfc850 = "Monday, 02-Jan-06 15:04:05 GMT"

// answerCases are what the contract says about answers ("What the answer means"). Waiting without a
// word to wait by is 1 s here, the schedule's step 4 s, each ±20 %.
var answerCases = []answerCase{
	{"429", 429, lines("X: y"), hook.OutcomeThrottled, 800 * time.Millisecond, 3 * time.Second},
	{"503", 503, lines("X: y"), hook.OutcomeThrottled, 800 * time.Millisecond, 3 * time.Second},
	{"429, seconds", 429, lines("Retry-After: 2"), hook.OutcomeThrottled, 2 * time.Second, 5 * time.Second},
	{"503, seconds with spaces", 503, lines("retry-AFTER:   2  "), hook.OutcomeThrottled, 2 * time.Second, 5 * time.Second},
	{"500, seconds", 500, lines("Retry-After: 2"), hook.OutcomeThrottled, 2 * time.Second, 5 * time.Second},
	{"404, seconds", 404, lines("Retry-After: 2"), hook.OutcomeThrottled, 2 * time.Second, 5 * time.Second},
	{"302, seconds", 302, lines("Location: /elsewhere\r\nRetry-After: 2"), hook.OutcomeThrottled, 2 * time.Second, 5 * time.Second},
	{"429, a date", 429, in(3*time.Second, http.TimeFormat), hook.OutcomeThrottled, 2 * time.Second, 6 * time.Second},
	{"503, a date of RFC 850", 503, in(3*time.Second, rfc850), hook.OutcomeThrottled, 2 * time.Second, 6 * time.Second},
	{"500, a date of asctime", 500, in(3*time.Second, time.ANSIC), hook.OutcomeThrottled, 2 * time.Second, 6 * time.Second},
	{"429, a date long past", 429, in(-time.Hour, http.TimeFormat), hook.OutcomeThrottled, 800 * time.Millisecond, 3 * time.Second},
	{"500, a date long past", 500, in(-time.Hour, http.TimeFormat), hook.OutcomeThrottled, 800 * time.Millisecond, 3 * time.Second},
	{"429, zero", 429, lines("Retry-After: 0"), hook.OutcomeThrottled, 800 * time.Millisecond, 3 * time.Second},
	{"429, huge", 429, lines("Retry-After: 99999999999999999999999"), hook.OutcomeThrottled, 0, 0},
	{"500, a date far away", 500, in(1000*time.Hour, http.TimeFormat), hook.OutcomeThrottled, 0, 0},
	{"429, negative", 429, lines("Retry-After: -5"), hook.OutcomeThrottled, 800 * time.Millisecond, 3 * time.Second},
	{"429, garbage", 429, lines("Retry-After: soon, 17 \x01\xff"), hook.OutcomeThrottled, 800 * time.Millisecond, 3 * time.Second},
	{"500, negative", 500, lines("Retry-After: -5"), hook.OutcomeRetry, 3200 * time.Millisecond, 7 * time.Second},
	{"500, garbage", 500, lines("Retry-After: 1.5"), hook.OutcomeRetry, 3200 * time.Millisecond, 7 * time.Second},
	{"500, empty", 500, lines("Retry-After:"), hook.OutcomeRetry, 3200 * time.Millisecond, 7 * time.Second},
	{"429, twice: the first counts", 429, lines("Retry-After: 2\r\nRetry-After: 86400"), hook.OutcomeThrottled, 2 * time.Second, 5 * time.Second},
	{"200, seconds", 200, lines("Retry-After: 2"), hook.OutcomeDelivered, 0, 0},
	{"410 of a new endpoint", 410, lines("X: y"), hook.OutcomeRetry, 3200 * time.Millisecond, 7 * time.Second},
	{"410 of a new endpoint, seconds", 410, lines("Retry-After: 2"), hook.OutcomeThrottled, 2 * time.Second, 5 * time.Second},
	{"500", 500, lines("X: y"), hook.OutcomeRetry, 3200 * time.Millisecond, 7 * time.Second},
	{"nothing that is text", 500, lines("X-Bytes: \x00\xff\xfe\xc3\x28"), hook.OutcomeRetry, 3200 * time.Millisecond, 7 * time.Second},
	{"410 of an old endpoint", 410, lines("X: y"), hook.OutcomeGone, 0, 0},
	{"410 of an old endpoint, seconds", 410, lines("Retry-After: 1"), hook.OutcomeGone, 0, 0},
}

// TestAnswers is O17 of the test plan: every answer, through the real way to the receiver and back
// into the store, with Retry-After in every form.
func TestAnswers(t *testing.T) {
	r := newRig(t)
	s := newRawServer(t)
	r.start()
	r.stop()
	path := func(i int) string { return fmt.Sprintf("/answer-%d", i) }
	var made []*hook.Webhook
	write(t, r.options.Dir, time.Hour, func(f *writing) {
		made = f.webhooks(len(answerCases), func(i int, h *hook.Webhook) {
			c := answerCases[i]
			h.Company, h.Endpoint, h.RetrySchedule = f.company("c1").Key, s.url+path(i), []time.Duration{4 * time.Second, time.Hour}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.answers[path(i)] = func() string {
				return fmt.Sprintf("HTTP/1.1 %d Answer\r\nContent-Length: 5\r\nConnection: close\r\n%s\r\n\r\n\x00\xff\xc3\x28!", c.status, c.headers())
			}
		})
	})
	r.start()
	for i, c := range answerCases { // what is changed is as new as what is made
		if !strings.Contains(c.name, "old endpoint") {
			r.ask(http.MethodPatch, "/v1/webhooks/"+made[i].ID, "c1", fmt.Sprintf(`{"endpoint": "%s?new"}`, s.url+path(i)), nil)
		}
	}
	status, answer, err := r.call(r.ctx, http.MethodPost, "/v1/events", "", []byte(`{"company_id": "c1", "event": "conversation", "id": "the-event", "data": {"id": 1}}`))
	if err != nil || status != http.StatusAccepted {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	began := time.Now()
	for i, c := range answerCases {
		if c.latest > 0 {
			eventually(t, 30*time.Second, c.name+": a second attempt", func() bool { return len(s.times(path(i))) > 1 })
		}
	}
	pause(r.ctx, time.Until(began.Add(6*time.Second)))
	all := make([]answered, len(answerCases))
	for i, c := range answerCases {
		all[i] = r.answered(&c, made[i].ID, s.times(path(i)))
		for _, wrong := range c.judge(&all[i]) {
			t.Errorf("%s: %s", c.name, wrong)
		}
	}
	answerControls(t, all)
	r.accounted("c1")
	r.stop()
}

// answered is what became of one case.
type answered struct {
	at       []time.Time // of the requests
	delivery struct {
		Status   string
		Attempts []struct {
			Number     int
			Outcome    hook.Outcome
			Counted    bool
			StatusCode int `json:"status_code"`
			Response   *struct{ Headers, Body string }
		}
	}
	webhook struct {
		Status       string
		StatusReason *string `json:"status_reason"`
		Health       struct{ Reason *string }
	}
}

// answered asks what became of a case, once its attempts are recorded.
func (r *rig) answered(c *answerCase, webhook string, at []time.Time) (a answered) {
	r.t.Helper()
	a.at = at
	eventually(r.t, 10*time.Second, c.name+" is recorded", func() bool {
		r.ask(http.MethodGet, "/v1/webhooks/"+webhook+"/deliveries/the-event", "c1", "", &a.delivery)
		return len(a.delivery.Attempts) >= c.attempts()
	})
	r.ask(http.MethodGet, "/v1/webhooks/"+webhook, "c1", "", &a.webhook)
	return a
}

func (c *answerCase) attempts() int {
	if c.latest > 0 {
		return 2
	}
	return 1
}

// judge compares what became of a case with what the contract says, and returns what is wrong.
func (c *answerCase) judge(a *answered) (wrong []string) {
	says := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	want := c.attempts()
	d := &a.delivery
	if len(d.Attempts) != want || len(a.at) != want {
		says("%d attempts, %d requests: %+v", len(d.Attempts), len(a.at), d)
		return wrong
	}
	first := d.Attempts[0]
	if want == 2 && first.Number != 1 {
		first = d.Attempts[1] // the latest stands first
	}
	counted := c.outcome != hook.OutcomeThrottled
	if first.Outcome != c.outcome || first.Counted != counted || first.StatusCode != c.status || first.Response == nil || !strings.Contains(first.Response.Headers, "Connection: close") {
		says("%+v, want %s, counted %v", first, c.outcome, counted)
	}
	if want == 2 {
		// The last part of a second is not in a date, and clocks of tests have their own.
		if took := a.at[1].Sub(a.at[0]); took < c.soonest-10*time.Millisecond || took > c.latest+late {
			says("the second attempt came %s after the first, want %s to %s", took, c.soonest, c.latest)
		}
		if d.Status != string(hook.Delivered) {
			says("%s", d.Status)
		}
	}
	w := &a.webhook
	switch gone := w.Status == "INACTIVE" && w.StatusReason != nil && *w.StatusReason == "gone"; {
	case gone != (c.outcome == hook.OutcomeGone):
		says("the webhook is %s, %v", w.Status, w.StatusReason)
	case c.outcome == hook.OutcomeThrottled && want == 1 && (w.Health.Reason == nil || *w.Health.Reason != "the endpoint asked us to wait"):
		says("it does not say why it waits: %v", w.Health.Reason)
	}
	return wrong
}

// late is by how much a busy machine may be late for a second attempt.
const late = 3 * time.Second

// answerControls falsifies what was seen: no case passes with what became of another one that must
// end otherwise, nor with a second attempt that comes too soon or too late.
func answerControls(t *testing.T, all []answered) {
	t.Helper()
	for i, c := range answerCases {
		for j, other := range answerCases {
			differs := c.outcome != other.outcome || c.status != other.status || c.attempts() != other.attempts()
			if differs && len(c.judge(&all[j])) == 0 {
				t.Errorf("control: %s passes with what became of %s", c.name, other.name)
			}
		}
		if len(all[i].at) < 2 || c.latest == 0 {
			continue
		}
		moved := all[i]
		for what, after := range map[string]time.Duration{"soon": c.soonest / 2, "late": c.latest + late + time.Second} {
			moved.at = []time.Time{all[i].at[0], all[i].at[0].Add(after)}
			if len(c.judge(&moved)) == 0 {
				t.Errorf("control: %s passes with a second attempt that came too %s, after %s", c.name, what, after)
			}
		}
	}
}
