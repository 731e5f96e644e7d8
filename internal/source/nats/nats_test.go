package nats_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.yaml.in/yaml/v4"

	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/brokertest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/nats"
)

var broker *brokertest.Broker // nil: there is none

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "nats")
	if err != nil {
		panic(err)
	}
	broker, err = brokertest.NATS(dir)
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

// stream makes a stream of its own for a test.
func stream(t *testing.T, change func(*jetstream.StreamConfig)) jetstream.JetStream {
	t.Helper()
	if broker == nil {
		t.Skip(brokertest.ErrMissing)
	}
	conn, err := client.Connect("nats://" + broker.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	c := jetstream.StreamConfig{Name: t.Name(), Subjects: []string{t.Name() + ".>"}}
	if change != nil {
		change(&c)
	}
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return js
}

func put(t *testing.T, js jetstream.JetStream, subject string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := js.Publish(t.Context(), t.Name()+"."+subject, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
}

func define(t *testing.T, more string) (source.Definition, error) {
	t.Helper()
	url := "nats://127.0.0.1:1"
	if broker != nil {
		url = "nats://" + broker.Addr
	}
	text := fmt.Sprintf("{name: bus, kind: nats, url: '%s', stream: %s, ack_wait_seconds: 2%s}", url, t.Name(), more)
	return nats.Define(func(into any) error { return yaml.Load([]byte(text), into, yaml.WithKnownFields()) })
}

func open(t *testing.T, more string) source.Source {
	t.Helper()
	d, err := define(t, more)
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// receive receives until so many messages came.
func receive(t *testing.T, s source.Source, n int) (texts []string, ids map[string]string) {
	t.Helper()
	ids = map[string]string{}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for len(texts) < n {
		b, err := s.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range b.Messages {
			texts = append(texts, string(m.Body))
			ids[string(m.Body)] = m.ID
		}
	}
	return texts, ids
}

// TestWhatIsLeftComesFirst: what a reader was given and did not acknowledge is read by the next one before what is
// newer, and is the same event when the server sends it again. The control is a reader that only pulls.
func TestWhatIsLeftComesFirst(t *testing.T) {
	js := stream(t, func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy })
	put(t, js, "a", "1", "2", "3")
	first := open(t, "")
	if got, _ := receive(t, first, 3); strings.Join(got, "") != "123" {
		t.Fatal(got)
	}
	first.Close()
	put(t, js, "a", "4")

	c, err := js.Consumer(t.Context(), t.Name(), "atlas-webhooks")
	if err != nil {
		t.Fatal(err)
	}
	if n := c.CachedInfo().NumAckPending; n != 3 {
		t.Fatalf("%d are not acknowledged", n)
	}
	second := open(t, "")
	got, ids := receive(t, second, 3)
	if strings.Join(got, "") != "123" {
		t.Errorf("first came %v", got)
	}
	if err := second.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	later := map[string]bool{}
	for len(later) < 4 {
		texts, again := receive(t, second, 1)
		for _, text := range texts {
			later[text] = true
			if id, ok := ids[text]; ok && id != again[text] {
				t.Errorf("%s has the id %s, and had %s", text, again[text], id)
			}
		}
		if err := second.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	lag, err := second.Lag(t.Context())
	if err != nil || lag.Messages != 0 || !lag.Oldest.IsZero() {
		t.Errorf("lag %+v, %v", lag, err)
	}
}

// TestWhatIsLeftControl: a consumer that is only pulled brings what is newer first.
func TestWhatIsLeftControl(t *testing.T) {
	js := stream(t, nil)
	put(t, js, "a", "1", "2")
	first := open(t, "")
	receive(t, first, 2)
	first.Close()
	put(t, js, "a", "3")
	c, err := js.Consumer(t.Context(), t.Name(), "atlas-webhooks")
	if err != nil {
		t.Fatal(err)
	}
	m, err := c.Next()
	if err != nil || string(m.Data()) != "3" {
		t.Errorf("%v %v: what is left came first, so that the reader need not read it from the stream", m, err)
	}
}

// TestStreamMadeAnew: its sequences repeat, and its events are others. The reader says that it was taken away.
func TestStreamMadeAnew(t *testing.T) {
	js := stream(t, nil)
	put(t, js, "a", "1")
	first := open(t, "")
	_, before := receive(t, first, 1)
	if err := js.DeleteStream(t.Context(), t.Name()); err != nil {
		t.Fatal(err)
	}
	ended := false
	for range 10 {
		if _, err := first.Receive(t.Context()); err != nil {
			ended = true
			break
		}
	}
	if !ended {
		t.Error("a reader goes on whose stream is gone")
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: t.Name(), Subjects: []string{t.Name() + ".>"}}); err != nil {
		t.Fatal(err)
	}
	put(t, js, "a", "1")
	if _, after := receive(t, open(t, ""), 1); after["1"] == before["1"] {
		t.Errorf("the event of a stream made anew has the id of the old one, %s", after["1"])
	}
}

// TestInHand: what is received at once is bounded, so that no time-out of the server runs on what only waits here.
func TestInHand(t *testing.T) {
	js := stream(t, nil)
	for n := range 2 * source.MaxMessages {
		if _, err := js.PublishAsync(t.Name()+".a", fmt.Append(nil, n)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
	s := open(t, "")
	b, err := s.Receive(t.Context())
	if err != nil || len(b.Messages) != source.MaxMessages {
		t.Fatalf("%d messages, %v", len(b.Messages), err)
	}
	c, err := js.Consumer(t.Context(), t.Name(), "atlas-webhooks")
	if err != nil || c.CachedInfo().NumAckPending != source.MaxMessages {
		t.Errorf("%+v, %v", c.CachedInfo(), err)
	}
	lag, err := s.Lag(t.Context())
	if err != nil || lag.Messages != 2*source.MaxMessages || time.Since(lag.Oldest) > time.Minute {
		t.Errorf("lag %+v, %v", lag, err)
	}
}

// TestForeignConsumers: one that would lose messages is refused.
func TestForeignConsumers(t *testing.T) {
	js := stream(t, nil)
	for want, c := range map[string]jetstream.ConsumerConfig{
		"must be explicit":      {Durable: "none", AckPolicy: jetstream.AckNonePolicy},
		"must be -1":            {Durable: "few", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 5},
		"not those of the file": {Durable: "other", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: t.Name() + ".b"},
	} {
		if _, err := js.CreateConsumer(t.Context(), t.Name(), c); err != nil {
			t.Fatal(err)
		}
		d, err := define(t, ", consumer: "+c.Durable+", subjects: ["+t.Name()+".a]")
		if err != nil {
			t.Fatal(err)
		}
		if s, err := d.Open(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", c.Durable, err)
			if err == nil {
				s.Close()
			}
		}
	}
}

// TestEntries: what is wrong in the file is named.
func TestEntries(t *testing.T) {
	for more, want := range map[string]string{
		", consumer: a.b": "consumer: ", ", nothing: 1": "nothing", ", tls: {ca_file: /nowhere}": "tls.ca_file: ",
		", tls: {cert_file: x}": "cert_file and key_file",
	} {
		if _, err := define(t, more); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", more, err)
		}
	}
	d, err := nats.Define(func(into any) error {
		return yaml.Load([]byte(`{name: bus, kind: nats, stream: S, url: "nats://u:p%40ss@127.0.0.1:1,tls://token@h"}`), into, yaml.WithKnownFields())
	})
	if err != nil || strings.Contains(d.Where, "p@ss") || strings.Contains(d.Where, "token") || strings.Join(d.Secrets, " ") != "p%40ss p@ss token" {
		t.Errorf("%+v, %v", d, err)
	}
	if _, err := d.Open(t.Context()); err == nil {
		t.Error("a server that is not there can be opened")
	}
}
