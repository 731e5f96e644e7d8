//go:build full

package rabbitmq

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestAlarm: while the broker is short of memory (of disk it does the same), everything is taken and stays taken. The control acknowledges
// on a connection that has published, which the broker no longer listens to.
func TestAlarm(t *testing.T) {
	q := newQueue(t, "classic")
	q.publish(100)
	control := &queue{t: t, s: q.s, name: "control"} // the broker does not notice either that its consumer goes
	control.declare("classic")
	control.publish(100)
	config := filepath.Join(shared.dir, "rabbitmq.conf")
	before, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	restart := func(text string) {
		t.Helper()
		q.s.Kill()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := q.s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	restart(string(before) + "vm_memory_high_watermark.absolute = 16MB\n")
	t.Cleanup(func() { restart(string(before)) })

	conn, err := amqp.Dial(q.url())
	if err != nil {
		t.Fatal(err)
	}
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := channel.Qos(50, 0, false); err != nil {
		t.Fatal(err)
	}
	deliveries, err := channel.Consume(control.name, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var last amqp.Delivery
	for range 50 {
		last = <-deliveries
	}
	if err := channel.PublishWithContext(t.Context(), "", "nowhere", false, false, amqp.Publishing{}); err != nil {
		t.Fatal(err)
	}
	select {
	case b := <-blocked:
		if !strings.Contains(b.Reason, "memory") {
			t.Errorf("blocked for %s", b.Reason)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("there is no alarm: %s", q.s.Tail())
	}
	if err := last.Ack(true); err != nil {
		t.Fatal(err)
	}
	select {
	case <-deliveries:
		t.Error("control: the acknowledgement is heard")
	case <-time.After(2 * time.Second):
	}
	_ = conn.CloseDeadline(time.Now().Add(time.Second)) // nobody answers

	r := q.reader("")
	if got := q.receive(r, 100); len(got) != 100 || got[0] != "m-0000" {
		t.Errorf("%d: %v", len(got), got)
	}
	if err := r.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.Close()
	r = q.reader("")
	defer r.Close()
	if got := q.receive(r, 1); len(got) != 0 {
		t.Errorf("what was acknowledged comes again: %v", got)
	}
}
