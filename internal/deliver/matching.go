package deliver

import (
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/match"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Limits of what waits for filters. Beyond them the events of a company are read from the store again
// when its filters are through with those before.
const (
	maxJudging   = 24 << 20 // bytes of events, of all companies
	maxWaiting   = 4 << 20  // and of one, besides the first
	longestQueue = 10_000   // events of one
	askEvents    = 64       // in one question
	askBytes     = 256 << 10
)

// judging are the events of a company that wait until its filters have been asked. The tail has gone
// past them; to the company's lanes they have yet to be offered, in their order.
type judging struct {
	queue  []*hook.Event
	bytes  int64
	upTo   hook.Offset // everything up to here was offered
	behind bool        // there are more in the store
	asking *asking     // under way
	read   bool        // a read is under way
}

// asking are questions on their way to the filters and back.
type asking struct{ filters [][]*text }

// ask is what filters are to be asked, and what becomes of the answers.
type ask struct {
	company   hook.CompanyKey
	questions []match.Question
	then      func(*core, []match.Answer)
}

func (j *judging) waits() bool { return len(j.queue) > 0 || j.behind }

// offered is how far the events of a subscription's company have been offered to its lanes.
func (p *subscription) offered() hook.Offset {
	if j := &p.company.judging; j.waits() {
		return j.upTo
	}
	return p.part.tail
}

// text is a filter, one for all the rules of a company that have it.
type text struct {
	text    string
	rules   int    // that have it
	asked   uint64 // the last time it was asked, or is about to be
	matched bool   // what it said then
}

func (co *company) intern(s string) *text {
	t := co.texts[s]
	if t == nil {
		t = &text{text: s}
		if co.texts == nil {
			co.texts = map[string]*text{}
		}
		co.texts[s] = t
	}
	t.rules++
	return t
}

func (co *company) release(rules []rule) {
	for _, r := range rules {
		if t := r.filter; t != nil {
			if t.rules--; t.rules == 0 {
				delete(co.texts, t.text)
			}
		}
	}
}

// eachFilter calls fn for the rules whose filters have to be asked about an event until it says no.
func (c *core) eachFilter(co *company, e *hook.Event, fn func(*text) bool) {
	if len(co.texts) == 0 {
		return
	}
	for _, pl := range co.interested(e.Topic) {
		if pl.status != hook.Active || pl.deleted || pl.lane == nil && pl.detached {
			continue
		}
		if r, ok := pl.wants(e.Offset, e.Topic); ok && r.filter != nil && !fn(r.filter) {
			return
		}
	}
}

func (c *core) mustAsk(co *company, e *hook.Event) (must bool) {
	c.eachFilter(co, e, func(*text) bool { must = true; return false })
	return must
}

// filters are those that have to be asked about an event, each once.
func (c *core) filters(co *company, e *hook.Event) (list []*text) {
	c.askCount++
	c.eachFilter(co, e, func(t *text) bool {
		if t.asked != c.askCount {
			t.asked = c.askCount
			list = append(list, t)
		}
		return true
	})
	return list
}

// wait puts an event into the queue of its company.
func (c *core) wait(p *partition, co *company, e *hook.Event) {
	j := &co.judging
	if !j.waits() {
		j.upTo = e.Offset - 1
		c.waiting[co] = p
	}
	if j.behind {
		return // it is read when its turn comes
	}
	size := int64(len(e.Data))
	if c.judging+size > c.mostJudging || len(j.queue) > 0 && j.bytes+size > c.longestWait || len(j.queue) >= longestQueue {
		j.behind = true
		c.askNext(p, co)
		return
	}
	c.enter(j, e)
	c.askNext(p, co)
}

func (c *core) enter(j *judging, e *hook.Event) {
	j.queue = append(j.queue, e)
	j.bytes += int64(len(e.Data))
	c.judging += int64(len(e.Data))
}

// askNext asks about the next events of a company's queue, or reads them.
func (c *core) askNext(p *partition, co *company) {
	j := &co.judging
	switch {
	case j.asking != nil || j.read:
		return
	case len(j.queue) == 0 && j.behind && c.judging >= c.mostJudging:
		c.starved = append(c.starved, co)
		j.read = true
		return
	case len(j.queue) == 0 && j.behind:
		j.read = true
		c.judging += backlogBytes // about what it brings
		c.read(read{kind: readJudging, partition: p.id, company: co.key, after: j.upTo, upTo: p.tail})
		return
	case len(j.queue) == 0:
		delete(c.waiting, co)
		return
	}
	a := &asking{}
	var questions []match.Question
	for i, bytes := 0, 0; i < len(j.queue) && i < askEvents && (i == 0 || bytes+len(j.queue[i].Data) <= askBytes); i++ {
		e := j.queue[i]
		bytes += len(e.Data)
		filters := c.filters(co, e)
		q := match.Question{Event: e, Filters: make([]string, len(filters))}
		for i, t := range filters {
			q.Filters[i] = t.text
		}
		a.filters, questions = append(a.filters, filters), append(questions, q)
	}
	j.asking = a
	c.asks = append(c.asks, ask{co.key, questions, func(c *core, answers []match.Answer) {
		if j.asking == a { // else the partition was given away meanwhile
			j.asking = nil
			c.judged(p, co, a.filters, answers)
		}
	}})
}

// judged offers the events that filters have been asked about. Where a subscription has come meanwhile whose
// filter was not, they are asked again.
func (c *core) judged(p *partition, co *company, filters [][]*text, answers []match.Answer) {
	j := &co.judging
	for i, answer := range answers {
		e := j.queue[0]
		c.askCount++
		for k, t := range filters[i] {
			t.asked, t.matched = c.askCount, answer[k]
		}
		all := true
		c.eachFilter(co, e, func(t *text) bool { all = t.asked == c.askCount; return all })
		if !all {
			break
		}
		c.offerTo(p, co, e)
		j.queue[0] = nil
		j.queue, j.upTo = j.queue[1:], e.Offset
		j.bytes -= int64(len(e.Data))
		c.judging -= int64(len(e.Data))
	}
	if len(j.queue) == 0 {
		j.queue = nil
	}
	c.askNext(p, co)
	c.feedStarved()
}

// feedStarved lets companies read that had to wait for memory.
func (c *core) feedStarved() {
	for len(c.starved) > 0 && c.judging < c.mostJudging {
		co := c.starved[0]
		c.starved = c.starved[1:]
		if p := c.waiting[co]; p != nil {
			co.judging.read = false
			c.askNext(p, co)
		}
	}
}

// judgingRead takes in the next events of a company that fell behind.
func (c *core) judgingRead(p *partition, key hook.CompanyKey, after hook.Offset, events []*hook.Event, readTo hook.Offset, err error) {
	co := c.companies[key]
	if co == nil || !co.judging.read || co.judging.upTo != after {
		return
	}
	j := &co.judging
	if err != nil {
		c.timers.in(c.now, time.Second, func() {
			if c.waiting[co] == p {
				j.read = false
				c.askNext(p, co)
			}
		})
		return
	}
	j.read = false
	for _, e := range events {
		c.enter(j, e)
	}
	if len(events) == 0 {
		j.upTo = readTo
	}
	j.behind = readTo < p.tail
	c.askNext(p, co)
}

// forgetJudging lets go of what waits in a partition that is given away; its next owner reads it.
func (c *core) forgetJudging(p *partition) {
	for co, of := range c.waiting {
		if of == p {
			c.judging -= co.judging.bytes
			c.starved = slices.DeleteFunc(c.starved, func(x *company) bool { return x == co })
			co.judging = judging{}
			delete(c.waiting, co)
		}
	}
	c.feedStarved()
}
