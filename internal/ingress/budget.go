package ingress

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Errors of a budget.
var (
	ErrOwnShare = errors.New("who asks holds as much memory with unread answers as one may")
	ErrAll      = errors.New("all memory for answers is held")
)

// Budget is the memory that answers may hold, from before they are rendered until they are written. A
// nil one has no limit.
type Budget struct {
	Total int           // bytes, in all
	OfOne int           // bytes, of one owner
	Wait  time.Duration // how long one waits for memory before it is refused

	mu      sync.Mutex
	held    int
	owners  map[string]*owner
	changed chan struct{} // closed when some is given back
}

type owner struct {
	held   int
	leases map[*Lease]struct{}
}

// Lease is memory that one answer holds. Its methods are not for use at the same time.
type Lease struct {
	budget  *Budget
	owner   string
	bytes   int
	writing bool
	since   time.Time // when writing began; zero before
	cut     func()    // ends the writing
}

// Take waits until an owner may hold so many bytes more, and no longer than the budget allows. One
// answer is never too large, however small the budget.
func (b *Budget) Take(ctx context.Context, who string, bytes int) (*Lease, error) {
	if b == nil {
		return nil, nil
	}
	late := time.NewTimer(b.Wait)
	defer late.Stop()
	again := time.NewTicker(patience / 2) // somebody may have been written for too long by then
	defer again.Stop()
	bytes = min(bytes, b.OfOne, b.Total)
	for {
		lease, wait, err := b.try(who, bytes)
		if err == nil {
			return lease, nil
		}
		select {
		case <-wait:
		case <-again.C:
		case <-late.C:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (b *Budget) try(who string, bytes int) (*Lease, <-chan struct{}, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.owners == nil {
		b.owners, b.changed = map[string]*owner{}, make(chan struct{})
	}
	o := b.owners[who]
	if o != nil && o.held+bytes > b.OfOne {
		return nil, b.changed, ErrOwnShare
	}
	if b.held+bytes > b.Total {
		b.squeeze(o)
		return nil, b.changed, ErrAll
	}
	if o == nil {
		o = &owner{leases: map[*Lease]struct{}{}}
		b.owners[who] = o
	}
	l := &Lease{budget: b, owner: who, bytes: bytes}
	o.leases[l] = struct{}{}
	o.held += bytes
	b.held += bytes
	return l, nil, nil
}

// patience is how long an answer has been written when another owner's may take its place.
const patience = time.Second

// squeeze ends the answer that has been written for longest by the owner that holds most, if that is
// more than the one who asks holds.
func (b *Budget) squeeze(asks *owner) {
	most := asks
	for _, o := range b.owners {
		if most == nil || o.held > most.held {
			most = o
		}
	}
	if most == nil || most == asks {
		return
	}
	var longest *Lease
	for l := range most.leases {
		if l.cut != nil && time.Since(l.since) >= patience && (longest == nil || l.since.Before(longest.since)) {
			longest = l
		}
	}
	if longest != nil {
		longest.cut()
		longest.cut = nil
	}
}

// Fit says how much the answer turned out to hold. It does not wait: what is too much now, others wait
// for.
func (l *Lease) Fit(bytes int) {
	if l == nil {
		return
	}
	l.budget.mu.Lock()
	defer l.budget.mu.Unlock()
	o := l.budget.holder(l)
	if o == nil {
		return
	}
	l.hold(o, bytes)
}

// hold makes the lease one of so many bytes, and wakes who waits for those that are left over.
func (l *Lease) hold(o *owner, bytes int) {
	o.held += bytes - l.bytes
	l.budget.held += bytes - l.bytes
	if bytes < l.bytes {
		l.budget.tell()
	}
	l.bytes = bytes
}

// begin says that the answer is being written, and how to end that for another's sake. cut must not
// wait.
func (l *Lease) begin(cut func()) {
	l.budget.mu.Lock()
	defer l.budget.mu.Unlock()
	l.since, l.cut = time.Now(), cut
}

// Release gives the memory back. It may be called again.
func (l *Lease) Release() {
	if l == nil {
		return
	}
	l.budget.mu.Lock()
	defer l.budget.mu.Unlock()
	o := l.budget.holder(l)
	if o == nil {
		return
	}
	delete(o.leases, l)
	if len(o.leases) == 0 {
		delete(l.budget.owners, l.owner)
	}
	l.hold(o, 0)
}

// holder is the owner of a lease; nil when it was released.
func (b *Budget) holder(l *Lease) *owner {
	o := b.owners[l.owner]
	if o == nil {
		return nil
	}
	if _, held := o.leases[l]; !held {
		return nil
	}
	return o
}

// tell wakes those who wait for memory.
func (b *Budget) tell() {
	close(b.changed)
	b.changed = make(chan struct{})
}
