package proof_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/brokertest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// bus is a broker that a test puts messages into.
type bus interface {
	// prepare makes what the source reads, and returns its entry of the file.
	prepare(ctx context.Context) (entry string, err error)
	// put returns when the broker has the message.
	put(ctx context.Context, key, id string, body []byte) error
	close()
}

// natsBus is a stream of NATS.
type natsBus struct {
	addr string
	mu   sync.Mutex
	conn *nats.Conn
}

func (b *natsBus) stream() (jetstream.JetStream, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == nil || b.conn.IsClosed() {
		conn, err := nats.Connect("nats://"+b.addr, nats.NoReconnect(), nats.Timeout(2*time.Second))
		if err != nil {
			return nil, err
		}
		b.conn = conn
	}
	return jetstream.New(b.conn)
}

func (b *natsBus) prepare(ctx context.Context) (string, error) {
	js, err := b.stream()
	if err == nil {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}})
	}
	return fmt.Sprintf("{name: bus, kind: nats, url: 'nats://%s', stream: EVENTS, ack_wait_seconds: 2}", b.addr), err
}

func (b *natsBus) put(ctx context.Context, key, id string, body []byte) error {
	js, err := b.stream()
	if err != nil {
		return err
	}
	_, err = js.PublishMsg(ctx, &nats.Msg{Subject: "events." + key, Data: body, Header: nats.Header{jetstream.MsgIDHeader: {id}}})
	return err
}

func (b *natsBus) close() {
	if b.conn != nil {
		b.conn.Close()
	}
}

// kafkaBus is a topic of Kafka with four partitions.
type kafkaBus struct {
	addr   string
	client *kgo.Client
}

func (b *kafkaBus) prepare(ctx context.Context) (_ string, err error) {
	b.client, err = kgo.NewClient(kgo.SeedBrokers(b.addr), kgo.RecordDeliveryTimeout(5*time.Second), kgo.ProducerLinger(0))
	if err != nil {
		return "", err
	}
	q := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = "events", 4, 1
	q.Topics = append(q.Topics, t)
	_, err = q.RequestWith(ctx, b.client)
	return fmt.Sprintf("{name: bus, kind: kafka, brokers: ['%s'], topics: [events]}", b.addr), err
}

func (b *kafkaBus) put(ctx context.Context, key, _ string, body []byte) error {
	return b.client.ProduceSync(ctx, &kgo.Record{Topic: "events", Key: []byte(key), Value: body}).FirstErr()
}

func (b *kafkaBus) close() {
	if b.client != nil {
		b.client.Close()
	}
}

// rabbitBus is a queue of RabbitMQ.
type rabbitBus struct {
	addr string
	kind string // of queue
	mu   sync.Mutex
	conn *amqp.Connection
	ch   *amqp.Channel
}

func (b *rabbitBus) channel() (*amqp.Channel, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil && !b.ch.IsClosed() {
		return b.ch, nil
	}
	if b.conn != nil {
		_ = b.conn.Close() // it is broken, mostly
	}
	conn, err := amqp.Dial("amqp://guest:guest@" + b.addr)
	if err != nil {
		return nil, err
	}
	b.conn = conn
	if b.ch, err = conn.Channel(); err != nil {
		return nil, err
	}
	return b.ch, b.ch.Confirm(false)
}

func (b *rabbitBus) prepare(ctx context.Context) (string, error) {
	ch, err := b.channel()
	if err == nil {
		_, err = ch.QueueDeclare("events", true, false, false, false, amqp.Table{"x-queue-type": b.kind})
	}
	pause(ctx, 1500*time.Millisecond) // a quorum queue that is younger does not outlive a kill
	return fmt.Sprintf("{name: bus, kind: rabbitmq, url: 'amqp://guest:guest@%s', queue: events}", b.addr), err
}

func (b *rabbitBus) put(ctx context.Context, _, id string, body []byte) error {
	ch, err := b.channel()
	if err != nil {
		return err
	}
	confirmed, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", "events", false, false, amqp.Publishing{MessageId: id, DeliveryMode: amqp.Persistent, Body: body})
	if err != nil {
		return err
	}
	if ok, err := confirmed.WaitContext(ctx); !ok || err != nil {
		return fmt.Errorf("not confirmed: %w", err)
	}
	return nil
}

func (b *rabbitBus) close() {
	if b.conn != nil {
		_ = b.conn.CloseDeadline(time.Now().Add(time.Second)) // the broker may be gone
	}
}

// busKeys are how many objects there are, in how many orders.
const busKeys = 6

// TestSources: what brokers hold reaches the receiver, once and in the order of its object, whoever is killed
// meanwhile: the server three times, the broker twice. What cannot be accepted waits among the dead letters, and
// can be retried once its topic is there.
func TestSources(t *testing.T) {
	type kind struct {
		start func(dir string) (*brokertest.Broker, error)
		bus   func(addr string) bus
	}
	kinds := map[string]kind{
		"nats":  {brokertest.NATS, func(addr string) bus { return &natsBus{addr: addr} }},
		"kafka": {brokertest.Kafka, func(addr string) bus { return &kafkaBus{addr: addr} }},
	}
	for _, queue := range rabbitQueues {
		kinds["rabbitmq, "+queue] = kind{brokertest.RabbitMQ, func(addr string) bus { return &rabbitBus{addr: addr, kind: queue} }}
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker, err := kind.start(t.TempDir())
			if errors.Is(err, brokertest.ErrMissing) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(broker.Stop)
			x := &sourcing{broker: broker, bus: kind.bus(broker.Addr)}
			defer x.bus.close()
			x.test(t)
		})
	}
}

// sourcing is a broker with a server that takes events from it.
type sourcing struct {
	*rig
	broker *brokertest.Broker
	bus    bus

	mu    sync.Mutex
	order map[string][]numbered // by object
}

type numbered struct {
	sequence int64
	number   int
}

func (x *sourcing) test(t *testing.T) {
	x.rig, x.order = newRig(t, "--sources-file", x.file(t), "--max-in-flight", fmt.Sprint(maxInFlight)), map[string][]numbered{}
	x.start()
	e := &endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, settings: `, "ordering": "object"`, each: x.arrived}
	x.subscribe(e)

	enough, stop := context.WithCancel(x.ctx)
	var producers sync.WaitGroup
	for key := range busKeys {
		producers.Go(func() { x.produce(enough, fmt.Sprintf("k%d", key)) })
	}
	x.putUntil("poison", []byte(`{"company_id":"c1","event":"order.shipped","data":{"id":"p"},"id":"poison"}`))
	crashes := x.havoc()
	stop()
	producers.Wait()
	x.settled([]string{"c1"}, time.Minute)
	x.judge(0, crashes)
	x.ordered(t)
	x.deadLetter(t)
}

// havoc kills the server three times and the broker twice.
func (x *sourcing) havoc() (crashes int) {
	for _, who := range brokerHavoc {
		pause(x.ctx, time.Duration(300+rand.IntN(500))*time.Millisecond) //nolint:gosec // a test's dice
		if who != "broker" {
			x.kill()
			crashes++
		}
		if who != "server" {
			x.broker.Kill()
			if err := x.broker.Start(); err != nil {
				x.t.Fatal(err)
			}
		}
		if who != "broker" {
			x.start()
		}
	}
	pause(x.ctx, 500*time.Millisecond)
	return crashes
}

// produce puts events of one object, one after the other.
func (x *sourcing) produce(ctx context.Context, key string) {
	for n := 1; ctx.Err() == nil; n++ {
		id := fmt.Sprintf("%s-%d", key, n)
		event := oracle.Event{ID: id, Company: "c1", Topic: "conversation", ObjectID: key, Data: fmt.Sprintf(`{"n": %d}`, n)}
		x.oracle.Publishing(event)
		x.putUntil(key, publication(&event))
		x.oracle.Answered(id, oracle.Acked)
		pause(ctx, 2*time.Millisecond)
	}
}

// putUntil puts a message until the broker has it, as a producer should: maybe twice.
func (x *sourcing) putUntil(key string, body []byte) {
	for x.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(x.ctx, 10*time.Second)
		var id struct{ ID string }
		_ = json.Unmarshal(body, &id)
		err := x.bus.put(ctx, key, id.ID, body)
		cancel()
		if err == nil {
			return
		}
		pause(x.ctx, 50*time.Millisecond)
	}
}

func (x *sourcing) arrived(d receiver.Delivery) {
	key, number, ok := strings.Cut(d.Header.Get(wire.HeaderEventID), "-")
	if !ok {
		return
	}
	var n numbered
	_, _ = fmt.Sscan(d.Header.Get(wire.HeaderSequence), &n.sequence)
	_, _ = fmt.Sscan(number, &n.number)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.order[key] = append(x.order[key], n)
}

// ordered checks that the log has the events of each object in the order in which they were put.
func (x *sourcing) ordered(t *testing.T) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for key, list := range x.order {
		sort.Slice(list, func(i, j int) bool { return list[i].sequence < list[j].sequence })
		for i := 1; i < len(list); i++ {
			if list[i].sequence != list[i-1].sequence && list[i].number < list[i-1].number {
				t.Errorf("%s-%d (number %d of the webhook) is in the log before %s-%d (number %d)", key, list[i-1].number, list[i-1].sequence, key, list[i].number, list[i].sequence)
				break
			}
		}
	}
}

// deadLetter has the poison accepted after all.
func (x *sourcing) deadLetter(t *testing.T) {
	var list struct {
		Data []struct{ ID, Code, Source string }
	}
	x.ask(http.MethodGet, "/v1/dead-letters?source=bus", "", "", &list)
	if len(list.Data) != 1 || list.Data[0].Code != "unknown_topic" {
		t.Fatalf("dead letters: %+v", list.Data)
	}
	x.ask(http.MethodPut, "/v1/topics/order.shipped", "", `{"category":"ORDER","description":"d"}`, nil)
	x.ask(http.MethodPost, "/v1/dead-letters/"+list.Data[0].ID+"/retry", "", "", nil)
	var event struct{ ID string }
	x.ask(http.MethodGet, "/v1/events/poison", "c1", "", &event)
	var sources struct {
		Data []struct {
			State                          string
			Accepted, Duplicates, Received int64
			DeadLetters                    int64    `json:"dead_letters"`
			Lag                            *float64 `json:"lag_seconds"`
		}
	}
	x.ask(http.MethodGet, "/v1/sources", "", "", &sources)
	if len(sources.Data) != 1 || sources.Data[0].State != "running" {
		t.Errorf("sources: %+v", sources.Data)
	}
	t.Logf("since the last start: %+v", sources.Data)
}

// TestSourceKilledBeforeCommit: what was committed to the log and not at the source comes again, and is the same
// event. That it does come again is the control: nothing was committed there before it was in the log.
func TestSourceKilledBeforeCommit(t *testing.T) {
	path, err := armable()
	if err != nil {
		t.Fatal(err)
	}
	broker, err := brokertest.NATS(t.TempDir())
	if errors.Is(err, brokertest.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Stop)
	x := &sourcing{broker: broker, bus: &natsBus{addr: broker.Addr}, order: map[string][]numbered{}}
	defer x.bus.close()
	x.rig = newRig(t, "--sources-file", x.file(t))
	x.options.Binary, x.options.Env = path, []string{"FAILPOINT=" + string(failpoint.Taken) + ":1"}
	server := x.start()
	x.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, each: x.arrived})
	const events = 20
	for n := range events {
		event := oracle.Event{ID: fmt.Sprintf("k-%d", n), Company: "c1", Topic: "conversation", ObjectID: "k", Data: fmt.Sprint(n)}
		x.oracle.Publishing(event)
		x.putUntil("k", publication(&event))
		x.oracle.Answered(event.ID, oracle.Acked)
	}
	select {
	case <-server.Ended():
	case <-time.After(30 * time.Second):
		t.Fatal("the server did not reach the point")
	}
	x.leaves(server)
	x.oracle.Crashed(time.Now())
	x.options.Env = nil
	x.start()
	x.settled([]string{"c1"}, time.Minute)
	x.judge(0, 1)
	x.ordered(t)
	eventually(t, time.Minute, "what was in the log comes again", func() bool {
		var sources struct {
			Data []struct{ Accepted, Duplicates int64 }
		}
		x.ask(http.MethodGet, "/v1/sources", "", "", &sources)
		return sources.Data[0].Duplicates > 0 && sources.Data[0].Accepted < events
	})
}

// file makes what the source reads, and the file that names it.
func (x *sourcing) file(t *testing.T) string {
	t.Helper()
	entry, err := x.bus.prepare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "sources.yaml")
	if err := os.WriteFile(path, []byte("sources:\n- "+entry+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
