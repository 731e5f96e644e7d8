package send

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

func newSender(t *testing.T) *Sender {
	t.Helper()
	c, err := egress.New(egress.Config{Policy: egress.Policy{
		AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return New(c, "test", nil)
}

// journal collects what a receiver got.
type journal struct {
	mu  sync.Mutex
	got []receiver.Delivery
}

func (j *journal) add(d receiver.Delivery) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.got = append(j.got, d)
}

func (j *journal) all() []receiver.Delivery {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.got
}

func newReceiver(t *testing.T, j *journal, script ...string) *receiver.Receiver {
	t.Helper()
	config := receiver.Config{Secret: secret, Journal: j.add}
	for _, text := range script {
		b, err := receiver.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		config.Script = append(config.Script, b)
	}
	r, err := receiver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

func request(endpoint string) Request {
	return Request{
		Webhook: &hook.Webhook{
			Key: 7, ID: "wh_1", Endpoint: endpoint, Scheme: hook.SchemeHex, Format: hook.DataString, Timeout: 2 * time.Second,
			Secrets: hook.Secrets{Current: secret}, Headers: []hook.Header{{Name: "Authorization", Value: "Bearer x"}},
		},
		Event: &hook.Event{ID: "evt_1", Topic: "conversation"}, Body: wire.Body("conversation", []byte(`{"id":1}`), hook.DataString),
		Delivery: hook.Delivery{Kind: hook.Live, Attempt: 3, Sequence: 12},
	}
}

// A delivery verifies at the receiver, and carries what the contract says.
func TestDelivered(t *testing.T) {
	var j journal
	r := newReceiver(t, &j)
	q := request(r.URL() + "hook")
	got := newSender(t).Send(t.Context(), q)
	if !got.Delivered() || got.Class != hook.ErrNone || got.Detail != "" || got.StatusCode != 200 {
		t.Fatalf("%+v", got)
	}
	d := j.all()[0]
	if d.Invalid != nil || string(d.Body) != string(q.Body) || d.Path != "/hook" {
		t.Errorf("%+v", d)
	}
	for name, want := range map[string]string{
		"X-Atlas-Webhook-Signature-Timestamp": got.TimestampText, "X-Atlas-Webhook-Event-Id": "evt_1",
		"X-Atlas-Webhook-Subscription-Id": "wh_1", "X-Atlas-Webhook-Topic": "conversation", "X-Atlas-Webhook-Attempt": "3",
		"X-Atlas-Webhook-Sequence": "12", "Authorization": "Bearer x", "User-Agent": "Atlas-Webhooks/test",
		"Content-Type": "application/json", "Webhook-Id": "evt_1", "X-Atlas-Webhook-Test": "", "X-Atlas-Webhook-Replay": "",
	} {
		if v := d.Header.Get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if p := got.Phases; p.Connect <= 0 || p.FirstByte <= 0 || p.Total < p.FirstByte || p.TLS != 0 || p.DNS != 0 {
		t.Errorf("phases %+v", p)
	}
	again := newSender(t).Send(t.Context(), q)
	for began := time.Now(); again.TimestampText == got.TimestampText && time.Since(began) < time.Minute; { // in one millisecond
		again = newSender(t).Send(t.Context(), q)
	}
	if again.TimestampText == got.TimestampText {
		t.Error("a second attempt was not signed afresh")
	}
}

func TestKinds(t *testing.T) {
	var j journal
	r := newReceiver(t, &j)
	s := newSender(t)
	q := request(r.URL())
	q.Kind = hook.Test
	s.Send(t.Context(), q)
	q.Kind, q.ReplayID, q.Sequence = hook.Replay, "rpl_1", 0
	s.Send(t.Context(), q)
	got := j.all()
	if got[0].Header.Get("X-Atlas-Webhook-Test") != "true" || got[1].Header.Get("X-Atlas-Webhook-Replay") != "rpl_1" || got[1].Header.Get("X-Atlas-Webhook-Sequence") != "" {
		t.Errorf("%v %v", got[0].Header, got[1].Header)
	}
}

// D9: delivered if and only if a final status of 200–299 arrived in full.
func TestAmbiguousEnds(t *testing.T) {
	tests := []struct {
		script string
		status int
		class  hook.ErrorClass
	}{
		{"ok", 200, hook.ErrNone},
		{"status 204", 204, hook.ErrNone},
		{"status 299", 299, hook.ErrNone},
		{"two-lengths", 200, hook.ErrNone}, // the status came; what is unclear is where the body ends
		{"truncated", 200, hook.ErrNone},
		{"bad-chunk", 200, hook.ErrNone},
		{"close", 0, hook.ErrReset},
		{"reset", 0, hook.ErrReset},
		{"half-close", 0, hook.ErrReset},
		{"half-answer", 0, hook.ErrReset}, // a 200 whose headers never ended
		{"interim-only", 0, hook.ErrReset},
		{"garbage", 0, hook.ErrProtocol},
		{"old-http", 0, hook.ErrProtocol},
		{"huge-header", 0, hook.ErrProtocol},
		{"interim-flood", 0, hook.ErrProtocol},
		{"status-000", 0, hook.ErrOtherStatus},
		{"status-999", 999, hook.ErrOtherStatus},
		{"switch", 101, hook.ErrOtherStatus},
		{"redirect 301 http://127.0.0.1:1/", 301, hook.ErrRedirect},
		{"redirect 307 /elsewhere", 307, hook.ErrRedirect},
		{"status 304", 304, hook.ErrRedirect},
		{"status 400", 400, hook.ErrClientStatus},
		{"status 404", 404, hook.ErrClientStatus},
		{"status 410", 410, hook.ErrGone},
		{"status 429", 429, hook.ErrThrottled},
		{"retry-after 7", 429, hook.ErrThrottled},
		{"status 500", 500, hook.ErrServerStatus},
		{"status 503", 503, hook.ErrThrottled},
		{"endless-body", 500, hook.ErrServerStatus},
		{"gzip-bomb", 500, hook.ErrServerStatus},
		{"pipelined", 500, hook.ErrServerStatus},
		{"hangs-up", 0, hook.ErrReset},
	}
	for _, tt := range tests {
		t.Run(tt.script, func(t *testing.T) {
			t.Parallel()
			r := newReceiver(t, &journal{}, tt.script)
			got := newSender(t).Send(t.Context(), request(r.URL()))
			if got.StatusCode != tt.status || got.Class != tt.class {
				t.Errorf("status %d, class %q (%s), want %d %q", got.StatusCode, got.Class, got.Detail, tt.status, tt.class)
			}
			if got.Delivered() != (tt.class == hook.ErrNone) || (got.Detail == "") != got.Delivered() {
				t.Errorf("delivered %v, detail %q", got.Delivered(), got.Detail)
			}
			if strings.Contains(got.Detail, "127.0.0.1") || len(got.Detail) > maxDetail || strings.ContainsAny(got.Detail, "\r\n") {
				t.Errorf("detail %q", got.Detail)
			}
		})
	}
}

func TestTimeoutAndPhase(t *testing.T) {
	r := newReceiver(t, &journal{}, "hang")
	q := request(r.URL())
	q.Webhook.Timeout = 200 * time.Millisecond
	got := newSender(t).Send(t.Context(), q)
	if got.Class != hook.ErrTimeout || got.Phase != egress.PhaseFirstByte || got.Phases.Total > 1200*time.Millisecond {
		t.Errorf("%+v", got)
	}
}

func TestLeaseOver(t *testing.T) {
	var j journal
	r := newReceiver(t, &j)
	q := request(r.URL())
	q.May = func() bool { return false }
	if got := newSender(t).Send(t.Context(), q); got.Class != hook.ErrOwnFault || len(j.all()) != 0 {
		t.Errorf("%+v; the receiver got %d", got, len(j.all()))
	}
}

func TestUnsignable(t *testing.T) {
	var j journal
	r := newReceiver(t, &j)
	q := request(r.URL())
	q.Webhook.Scheme = "rot13"
	got := newSender(t).Send(t.Context(), q)
	if got.Class != hook.ErrInternal || len(j.all()) != 0 {
		t.Errorf("%+v", got)
	}
}

// door is an egress that does what the test says.
type door func(context.Context, *egress.Request) (egress.Answer, error)

func (d door) Do(ctx context.Context, r *egress.Request) (egress.Answer, error) { return d(ctx, r) }

func TestPanicIsContained(t *testing.T) {
	var told any
	s := New(door(func(context.Context, *egress.Request) (egress.Answer, error) { panic("secret " + secret) }), "test",
		func(v any, stack []byte) {
			if told = v; len(stack) == 0 {
				t.Error("no stack")
			}
		})
	got := s.Send(t.Context(), request("http://127.0.0.1/"))
	if got.Class != hook.ErrInternal || got.StatusCode != 0 || got.Delivered() || got.TimestampText == "" || told == nil {
		t.Errorf("%+v, told %v", got, told)
	}
	if strings.Contains(got.Detail, secret) {
		t.Error("the panic's text got into the record")
	}
}

func TestDetailIsOneBoundedLine(t *testing.T) {
	long := strings.Repeat("é\n", 1000)
	s := New(door(func(context.Context, *egress.Request) (egress.Answer, error) {
		return egress.Answer{}, &egress.Error{Class: hook.ErrTLS, Detail: long, Err: errors.New("x")}
	}), "test", nil)
	got := s.Send(t.Context(), request("http://127.0.0.1/"))
	if len(got.Detail) != maxDetail || strings.Trim(got.Detail, " ") != "" {
		t.Errorf("%q", got.Detail)
	}
}

// During a rotation the receivers that know either secret verify.
func TestRotation(t *testing.T) {
	var j journal
	r := newReceiver(t, &j)
	q := request(r.URL())
	q.Webhook.Secrets = hook.Secrets{Current: hook.NewSecret(), Previous: secret, PreviousExpires: time.Now().Add(time.Hour)}
	newSender(t).Send(t.Context(), q)
	if d := j.all()[0]; d.Invalid != nil || len(strings.Fields(d.Header.Get("Webhook-Signature"))) != 2 {
		t.Errorf("%v: %v", d.Invalid, d.Header)
	}
}

// What an attempt costs besides the network: signing by two schemes, headers, classification.
func BenchmarkSend(b *testing.B) {
	s := New(door(func(context.Context, *egress.Request) (egress.Answer, error) {
		return egress.Answer{Status: 200}, nil
	}), "bench", nil)
	q := request("http://127.0.0.1/")
	q.Body = wire.Body("conversation", []byte(strings.Repeat(`{"id":1} `, 100)), hook.DataString)
	b.ReportAllocs()
	for b.Loop() {
		if got := s.Send(b.Context(), q); !got.Delivered() {
			b.Fatal(got.Detail)
		}
	}
}

// A server that asked for a client certificate speaks of its absence by 400 or 403: that is about the
// endpoint, not about the event.
func TestMissingClientCertificate(t *testing.T) {
	for _, tt := range []struct {
		status int
		asked  bool
		class  hook.ErrorClass
	}{
		{400, true, hook.ErrTLS},
		{403, true, hook.ErrTLS},
		{400, false, hook.ErrClientStatus}, // the controls
		{404, true, hook.ErrClientStatus},
		{500, true, hook.ErrServerStatus},
		{200, true, hook.ErrNone},
	} {
		s := New(door(func(context.Context, *egress.Request) (egress.Answer, error) {
			return egress.Answer{Status: tt.status, ClientCertificate: tt.asked}, nil
		}), "test", nil)
		got := s.Send(t.Context(), request("https://example.com/"))
		if got.Class != tt.class || strings.Contains(got.Detail, "client certificate") != (tt.class == hook.ErrTLS) {
			t.Errorf("%d, asked %t: %s, %q", tt.status, tt.asked, got.Class, got.Detail)
		}
	}
}

// TestLargeBodiesTakeTurns: while others sign, a large body waits, is signed as of when its turn comes, and
// gives up when the server ends or its time has passed, which is not the endpoint's fault; a small one, of
// which signing takes microseconds, goes by.
func TestLargeBodiesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		went := make(chan int, 10)
		s := New(connected(func(r *egress.Request) (egress.Answer, error) {
			went <- len(r.Body)
			return egress.Answer{Status: 204}, nil
		}), "test", nil)
		for range cap(s.turns) {
			s.turns <- struct{}{}
		}
		begin := func(ctx context.Context, bytes int, timeout time.Duration) <-chan Result {
			done := make(chan Result, 1)
			go func() {
				done <- s.Send(ctx, Request{Webhook: &hook.Webhook{Secrets: hook.Secrets{Current: secret}, Timeout: timeout}, Event: &hook.Event{ID: "evt_1"}, Body: make([]byte, bytes)})
			}()
			synctest.Wait()
			return done
		}
		began := time.Now()
		waits := begin(t.Context(), large, time.Minute)
		ctx, end := context.WithCancel(t.Context())
		leaves := begin(ctx, large, time.Minute)
		late := begin(t.Context(), large, time.Second)
		if r := <-begin(t.Context(), large-1, time.Minute); !r.Delivered() || <-went != large-1 {
			t.Errorf("a small body: %+v", r)
		}
		end()
		if r := <-leaves; r.Class != hook.ErrOwnFault || r.TimestampText == "" {
			t.Errorf("when the server ended: %+v", r)
		}
		<-time.After(5 * time.Second)
		if len(went) > 0 {
			t.Fatal("a large body did not wait")
		}
		select {
		case r := <-late: // a quarter of its time has passed
			if r.Class != hook.ErrOwnFault {
				t.Errorf("when its time had passed: %+v", r)
			}
		default:
			t.Error("who has no time waits on for the turn")
		}
		<-s.turns
		if r := <-waits; !r.Delivered() || !r.StartedAt.Equal(hook.Now(began)) || r.TimestampText != wire.Timestamp(began.Add(5*time.Second)) || <-went != large {
			t.Errorf("when its turn came: %+v", r)
		}
		if len(went) > 0 {
			t.Error("an attempt was made that had no time")
		}
		if len(s.turns) != cap(s.turns)-1 {
			t.Errorf("%d turns are taken", len(s.turns))
		}
	})
}

// TestDeadEndpointsCostNoSignature: nothing is signed for an endpoint that no connection can be made to.
func TestDeadEndpointsCostNoSignature(t *testing.T) {
	s := newSender(t)
	for range cap(s.turns) {
		s.turns <- struct{}{} // whoever signed would wait for ever
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r := request("http://" + l.Addr().String())
	r.Body = make([]byte, large)
	if got := s.Send(t.Context(), r); got.Class != hook.ErrConnect {
		t.Errorf("got %+v", got)
	}
}

// connected is a door behind which every connection can be made.
type connected func(r *egress.Request) (egress.Answer, error)

func (f connected) Do(_ context.Context, r *egress.Request) (egress.Answer, error) {
	if _, err := r.Header(); err != nil {
		return egress.Answer{}, err
	}
	return f(r)
}
