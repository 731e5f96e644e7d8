package proof_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// rig is a server on a data directory, or several on one database, with receivers and an oracle
// around them. Servers can be ended and started again; what is around them stays.
type rig struct {
	t       *testing.T
	oracle  *oracle.Oracle
	options process.Options // of the servers that it starts
	client  *http.Client
	log     *logFile
	key     string // for the API, instead of the operator key
	padding string // makes the events of some tests larger
	// leapt and given are set when the store went back: numbers go on with those that are above leap, and
	// given is how many of each webhook's were given out and lost.
	leapt bool
	given int64
	// numbered is how many events flows have made.
	numbered int
	// ctx ends with the test, when a server does not start, and when the rig's time is over: nobody
	// waits any more then.
	ctx    context.Context
	giveUp context.CancelFunc

	mu      sync.Mutex
	servers []*process.Server // that are asked, in turns
	turn    int
	started []*process.Server // all that ever were
	up      chan struct{}     // closed while there is one; another one from the last one's end on
}

// newRig makes one without a server.
func newRig(t *testing.T, args ...string) *rig {
	t.Helper()
	r := &rig{
		t: t, oracle: oracle.New(), up: make(chan struct{}), log: &logFile{},
		client: &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
	// A node whose lease runs out, on a machine that is busy with other tests, breaks off what it has under
	// way, and others do it again, as after a crash.
	r.log.lostLease = r.oracle.Crashed
	r.lasts(rigLasts)
	r.options = process.Options{Binary: binary(t), Dir: t.TempDir(), Args: args, Log: r.log}
	t.Cleanup(func() {
		r.mu.Lock()
		started := r.started
		r.mu.Unlock()
		for _, s := range started {
			_ = s.Signal(syscall.SIGCONT) // it has ended, mostly
			s.Kill()
		}
		r.giveUp()
		r.client.CloseIdleConnections()
		if t.Failed() {
			t.Logf("of the servers' log, the warnings and the end:\n%s", r.log.tail())
		}
	})
	return r
}

// errOver is why the context of a rig ends whose test has taken too long.
var errOver = errors.New("the rig's time is over")

// lasts bounds the life of a rig. When it is over the test says where it stands, and whoever waits, for
// a server that is no more or for what never comes, waits no longer. Other tests go on.
func (r *rig) lasts(length time.Duration) {
	r.t.Helper()
	t := r.t // not that of a subtest which borrows the rig
	ctx, end := context.WithCancelCause(t.Context())
	r.ctx, r.giveUp = ctx, func() { end(nil) }
	told := make(chan struct{})
	timer := time.AfterFunc(length, func() {
		defer close(told)
		t.Errorf("after %s it still stands here:\n%s", length, standing())
		end(errOver)
	})
	t.Cleanup(func() {
		if !timer.Stop() {
			<-told
		}
	})
}

// standing is what the goroutines wait for that run functions of this package, and where.
func standing() string {
	all := make([]byte, 4<<20)
	var b strings.Builder
	for one := range strings.SplitSeq(string(all[:runtime.Stack(all, true)]), "\n\n") {
		if strings.Contains(one, "proof_test.TestMain") || strings.Contains(one, "proof_test.standing") {
			continue
		}
		lines := strings.Split(one, "\n")
		for i, line := range lines[:len(lines)-1] {
			if strings.Contains(line, "proof_test.") {
				fmt.Fprintf(&b, "%s\n%s\n%s\n", lines[0], line, lines[i+1])
				lines[0] = ""
			}
		}
	}
	return strings.ReplaceAll(b.String(), "\n\n", "\n")
}

// logFile keeps the warnings and the end of the log of all servers of a rig.
type logFile struct {
	mu        sync.Mutex
	lines     []string
	warnings  []string
	lostLease func(time.Time) // hears of it
}

func (l *logFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines = append(l.lines, strings.TrimSpace(string(line))); len(l.lines) > 200 {
		l.lines = l.lines[1:]
	}
	if bytes.Contains(line, []byte(`"level":"WARN"`)) && !bytes.Contains(line, []byte("dev is on")) && len(l.warnings) < 50 {
		l.warnings = append(l.warnings, strings.TrimSpace(string(line)))
	}
	if l.lostLease != nil && bytes.Contains(line, []byte(`"msg":"the lease has run out;`)) {
		l.lostLease(time.Now())
	}
	return len(line), nil
}

func (l *logFile) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(append(l.warnings, l.lines[max(0, len(l.lines)-25):]...), "\n")
}

// start starts a server, which must answer within five seconds whatever was there.
func (r *rig) start() *process.Server {
	r.t.Helper()
	s, err := process.Start(r.ctx, r.options)
	if err != nil {
		r.giveUp()
		r.t.Fatal(err)
	}
	if s.Took > 5*time.Second {
		r.t.Errorf("the server took %s until it answered, more than 5 s", s.Took)
	}
	r.adopt(s)
	return s
}

// adopt makes a server one of those that are asked.
func (r *rig) adopt(s *process.Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started = append(r.started, s)
	r.serves(s)
}

func (r *rig) serves(s *process.Server) {
	r.servers = append(r.servers, s)
	if len(r.servers) == 1 {
		close(r.up)
	}
}

// leaves notes that a server is asked no more.
func (r *rig) leaves(s *process.Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.servers = slices.DeleteFunc(slices.Clone(r.servers), func(x *process.Server) bool { return x == s })
	if len(r.servers) == 0 {
		r.up = make(chan struct{})
	}
}

// only is the server of a rig that has one.
func (r *rig) only() *process.Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.servers[0]
}

// kill ends the server as a crash does.
func (r *rig) kill() { r.killNode(r.only()) }

func (r *rig) killNode(s *process.Server) {
	r.leaves(s)
	s.Kill()
	r.oracle.Crashed(time.Now())
	r.client.CloseIdleConnections()
}

// stop ends the server as operators do. It must end well, and soon.
func (r *rig) stop() {
	r.t.Helper()
	r.stopNode(r.only())
}

func (r *rig) stopNode(s *process.Server) {
	r.t.Helper()
	r.leaves(s)
	if err := s.Stop(30 * time.Second); err != nil {
		r.t.Error(err)
	}
	r.client.CloseIdleConnections()
}

// current waits for a server that answers; several take turns.
func (r *rig) current(ctx context.Context) (*process.Server, error) {
	for {
		r.mu.Lock()
		servers, up := r.servers, r.up
		r.turn++
		turn := r.turn
		r.mu.Unlock()
		if len(servers) > 0 {
			return servers[turn%len(servers)], nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, fmt.Errorf("no server runs: %w", context.Cause(ctx))
		}
	}
}

// at is the rig with one of its servers alone: for questions to that one.
func (r *rig) at(s *process.Server) *rig {
	return &rig{t: r.t, oracle: r.oracle, ctx: r.ctx, client: r.client, servers: []*process.Server{s}}
}

// call makes one request to a server that runs now. The error is that no answer came.
func (r *rig) call(ctx context.Context, method, path, company string, body []byte) (status int, answer []byte, err error) {
	s, err := r.current(ctx)
	if err != nil {
		return 0, nil, err
	}
	q, err := http.NewRequestWithContext(ctx, method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	q.Header.Set("Authorization", "Bearer "+cmp.Or(r.key, s.Key))
	if len(body) > 0 {
		q.Header.Set("Content-Type", "application/json")
	}
	if company != "" {
		q.Header.Set("X-Atlas-Company-Id", company)
	}
	resp, err := r.client.Do(q)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// ask makes a request that must succeed, and decodes its answer.
func (r *rig) ask(method, path, company, body string, out any) {
	r.t.Helper()
	status, answer, err := r.call(r.ctx, method, path, company, []byte(body))
	if err != nil || status/100 != 2 {
		r.t.Fatalf("%s %s: %d %s %v", method, path, status, answer, err)
	}
	if out != nil {
		decode(r.t, answer, out)
	}
}

func decode(t *testing.T, answer []byte, out any) {
	t.Helper()
	if err := json.Unmarshal(answer, out); err != nil {
		t.Fatalf("%v in %s", err, answer)
	}
}

// endpoint is a receiver and the webhook that it belongs to.
type endpoint struct {
	webhook oracle.Webhook
	secret  string
	scheme  hook.SignatureScheme
	script  []string // behaviours, as the command receiver takes them
	// settings are further fields of the webhook, each as `, "name": value`.
	settings string
	// each, if set, sees every request after the oracle did.
	each func(receiver.Delivery)
	// route, if set, says whose request it is: many webhooks share this receiver.
	route  func(receiver.Delivery) *endpoint
	closes bool // the receiver closes its connection after each answer
	url    string
}

// listen starts the receiver of an endpoint; subscribe makes its webhook.
func (r *rig) listen(e *endpoint) {
	r.t.Helper()
	if e.secret == "" {
		e.secret = hook.NewSecret()
	}
	c := receiver.Config{Secret: e.secret, Scheme: e.scheme, Closes: e.closes, Journal: func(d receiver.Delivery) {
		if e.route != nil {
			r.received(e.route(d), d)
			return
		}
		r.received(e, d)
	}}
	for _, text := range e.script {
		b, err := receiver.Parse(text)
		if err != nil {
			r.t.Fatal(err)
		}
		c.Script = append(c.Script, b)
	}
	one, err := receiver.New(c)
	if err != nil {
		r.t.Fatal(err)
	}
	e.url = one.URL()
	ctx, stop := context.WithCancel(context.WithoutCancel(r.ctx))
	ended := make(chan error, 1)
	go func() { ended <- one.Run(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			r.t.Error(err)
		}
	})
}

func (r *rig) subscribe(e *endpoint) {
	r.t.Helper()
	r.listen(e)
	r.create(e)
}

// create makes the webhook of an endpoint whose receiver listens already, or never will.
func (r *rig) create(e *endpoint) {
	r.t.Helper()
	if e.secret == "" {
		e.secret = hook.NewSecret()
	}
	topics, err := json.Marshal(e.webhook.Topics)
	if err != nil {
		r.t.Fatal(err)
	}
	format := hook.DataString
	if e.webhook.Object {
		format = hook.DataObject
	}
	scheme := e.scheme
	if scheme == "" {
		scheme = hook.SchemeHex
	}
	var made struct{ ID string }
	r.ask(http.MethodPost, "/v1/webhooks", e.webhook.Company, fmt.Sprintf(
		`{"endpoint": %q, "events": %s, "signing_secret": %q, "signature_scheme": %q, "data_format": %q%s}`,
		e.url, topics, e.secret, scheme, format, e.settings,
	), &made)
	e.webhook.ID = made.ID
	r.oracle.Subscribed(e.webhook)
}

// received writes a request into the receiver's journal.
func (r *rig) received(e *endpoint, d receiver.Delivery) {
	x := oracle.Receipt{
		Webhook: e.webhook.ID, Named: d.Header.Get(wire.HeaderSubscriptionID), Event: d.Header.Get(wire.HeaderEventID),
		Topic: d.Header.Get(wire.HeaderTopic), Body: sha256.Sum256(d.Body), At: d.At, Accepted: accepted(d.Answer),
	}
	if d.Invalid != nil {
		x.Forged = d.Invalid.Error()
	}
	// What is no number stays 0, which the check minds.
	x.Attempt, _ = strconv.Atoi(d.Header.Get(wire.HeaderAttempt))
	x.Sequence, _ = strconv.ParseInt(d.Header.Get(wire.HeaderSequence), 10, 64)
	r.oracle.Received(x)
	if e.each != nil {
		e.each(d)
	}
}

// accepted says whether a behaviour is a delivery: a status of 200–299 was sent in full. What comes
// after the status does not matter (CONTRACT.md, What the answer means).
func accepted(answer string) bool {
	switch answer {
	case "truncated", "bad-chunk", "two-lengths":
		return true
	}
	return strings.HasPrefix(answer, "2")
}

// publication is the body of a publish.
func publication(e *oracle.Event) []byte {
	object := ""
	if e.ObjectID != "" {
		object = fmt.Sprintf(`"object_id": %q, `, e.ObjectID)
	}
	return fmt.Appendf(nil, `{"company_id": %q, "event": %q, "id": %q, %s"data": %s}`, e.Company, e.Topic, e.ID, object, e.Data)
}

// publish publishes an event, writes down what became of it, and returns the status; 0 when no
// answer came.
func (r *rig) publish(ctx context.Context, e *oracle.Event) int {
	r.oracle.Publishing(*e)
	status, answer, err := r.call(ctx, http.MethodPost, "/v1/events", "", publication(e))
	switch {
	case err != nil:
		return 0
	case status == http.StatusAccepted:
		r.oracle.Answered(e.ID, oracle.Acked)
	case status/100 == 4 && status != http.StatusTooManyRequests:
		r.t.Errorf("publish %s: %d %s", e.ID, status, answer)
		r.oracle.Answered(e.ID, oracle.Refused)
	}
	return status
}

// persist publishes until the event is acknowledged, as a producer should.
func (r *rig) persist(ctx context.Context, e *oracle.Event) {
	for ctx.Err() == nil && r.publish(ctx, e) != http.StatusAccepted {
		pause(ctx, 20*time.Millisecond)
	}
}

// leap is how far the numbers lie above those that came before, after a store went back.
const leap = 1_000_000_000_000

// check compares the journals; numbers need not go on without a gap where the store went back.
func (r *rig) check() oracle.Report {
	if !r.leapt {
		return r.oracle.Check()
	}
	return r.oracle.Tampered(func(list []oracle.Receipt) []oracle.Receipt {
		for i := range list {
			if n := &list[i].Sequence; *n > leap {
				*n -= leap - r.given
			}
		}
		return list
	}).Check()
}

// judge asks the oracle at the end of a test: nothing is lost or wrong, and no more was sent again than was
// in flight at so many crashes.
func (r *rig) judge(seed uint64, crashes int) (fates map[oracle.Fate]int) {
	r.t.Helper()
	fates, receipts := r.oracle.Counts()
	report := r.check()
	r.t.Logf("%d crashes, %v, %d requests: %s", crashes, fates, receipts, report)
	if faults := report.Faults(); len(faults) > 0 {
		r.t.Errorf("seed %d: %s", seed, faults)
	}
	if n := len(report[oracle.Duplicate]); n > crashes*maxInFlight {
		r.t.Errorf("%d duplicates, more than the %d that were in flight at %d crashes", n, crashes*maxInFlight, crashes)
	}
	return fates
}

// balance is a row of GET /v1/conservation.
type balance struct {
	WebhookID                                            string `json:"webhook_id"`
	Matched, Delivered, Failed, Skipped, Parked, Pending int64
	Balanced                                             bool
}

func (r *rig) conservation(company string, deep bool) (list []balance) {
	r.t.Helper()
	var page struct {
		Data     []balance
		Balanced bool
		Next     *string `json:"next_cursor"`
	}
	for cursor := ""; ; {
		page.Data, page.Next = nil, nil
		r.ask(http.MethodGet, fmt.Sprintf("/v1/conservation?limit=10&deep=%t&cursor=%s", deep, cursor), company, "", &page)
		list = append(list, page.Data...)
		if page.Next == nil {
			return list
		}
		cursor = *page.Next
	}
}

// explain asks the server about missing deliveries.
func (r *rig) explain(missing map[string][]string) {
	r.t.Helper()
	for webhook, events := range missing {
		company := r.oracle.Company(webhook)
		_, health, err := r.call(r.ctx, http.MethodGet, "/v1/webhooks/"+webhook, company, nil)
		r.t.Logf("%s lacks %d: %s %v", webhook, len(events), health, err)
		for _, id := range events[:min(2, len(events))] {
			_, delivery, err := r.call(r.ctx, http.MethodGet, "/v1/webhooks/"+webhook+"/deliveries/"+id, company, nil)
			r.t.Logf("%s: %.3000s %v", id, delivery, err)
		}
		for _, b := range r.conservation(company, false) {
			if b.WebhookID == webhook {
				r.t.Logf("%+v", b)
			}
		}
	}
}

// accounted checks that everything of some companies is accounted for, by the counters and by the log,
// whatever is still under way.
func (r *rig) accounted(companies ...string) {
	r.t.Helper()
	for _, company := range companies {
		for _, b := range append(r.conservation(company, false), r.conservation(company, true)...) {
			if !b.Balanced {
				r.t.Errorf("conservation of %s: %+v", company, b)
			}
		}
	}
}

// settled waits until every delivery has come to its end, and checks that everything is accounted
// for, by the counters and by the log.
func (r *rig) settled(companies []string, within time.Duration) {
	r.t.Helper()
	began := time.Now()
	for missing := r.oracle.Missing(); len(missing) > 0; missing = r.oracle.Missing() {
		if time.Since(began) > within || r.ctx.Err() != nil {
			r.explain(missing)
			r.t.Fatalf("deliveries of %d webhooks are missing after %s", len(missing), within)
		}
		pause(r.ctx, 200*time.Millisecond)
	}
	r.t.Logf("all delivered %s later", time.Since(began).Round(time.Millisecond))
	for _, company := range companies {
		var list []balance
		eventually(r.t, within, "everything of "+company+" is recorded", func() bool {
			list = r.conservation(company, false)
			for _, b := range list {
				if b.Pending != 0 || b.Parked != 0 {
					return false
				}
			}
			return true
		})
		for _, b := range append(list, r.conservation(company, true)...) {
			if !b.Balanced || b.Matched != b.Delivered || b.Pending+b.Parked+b.Failed+b.Skipped != 0 {
				r.t.Errorf("conservation: %+v", b)
			}
		}
	}
}
