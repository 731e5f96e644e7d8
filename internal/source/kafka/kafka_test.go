package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.yaml.in/yaml/v4"

	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/brokertest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/kafka"
)

var broker *brokertest.Broker // nil: there is none

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kafka")
	if err != nil {
		panic(err)
	}
	broker, err = brokertest.Kafka(dir)
	if err != nil && !errors.Is(err, brokertest.ErrMissing) {
		panic(err)
	}
	code := m.Run()
	if broker != nil {
		broker.Stop()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// topic is a topic of a test's own, with one partition.
type topic struct {
	*testing.T
	client *kgo.Client
	name   string
}

func newTopic(t *testing.T) *topic {
	t.Helper()
	if broker == nil {
		t.Skip(brokertest.ErrMissing)
	}
	x := &topic{T: t, name: t.Name()}
	x.create()
	return x
}

// create makes the topic, and a client that knows no other of this name.
func (x *topic) create() {
	x.Helper()
	var err error
	if x.client, err = kgo.NewClient(kgo.SeedBrokers(broker.Addr), kgo.MetadataMinAge(50*time.Millisecond)); err != nil {
		x.Fatal(err)
	}
	x.Cleanup(x.client.Close)
	q := kmsg.NewPtrCreateTopicsRequest()
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = x.name, 1, 1
	q.Topics = append(q.Topics, t)
	for since := time.Now(); ; <-time.After(100 * time.Millisecond) {
		r, err := q.RequestWith(x.Context(), x.client)
		if err == nil && kerr.ErrorForCode(r.Topics[0].ErrorCode) == nil {
			return
		}
		if time.Since(since) > 30*time.Second {
			x.Fatal(err, r)
		}
	}
}

func (x *topic) remove() {
	x.Helper()
	q := kmsg.NewPtrDeleteTopicsRequest()
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.Topic = new(x.name)
	q.Topics = append(q.Topics, t)
	if _, err := q.RequestWith(x.Context(), x.client); err != nil {
		x.Fatal(err)
	}
}

func (x *topic) put(texts ...string) {
	x.Helper()
	for _, text := range texts {
		r := &kgo.Record{Topic: x.name, Partition: 0, Value: []byte(text), Headers: []kgo.RecordHeader{{Key: "event-id", Value: []byte("named-" + text)}}}
		if err := x.client.ProduceSync(x.Context(), r).FirstErr(); err != nil {
			x.Fatal(err)
		}
	}
}

func define(name, more string) (source.Definition, error) {
	addr := "127.0.0.1:1"
	if broker != nil {
		addr = broker.Addr
	}
	text := fmt.Sprintf("{name: bus, kind: kafka, brokers: ['%s'], topics: [%s], group: %s%s}", addr, name, name, more)
	return kafka.Define(func(into any) error { return yaml.Load([]byte(text), into, yaml.WithKnownFields()) })
}

func (x *topic) open(more string) source.Source {
	x.Helper()
	d, err := define(x.name, more)
	if err != nil {
		x.Fatal(err)
	}
	s, err := d.Open(x.Context())
	if err != nil {
		x.Fatal(err)
	}
	return s
}

// receive receives the next batch that holds something.
func (x *topic) receive(s source.Source) source.Batch {
	x.Helper()
	ctx, cancel := context.WithTimeout(x.Context(), time.Minute)
	defer cancel()
	expired := int64(0)
	for {
		b, err := s.Receive(ctx)
		expired += b.Expired
		if ctx.Err() != nil {
			x.Fatal("nothing comes: ", err)
		}
		if len(b.Messages) > 0 {
			b.Expired = expired
			return b
		}
	}
}

func texts(b source.Batch) string {
	var list []string
	for _, m := range b.Messages {
		list = append(list, string(m.Body))
	}
	return strings.Join(list, " ")
}

// TestRebalance: while records are in hand no other member gets their partition, and whoever holds them hears
// that one waits for it. What is dropped for it is not committed, and the other one has it.
func TestRebalance(t *testing.T) {
	t.Parallel()
	x := newTopic(t)
	x.put("1", "2")
	first := x.open("")
	defer first.Close()
	b := x.receive(first)
	if texts(b) != "1 2" || b.Lost == nil {
		t.Fatal(texts(b))
	}
	second := x.open("")
	defer second.Close()
	end, cancel := context.WithCancel(t.Context())
	defer cancel()
	until := func(ctx context.Context, s source.Source, got chan<- source.Batch) {
		for ctx.Err() == nil {
			if b, err := s.Receive(ctx); err == nil && len(b.Messages) > 0 {
				got <- b
				return
			}
		}
	}
	got := make(chan source.Batch, 1)
	go until(t.Context(), second, got)
	select {
	case <-b.Lost:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody says that a rebalance waits")
	}
	select {
	case early := <-got:
		t.Errorf("another member got %s, which are in hand", texts(early))
	default:
	}
	// Two members and one partition: either has it then, and reads it from what is committed.
	mine := make(chan source.Batch, 1)
	go until(end, first, mine)
	select {
	case again := <-got:
		if texts(again) != "1 2" {
			t.Errorf("the other member got %s", texts(again))
		}
	case again := <-mine:
		if texts(again) != "1 2" {
			t.Errorf("it got %s again", texts(again))
		}
	case <-time.After(30 * time.Second):
		t.Error("what was dropped is lost")
	}
}

// TestTopicMadeAnew: the offsets of a topic made anew repeat, and its events are others. A reader whose topic went says
// so, and the next one reads the new topic from its beginning.
func TestTopicMadeAnew(t *testing.T) {
	t.Parallel()
	x := newTopic(t)
	x.put("1", "2")
	first := x.open("")
	before := x.receive(first)
	if err := first.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.remove()
	ended := false
	for since := time.Now(); !ended && time.Since(since) < time.Minute; {
		_, err := first.Receive(t.Context())
		ended = err != nil
	}
	first.Close()
	if !ended {
		t.Error("a reader goes on whose topic is gone")
	}
	x.create()
	x.put("1", "2")
	second := x.open("")
	defer second.Close()
	after := x.receive(second)
	if texts(after) != "1 2" || after.Messages[0].ID == before.Messages[0].ID || !strings.HasSuffix(after.Messages[0].Key, "/0/0") || !strings.HasSuffix(before.Messages[0].Key, "/0/0") {
		t.Errorf("%+v, before %+v", after.Messages, before.Messages)
	}
}

// TestExpired: what expired before it was read is counted. The control is the client by itself, which says nothing.
func TestExpired(t *testing.T) {
	t.Parallel()
	x := newTopic(t)
	x.put("1", "2")
	first := x.open(", id_header: event-id")
	b := x.receive(first)
	if b.Expired != 0 || b.Messages[0].ID != "named-1" {
		t.Errorf("%+v", b)
	}
	if err := first.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	lag, err := first.Lag(t.Context())
	if err != nil || lag.Messages != 0 || !lag.Oldest.IsZero() {
		t.Errorf("lag %+v, %v", lag, err)
	}
	first.Close()
	x.put("3", "4", "5", "6")
	q := kmsg.NewPtrDeleteRecordsRequest()
	r := kmsg.NewDeleteRecordsRequestTopic()
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Offset = 5
	r.Topic, r.Partitions, q.TimeoutMillis = x.name, append(r.Partitions, p), 10_000
	q.Topics = append(q.Topics, r)
	for _, shard := range x.client.RequestSharded(t.Context(), q) {
		if shard.Err != nil {
			t.Fatal(shard.Err)
		}
	}
	alone, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{x.name: {0: kgo.NewOffset().At(2)}}), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer alone.Close()
	fetches := alone.PollFetches(t.Context())
	if fetches.Err() != nil || fetches.NumRecords() != 1 || string(fetches.Records()[0].Value) != "6" {
		t.Errorf("the client says %v, %d records: so nobody need count", fetches.Err(), fetches.NumRecords())
	}
	second := x.open("")
	defer second.Close()
	if b := x.receive(second); texts(b) != "6" || b.Expired != 3 {
		t.Errorf("%s, %d expired", texts(b), b.Expired)
	}
	if lag, err := second.Lag(t.Context()); err != nil || lag.Messages != 1 || lag.Oldest.IsZero() {
		t.Errorf("lag %+v, %v", lag, err)
	}
}

// TestEntries: what is wrong in the file is named.
func TestEntries(t *testing.T) {
	for more, want := range map[string]string{
		", sasl: plain": "sasl: ", ", sasl: md5, username: u": "sasl: ", ", username: u": "sasl: ", ", password: p, password_file: f": "password: ", ", nothing: 1": "nothing",
		", password_file: /nowhere": "password_file: ",
	} {
		if _, err := define("t", more); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
	d, err := kafka.Define(func(into any) error {
		return yaml.Load([]byte(`{name: bus, kind: kafka, brokers: ["127.0.0.1:1"], topics: [t], sasl: plain, username: u, password: hunter2}`), into, yaml.WithKnownFields())
	})
	if err != nil || strings.Contains(d.Where, "hunter2") || len(d.Secrets) != 1 || d.Secrets[0] != "hunter2" {
		t.Errorf("%+v, %v", d, err)
	}
}
