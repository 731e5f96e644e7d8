package deliver

import (
	"log/slog"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Events that wait for the loop, or for a read of the log, are bounded in bytes, over all partitions
// together, and not only in number.
func TestInboxesAreBoundedInBytes(t *testing.T) {
	const partitions, each, data = 64, 100, 1 << 20
	c := newCore(Config{})
	for id := range hook.Partition(partitions) {
		c.own(id)
		c.partitions[id].version, c.partitions[id].reading = 0, true // whatever comes waits
	}
	var events []*hook.Event
	shared := make([]byte, data) // the test itself needs little memory
	for i := range each {
		events = append(events, &hook.Event{Offset: hook.Offset(i + 1), Data: shared})
	}
	sum := func() (n int64) {
		for _, p := range c.partitions {
			n += size(p.inbox)
		}
		return n
	}
	most := int64(0)
	for i := range each {
		for id := range hook.Partition(partitions) {
			c.committed(id, events[i:i+1], 0)
			most = max(most, sum())
			if sum() != c.inboxes {
				t.Fatalf("the inboxes hold %d bytes, and %d are counted", sum(), c.inboxes)
			}
		}
	}
	if most > maxInboxes {
		t.Errorf("the partitions' inboxes held %d bytes, want at most %d", most, maxInboxes)
	}
	if control := int64(partitions*each) * data; control <= maxInboxes {
		t.Errorf("control: all events together have only %d bytes", control)
	}
	for id := range hook.Partition(partitions) {
		p := c.partitions[id]
		if len(p.inbox) < each && !p.missed {
			t.Errorf("partition %d: nothing says that events are missing", id)
		}
		c.tailRead(id, nil, 0, false, nil) // it came too early for all of them
		if len(p.inbox) < each && !p.reading {
			t.Errorf("partition %d is not read again", id)
		}
		c.released = map[hook.Partition]bool{}
		c.disown(p)
	}
	if c.inboxes != 0 {
		t.Errorf("%d bytes are counted of partitions that are another's", c.inboxes)
	}

	e := New(Config{Log: slog.New(slog.DiscardHandler)})
	for i := range each {
		e.Committed(hook.Partition(i%partitions), events[i:i+1], 0)
		if n := size(flat(e.inbox.commits)); n > maxInboxes || n != e.inbox.bytes {
			t.Fatalf("the engine's inbox holds %d bytes, counts %d, and may hold %d", n, e.inbox.bytes, maxInboxes)
		}
	}
}

func flat(commits []commit) (events []*hook.Event) {
	for _, x := range commits {
		events = append(events, x.events...)
	}
	return events
}
