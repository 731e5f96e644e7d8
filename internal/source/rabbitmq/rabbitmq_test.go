package rabbitmq

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/brokertest"
)

// shared is a broker that runs once for all tests.
var shared struct {
	sync.Once
	dir    string
	broker *brokertest.Broker
	err    error
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

type tests struct{ *testing.M }

func (m tests) Run() int {
	code := m.M.Run()
	if shared.broker != nil {
		shared.broker.Stop()
	}
	os.RemoveAll(shared.dir)
	return code
}

func started(t *testing.T) *brokertest.Broker {
	t.Helper()
	shared.Do(func() {
		if shared.dir, shared.err = os.MkdirTemp("", "rabbitmq"); shared.err == nil {
			shared.broker, shared.err = brokertest.RabbitMQ(shared.dir)
		}
	})
	if errors.Is(shared.err, brokertest.ErrMissing) && os.Getenv("CI") == "" { //nolint:forbidigo // a test may ask where it runs
		t.Skip(shared.err)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.broker
}

// queue is one of the test's own.
type queue struct {
	t      *testing.T
	s      *brokertest.Broker
	name   string
	number int // of messages published
}

func newQueue(t *testing.T, kind string) *queue {
	t.Helper()
	q := &queue{t: t, s: started(t), name: strings.NewReplacer("/", "-", ",", "-", "=", "-").Replace(t.Name())}
	q.declare(kind)
	return q
}

// settle is for how long a quorum queue must exist so that it outlives a kill.
const settle = 1500 * time.Millisecond

// declare makes it, durable and of a type.
func (q *queue) declare(kind string) {
	q.t.Helper()
	channel := q.channel()
	if _, err := channel.QueueDeclare(q.name, true, false, false, false, amqp.Table{"x-queue-type": kind}); err != nil {
		q.t.Fatal(err)
	}
}

func (q *queue) url() string { return "amqp://guest:guest@" + q.s.Addr }

// channel is one on a connection of its own.
func (q *queue) channel() *amqp.Channel {
	q.t.Helper()
	conn, err := amqp.Dial(q.url())
	if err != nil {
		q.t.Fatal(err)
	}
	q.t.Cleanup(func() { conn.Close() })
	channel, err := conn.Channel()
	if err != nil {
		q.t.Fatal(err)
	}
	return channel
}

// publish has the broker confirm so many messages, which are called by their number.
func (q *queue) publish(n int) {
	q.t.Helper()
	list := make([]amqp.Publishing, n)
	for i := range list {
		list[i] = amqp.Publishing{MessageId: fmt.Sprintf("m-%04d", q.number+i), Body: []byte("{}")}
	}
	q.number += n
	q.send(list...)
}

func (q *queue) send(list ...amqp.Publishing) {
	q.t.Helper()
	channel := q.channel()
	if err := channel.Confirm(false); err != nil {
		q.t.Fatal(err)
	}
	for _, p := range list {
		p.DeliveryMode = amqp.Persistent
		confirmed, err := channel.PublishWithDeferredConfirmWithContext(q.t.Context(), "", q.name, false, false, p)
		if err == nil && !confirmed.Wait() {
			err = errors.New("refused")
		}
		if err != nil {
			q.t.Fatal(err)
		}
	}
}

// open is a reader, as the runner opens one.
func (q *queue) open(settings string) (*reader, error) {
	d, err := define(fmt.Sprintf("url: %s, queue: %s%s", q.url(), q.name, settings))
	if err != nil {
		return nil, err
	}
	src, err := d.Open(q.t.Context())
	if err != nil {
		return nil, err
	}
	return src.(*reader), nil
}

func (q *queue) reader(settings string) *reader {
	q.t.Helper()
	r, err := q.open(settings)
	if err != nil {
		q.t.Fatal(err)
	}
	return r
}

// receive returns at least so many messages' ids in order; after each batch but the last it commits.
func (q *queue) receive(r *reader, n int) (ids []string) {
	q.t.Helper()
	for {
		b, err := r.Receive(q.t.Context())
		if err != nil {
			q.t.Fatal(err)
		}
		for _, m := range b.Messages {
			ids = append(ids, m.ID)
		}
		if len(ids) >= n || len(b.Messages) == 0 {
			return ids
		}
		if err := r.Commit(q.t.Context()); err != nil {
			q.t.Fatal(err)
		}
	}
}

func define(entry string) (source.Definition, error) {
	list, err := source.Parse([]byte("sources: [{name: q, kind: rabbitmq, "+entry+"}]"), map[string]source.Kind{"rabbitmq": Define})
	if err != nil {
		return source.Definition{}, err
	}
	return list[0], nil
}

// TestDefine: what is wrong is named by field, and no password is shown.
func TestDefine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for entry, want := range map[string]string{
		"url: amqp://h, queue: ''":                                      "queue: is required",
		"url: amqp://h":                                                 "queue: is required",
		"url: http://u:hunter2@h, queue: a":                             "url: must be amqp://",
		"url: 'amqp://u:hunter2@h:port', queue: a":                      "url: must be amqp://",
		"url: amqp://h, queue: a, prefetch: 501":                        "prefetch: must be 1 to 500",
		"url: amqp://h, queue: a, prefetch: -1":                         "prefetch: must be 1 to 500",
		"url: amqp://h, queue: a, tls: {ca_file: /none}":                "tls: goes with an amqps:// url",
		"url: amqps://h, queue: a, tls: {ca_file: /none}":               "tls.ca_file",
		"url: amqp://h, queue: a, exchange: b":                          "exchange",
		"url: amqp://u:hunter2@h, queue: a, password_file: " + file:     "password: goes without password_file",
		"url: amqp://u@h, queue: a, password_file: /none":               "password_file",
		"url: amqp://h, queue: a, company_id: 'not one'":                "company_id",
		"url: amqp://h, queue: " + strings.Repeat("a", 256) + ", id: 1": "id",
	} {
		_, err := define(entry)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %s", entry, err, want)
		}
	}
	for _, entry := range []string{"url: amqp://u:hunter2@h/v, queue: a", "url: amqp://u@h/v, queue: a, password_file: " + file} {
		d, err := define(entry)
		if err != nil || d.Where != "queue a at h" || !slices.Contains(d.Secrets, "hunter2") || !d.Alone {
			t.Errorf("%s: %+v %v", entry, d, err)
		}
	}
}

// TestOrderOfSeveralReaders: readers die one after the other with messages in hand, the broker dies too, and
// who comes next begins with the oldest message and goes on in order. The control does not sort.
func TestOrderOfSeveralReaders(t *testing.T) {
	for _, kind := range []string{"classic", "quorum"} {
		for _, control := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,control=%t", kind, control), func(t *testing.T) {
				q := newQueue(t, kind)
				q.publish(200)
				r := q.reader(", prefetch: 100")
				if got := q.receive(r, 100); len(got) != 100 || got[0] != "m-0000" {
					t.Fatalf("%d from %s on", len(got), got[0])
				}
				r.Close()
				r = q.reader(", prefetch: 50")
				q.receive(r, 50)
				r.tag = 10
				if err := r.Commit(t.Context()); err != nil { // so that ten more are delivered
					t.Fatal(err)
				}
				if got := q.receive(r, 1); got[0] != "m-0050" {
					t.Fatalf("then %s", got[0])
				}
				r.Close()
				r = q.reader("")
				defer r.Close()
				if control {
					r.first = 0
				}
				got := q.receive(r, 190)
				if sorted := len(got) == 190 && got[0] == "m-0010" && slices.IsSorted(got); sorted == (control && kind == "quorum") {
					t.Errorf("%d in order: %t: %v", len(got), sorted, got)
				}
			})
		}
	}
}

// TestBrokerDies: a broker that is killed has again what was not acknowledged, in order, and the reader's
// connection says so.
func TestBrokerDies(t *testing.T) {
	s := started(t)
	queues := map[string]*queue{}
	readers := map[string]*reader{}
	for _, kind := range []string{"classic", "quorum"} {
		t.Run(kind, func(t *testing.T) { // for its name
			q := newQueue(t, kind)
			q.publish(100)
			queues[kind] = q
		})
	}
	for kind, q := range queues {
		q.t = t
		readers[kind] = q.reader(", prefetch: 30")
		q.receive(readers[kind], 1)
	}
	<-time.After(settle)
	s.Kill()
	for kind, r := range readers {
		for since := time.Now(); ; {
			_, err := r.Receive(t.Context())
			if err != nil {
				break
			}
			if time.Since(since) > time.Minute {
				t.Fatalf("%s: the end is not noticed", kind)
			}
		}
		r.Close()
	}
	if _, err := queues["classic"].open(""); err == nil || !strings.Contains(err.Error(), "connect: ") {
		t.Errorf("without a broker: %v", err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	for kind, q := range queues {
		var r *reader
		for since := time.Now(); r == nil; { // a quorum elects a leader first
			var err error
			if r, err = q.open(""); err != nil && time.Since(since) > time.Minute {
				t.Fatal(err)
			}
		}
		if got := q.receive(r, 100); len(got) != 100 || !slices.IsSorted(got) {
			t.Errorf("%s: %d: %v", kind, len(got), got)
		}
		if err := r.Commit(t.Context()); err != nil {
			t.Error(err)
		}
		r.Close()
		r = q.reader("")
		if got := q.receive(r, 1); len(got) != 0 {
			t.Errorf("%s: what was acknowledged comes again: %v", kind, got)
		}
		r.Close()
	}
}

// TestAlone: a queue that somebody else reads is not read, nor one that keeps no account.
func TestAlone(t *testing.T) {
	q := newQueue(t, "quorum")
	first := q.reader("")
	if _, err := q.open(""); err == nil || !strings.Contains(err.Error(), "is read by another consumer") {
		t.Errorf("beside another: %v", err)
	}
	time.AfterFunc(aloneWait/3, first.Close)
	q.reader("").Close() // waits for it

	stream := &queue{t: t, s: q.s, name: "stream"}
	stream.declare("stream")
	if _, err := stream.open(""); err == nil || !strings.Contains(err.Error(), "is a stream") {
		t.Errorf("stream: %v", err)
	}
	missing := &queue{t: t, s: q.s, name: "missing"}
	if _, err := missing.open(""); err == nil || !strings.Contains(err.Error(), "no queue 'missing'") {
		t.Errorf("missing: %v", err)
	}
}

// TestMessages: the forms that messages have, and what they are called.
func TestMessages(t *testing.T) {
	q := newQueue(t, "classic")
	at := time.Date(2026, 11, 30, 9, 15, 0, 0, time.UTC)
	q.send(
		amqp.Publishing{MessageId: "order-1", Body: []byte(`{"event": "x"}`), Timestamp: at},
		amqp.Publishing{MessageId: "not an id!", Headers: amqp.Table{"n": int64(7)}},
		amqp.Publishing{ContentType: "application/json", Headers: amqp.Table{"cloudEvents:specversion": "1.0", "cloudEvents:id": []byte("1"), "cloudEvents:time": at}},
	)
	r := q.reader("")
	b, err := r.Receive(t.Context())
	if err != nil || len(b.Messages) != 3 {
		t.Fatal(len(b.Messages), err)
	}
	named, odd, cloud := b.Messages[0], b.Messages[1], b.Messages[2]
	if named.ID != "order-1" || named.Unnamed || string(named.Body) != `{"event": "x"}` || !named.WrittenAt.Equal(at) || named.Attributes != nil {
		t.Errorf("%+v", named)
	}
	if !strings.HasPrefix(odd.ID, "evt_") || odd.Unnamed {
		t.Errorf("%+v", odd)
	}
	if a := cloud.Attributes; !cloud.Unnamed || a["id"] != "1" || a["time"] != "2026-11-30T09:15:00Z" || a["datacontenttype"] != "application/json" {
		t.Errorf("%+v", cloud)
	}
	if lag, err := r.Lag(t.Context()); err != nil || lag.Messages != 3 || lag.Oldest.IsZero() {
		t.Errorf("%+v %v", lag, err)
	}
	// What has no name must not be accepted here when others get it.
	select {
	case <-b.Lost:
		t.Error("lost at once")
	default:
	}
	r.Close()
	<-b.Lost
	r = q.reader(", id_header: n")
	defer r.Close()
	again, err := r.Receive(t.Context())
	if err != nil || again.Messages[1].ID == odd.ID || again.Messages[1].Unnamed || !again.Messages[0].Unnamed || again.Messages[0].ID == named.ID {
		t.Errorf("by header: %+v %v", again.Messages, err)
	}
}

// TestNamedIsKept: where all messages have a name, a connection that breaks makes nobody drop what is in hand.
func TestNamedIsKept(t *testing.T) {
	q := newQueue(t, "classic")
	q.publish(1)
	r := q.reader("")
	b, err := r.Receive(t.Context())
	if err != nil || len(b.Messages) != 1 || b.Lost != nil {
		t.Errorf("%+v %v", b, err)
	}
	r.Close()
	if err := r.Commit(t.Context()); err == nil {
		t.Error("a commit succeeds without a connection")
	}
}
