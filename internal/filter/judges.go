package filter

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// sizes say how many documents of up to how many bytes are taken apart at once: some 20 MiB of each
// size. Whoever waits has a turn in the order of coming.
var sizes = []struct{ bytes, most int }{{16 << 10, 256}, {128 << 10, 16}, {maxDocument, 2}}

// Judges ask the filters of many companies. One that is fair lets a company have one event judged at a
// time; else whoever asks sees to that.
type Judges struct {
	cache *Cache
	hands *Hands
	room  []chan struct{} // by size
	fair  bool

	mu    sync.Mutex
	turns map[hook.CompanyKey]*turn
}

// turn is a company's; it is there while somebody has it or waits for it.
type turn struct {
	free  chan struct{}
	users int // who has it, and who waits
}

// NewJudges returns judges that share a cache, and hands, with others.
func NewJudges(c *Cache, h *Hands, fair bool) *Judges {
	j := &Judges{cache: c, hands: h, fair: fair, turns: map[hook.CompanyKey]*turn{}}
	for _, size := range sizes {
		j.room = append(j.room, make(chan struct{}, size.most))
	}
	return j
}

// Judge is a [hook.Judge].
func (j *Judges) Judge(ctx context.Context, company hook.CompanyKey, e *hook.Event, filters []string) ([]hook.Judged, error) {
	judged := make([]hook.Judged, len(filters))
	rest := j.cache.memory.recall(e, filters, judged)
	if len(rest) == 0 {
		return judged, ctx.Err()
	}
	if j.fair {
		leave, err := j.enter(ctx, company)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	size := slices.IndexFunc(sizes, func(s struct{ bytes, most int }) bool { return len(e.Data) <= s.bytes })
	room := j.room[max(size, 0)]
	select {
	case room <- struct{}{}:
		defer func() { <-room }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p := pace{ctx: ctx, left: breather, hands: j.hands}
	if err := p.take(); err != nil {
		return nil, err
	}
	defer p.give()
	if rest = j.cache.memory.recall(e, filters, judged); len(rest) == 0 { // somebody asked meanwhile
		return judged, nil
	}
	d, broken := Decode(e.Data)
	for _, i := range rest {
		var err error
		if broken != nil {
			judged[i] = hook.Judged{Matched: true, Problem: broken.Error()}
		} else if judged[i], err = j.one(filters[i], e.Topic, d, &p); err != nil {
			return nil, err
		}
	}
	j.cache.memory.remember(e, filters, judged, rest)
	return judged, nil
}

// one asks one filter. A fault of ours in it is a problem of that filter alone.
func (j *Judges) one(source, topic string, d *Document, p *pace) (judged hook.Judged, err error) {
	x := j.cache.get(source)
	if x.program == nil {
		return hook.Judged{Matched: true, Problem: x.problem}, nil
	}
	defer func() {
		if recover() != nil {
			judged = hook.Judged{Matched: true, Problem: "an internal error of this server while the filter was asked"}
		}
	}()
	judged, judged.Steps, err = x.program.match(topic, d, p)
	return judged, err
}

// longestTurn is how long a read waits for the others of its company that ask filters.
const longestTurn = time.Second

var errTurn = &hook.Error{
	Kind: hook.KindUnavailable, Code: "store_busy", Detail: "other requests of this company ask its filters now; try again", RetryAfter: time.Second,
}

// enter waits for the company's turn.
func (j *Judges) enter(ctx context.Context, company hook.CompanyKey) (leave func(), err error) {
	j.mu.Lock()
	t := j.turns[company]
	if t == nil {
		t = &turn{free: make(chan struct{}, 1)}
		j.turns[company] = t
	}
	t.users++
	j.mu.Unlock()
	forget := func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(j.turns, company)
		}
	}
	late := time.NewTimer(longestTurn)
	defer late.Stop()
	select {
	case t.free <- struct{}{}:
		return func() { <-t.free; forget() }, nil
	case <-late.C:
		forget()
		return nil, errTurn
	case <-ctx.Done():
		forget()
		return nil, ctx.Err()
	}
}
