package deliver

import (
	"fmt"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// desk is slots with lanes that always want another one.
type desk struct {
	slots
	held []*consumer // who holds each, in the order they were given
}

func newDesk(most int) *desk {
	return &desk{slots: slots{most: most, mostSlow: max(most/4, 1), reserve: most / 4, mostByte: 1 << 30, flights: map[eventAt]int{}}}
}

func newTestCompany(key int) *company {
	c := &company{key: hook.CompanyKey(key)}
	for i := range c.waiting {
		c.waiting[i] = queue{company: c, index: -1}
	}
	return c
}

func testLane(c *company, quick bool) *consumer {
	l := &consumer{Lane: lane.New(0, 0, 0), subscription: &subscription{company: c, part: &partition{}}}
	l.Proven = quick
	return l
}

var someItem = lane.Item{Payload: &lane.Payload{Event: &hook.Event{Data: []byte("{}")}}}

// serve gives slots until there are none to give; who got one asks for the next.
func (d *desk) serve() {
	for l := d.next(); l != nil; l = d.next() {
		it := someItem
		d.take(l, &it)
		d.held = append(d.held, l)
		d.ready(l)
	}
}

// finish frees the slot that was given first.
func (d *desk) finish() *consumer {
	l := d.held[0]
	d.held = d.held[1:]
	d.release(l, &lane.Item{Bytes: 2, Pooled: l.Pooled()})
	return l
}

func (d *desk) of(c *company) (n int) {
	for _, l := range d.held {
		if l.subscription.company == c {
			n++
		}
	}
	return n
}

func TestSlotsGoToWhoHoldsTheFewest(t *testing.T) {
	d := newDesk(30)
	big, small := newTestCompany(1), newTestCompany(2)
	for range 9 {
		d.ready(testLane(big, true))
	}
	d.ready(testLane(small, true))
	d.serve()
	// Both hold a quarter: the last one is kept for a third.
	if b, s := d.of(big), d.of(small); b != 12 || s != 11 {
		t.Errorf("9 lanes and 1 lane of two companies hold %d and %d of 30", b, s)
	}
	lanes := map[*consumer]int{}
	for _, l := range d.held {
		if l.subscription.company == big {
			lanes[l]++
		}
	}
	for _, n := range lanes {
		if n > 2 {
			t.Errorf("one lane holds %d of its company's 12, there are 9 lanes", n)
		}
	}
}

func TestSlotsAreNotWasted(t *testing.T) {
	for _, most := range []int{4, 8, 64} {
		d := newDesk(most)
		var companies []*company
		for i := range 5 { // each below a quarter when the last slots go
			companies = append(companies, newTestCompany(i))
			d.ready(testLane(companies[i], true))
		}
		d.serve()
		if d.slots.taken != most {
			t.Errorf("five companies hold %d of %d", d.slots.taken, most)
		}
		for range 100 {
			d.finish()
			if d.serve(); d.slots.taken != most {
				t.Fatalf("%d of %d are held while lanes wait", d.slots.taken, most)
			}
		}
	}
}

// The last quarter is kept from who holds a quarter: a company that comes later finds a slot at once.
func TestSlotsKeepAQuarterFromTheGreedy(t *testing.T) {
	for _, guard := range []bool{true, false} {
		d := newDesk(64)
		if !guard {
			d.reserve = 0
		}
		greedy, late := newTestCompany(1), newTestCompany(2)
		for range 100 {
			d.ready(testLane(greedy, true))
		}
		d.serve()
		if n, want := d.of(greedy), map[bool]int{true: 48, false: 64}[guard]; n != want {
			t.Errorf("guard %v: one company holds %d of 64, want %d", guard, n, want)
		}
		d.ready(testLane(late, true))
		d.serve()
		if at := d.of(late); (at > 0) != guard {
			t.Errorf("guard %v: the late company holds %d at once", guard, at)
		}
	}
}

// Slow and unproven lanes share a quarter; the others do not wait for it, nor it for them.
func TestSlotsPoolTheSlow(t *testing.T) {
	for _, guard := range []bool{true, false} {
		d := newDesk(64)
		if !guard {
			d.mostSlow = d.most
		}
		var slow []*company
		for i := range 40 {
			c := newTestCompany(i)
			slow = append(slow, c)
			d.ready(testLane(c, false))
		}
		d.serve()
		if want := map[bool]int{true: 16, false: 64}[guard]; d.slots.taken != want || d.slots.slow != want {
			t.Errorf("guard %v: slow lanes hold %d (%d counted), want %d", guard, d.slots.taken, d.slots.slow, want)
		}
		for i, c := range slow {
			if n := d.of(c); n > 1 && guard {
				t.Errorf("slow company %d holds %d while others hold none", i, n)
			}
		}
		fast := newTestCompany(100)
		d.ready(testLane(fast, true))
		d.serve()
		if got := d.of(fast) > 0; got != guard {
			t.Errorf("guard %v: a fast lane beside them holds %d", guard, d.of(fast))
		}
	}
}

// Whatever comes and goes, the counts agree with who holds what, and nobody who waits is forgotten.
func TestSlotsAddUp(t *testing.T) {
	d := newDesk(16)
	served := map[hook.CompanyKey]int{}
	for i := range 12 {
		c := newTestCompany(i)
		for j := range 1 + i*i {
			d.ready(testLane(c, (i+j)%3 > 0))
		}
	}
	for range 20_000 {
		d.serve()
		l := d.finish()
		served[l.subscription.company.key]++
	}
	if d.slots.taken != len(d.held) || d.slots.bytes != int64(2*len(d.held)) {
		t.Errorf("%d held, %d bytes; %d are", d.slots.taken, d.slots.bytes, len(d.held))
	}
	low, high := 20_000, 0
	for _, n := range served {
		low, high = min(low, n), max(high, n)
	}
	if len(served) != 12 || high > 2*low {
		t.Errorf("of 20,000 slots the companies, with 1 to 122 lanes each, got %s", fmt.Sprint(served))
	}
}

// The last quarter of the bytes is kept likewise: a company whose few deliveries are large leaves room for
// the small ones of another, also of one that holds more slots. The control keeps nothing.
func TestSlotsKeepBytesFromTheGreedy(t *testing.T) {
	const large = 1 << 20
	for _, guard := range []bool{true, false} {
		d := newDesk(512)
		d.mostByte = 64 * large
		if guard {
			d.byteRest = d.mostByte / 4
		}
		busy, greedy, late := newTestCompany(1), newTestCompany(2), newTestCompany(3)
		take := func(l *consumer, bytes int) {
			it := lane.Item{Payload: &lane.Payload{Event: &hook.Event{Data: make([]byte, bytes)}}}
			d.take(l, &it)
		}
		for range 60 {
			take(testLane(busy, true), 2)
		}
		for range 100 {
			d.ready(testLane(greedy, true))
		}
		for l := d.next(); l != nil; l = d.next() {
			take(l, large)
		}
		want := 48
		if !guard {
			want = 64
		}
		if greedy.running != want {
			t.Errorf("guard %t: the greedy one holds %d, want %d", guard, greedy.running, want)
		}
		for _, c := range []*company{late, busy} {
			l := testLane(c, true)
			d.ready(l)
			if got := d.next(); (got == l) != guard {
				t.Errorf("guard %t: a delivery of company %d got its slot: %t", guard, c.key, got == l)
			}
		}
	}
}
