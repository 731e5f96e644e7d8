package deliver

import (
	"slices"
	"sort"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// partition is the slice of the log that the engine owns a tail of.
type partition struct {
	id       hook.Partition
	tail     hook.Offset // everything up to here was offered to the lanes
	swept    hook.Offset // low-water mark of the attached webhooks, as committed
	low      hook.Offset // and as the last sweep found it
	version  int64       // configuration version that the places are at
	read     int64       // and the one up to which it has been read; more, while there are more to come
	wanted   int64       // version that the next events were committed under
	inbox    []*hook.Event
	behind   bool // events are in the store that were not seen in memory
	reading  bool // a read of the tail is under way
	missed   bool // there was no room for events that it may have come too early for
	loading  bool // a read of the configuration is under way
	leaving  bool // it is being handed over: no attempt starts
	held     int  // slots, for attempts under way or unrecorded, also of webhooks deleted meanwhile
	payloads lane.Payloads

	dueFrom    store.DuePlace // parked deliveries up to here were given to their lanes
	dueAt      time.Time      // when to look again
	dueLater   bool           // something is parked that is not due yet
	dueStale   bool           // the read under way began before dueFrom was set back
	dueReading bool
	dueAsked   uint64 // count of commits when it was asked
}

// company groups the webhooks that the same events are offered to, and its share of the slots.
type company struct {
	key     hook.CompanyKey
	places  []*place
	byTopic [][]*place       // by topic bit; built when there are many places
	running int              // slots held
	waiting [2]queue         // lanes that may start an attempt, round robin, in the fast and the slow line
	served  uint64           // when it was served last, to break ties
	texts   map[string]*text // of the filters in its places' rules
	judging judging
	backlog []*read // of lanes with filters, that wait or are made: the first
}

// place is a webhook as the engine always knows it, with or without work.
type place struct {
	webhook  hook.WebhookKey
	company  *company
	part     *partition
	status   hook.Status
	deleted  bool
	version  int64
	detached bool        // as committed: its own row counts
	offset   hook.Offset // low-water mark when no lane is there (detached, or before the tail)
	sequence int64       // count of matches up to it
	rules    []rule
	skips    []store.SkipRange
	replay   int64
	ended    uint64 // the engine's count of replays that ended, at the last of this webhook's
	lane     *consumer
}

type rule struct {
	from   hook.Offset
	leap   int64 // what a match's number is higher by than its count
	topics hook.TopicSet
	filter *text // nil for none
}

// ruleAt is the rule in force at an offset, nil before the first.
func (p *place) ruleAt(o hook.Offset) *rule {
	i := sort.Search(len(p.rules), func(i int) bool { return p.rules[i].from > o })
	if i == 0 {
		return nil
	}
	return &p.rules[i-1]
}

// leapAt is what a match's number is higher by than its count.
func (p *place) leapAt(o hook.Offset) int64 {
	if r := p.ruleAt(o); r != nil {
		return r.leap
	}
	return 0
}

// wants says whether the topic matches at that offset; filters remain to be asked.
func (p *place) wants(o hook.Offset, topic string) (*rule, bool) {
	r := p.ruleAt(o)
	return r, r != nil && r.topics.Has(topic)
}

// skipped says whether an unsettled match at the offset is to be skipped, and why.
func (p *place) skipped(o hook.Offset) (reason string, ok bool) {
	for _, k := range p.skips {
		if k.From <= o && o <= k.To {
			return k.Reason, true
		}
	}
	return "", false
}

// manyPlaces is the number of webhooks from which a company gets an index by topic.
const manyPlaces = 16

// interested are the places that may want a topic (a superset).
func (c *company) interested(topic string) []*place {
	if len(c.places) < manyPlaces {
		return c.places
	}
	topics := hook.Topics()
	if c.byTopic == nil {
		c.byTopic = make([][]*place, len(topics))
		for _, p := range c.places {
			for i, t := range topics {
				if slices.ContainsFunc(p.rules, func(r rule) bool { return r.topics.Has(t.Name) }) {
					c.byTopic[i] = append(c.byTopic[i], p)
				}
			}
		}
	}
	for i, t := range topics {
		if t.Name == topic {
			return c.byTopic[i]
		}
	}
	return nil
}
