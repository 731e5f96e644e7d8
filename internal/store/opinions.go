package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// opinions are what filters say about events, as far as somebody has asked them. What a company wrote
// runs in no transaction: a read that needs to know what a filter says ends with errUndecided, the
// filters are asked outside, and the read is made again on a new snapshot, which knows more. What was
// accepted never changes, nor does what a filter says about it.
type opinions struct {
	known  map[opinion]verdictOf
	asked  []question
	bytes  int // of the events asked about
	rounds int // reads that ended undecided
}

// opinion is one filter's about one event of the company.
type opinion struct {
	offset hook.Offset
	filter string
}

type verdictOf struct {
	hook.Judged
	size int // bytes of the event's data
}

// question is an event and the filters to ask about it.
type question struct {
	event   *hook.Event
	filters []string
}

// Limits of what is asked between two reads. A read looks further ahead the more often it came back.
const (
	askedBytes = 2 << 20
	askedMost  = 256
	// readAgain is how often one read may end undecided before somebody else has a turn.
	readAgain = 1000
)

// errUndecided ends a read that must know what filters say.
var errUndecided = errors.New("filters are to be asked first")

// full says that enough was asked for one time.
func (k *opinions) full() bool { return k.bytes >= askedBytes || len(k.asked) >= askedMost }

// ask notes a question; it is answered between two reads.
func (k *opinions) ask(e *hook.Event, filter string) {
	if n := len(k.asked); n > 0 && k.asked[n-1].event.Offset == e.Offset {
		k.asked[n-1].filters = append(k.asked[n-1].filters, filter)
		return
	}
	k.asked = append(k.asked, question{e, []string{filter}})
	k.bytes += len(e.Data)
}

// lastAsked is the last event that was asked about, if it is the one at an offset.
func (k *opinions) lastAsked(o hook.Offset) *hook.Event {
	if n := len(k.asked); n > 0 && k.asked[n-1].event.Offset == o {
		return k.asked[n-1].event
	}
	return nil
}

// answer asks the filters what was noted.
func (k *opinions) answer(ctx context.Context, judge hook.Judge) error {
	if k.rounds++; k.rounds > readAgain {
		return sql.Unavailable("store_busy", errors.New("a read could not be finished: too many filters had to be asked"))
	}
	if k.known == nil {
		k.known = map[opinion]verdictOf{}
	}
	for _, q := range k.asked {
		judged, err := judge(ctx, q.event.Company, q.event, q.filters)
		if err != nil {
			return notJudged(err)
		}
		for i, j := range judged {
			k.known[opinion{q.event.Offset, q.filters[i]}] = verdictOf{j, len(q.event.Data)}
		}
	}
	k.asked, k.bytes = nil, 0
	return nil
}

// notJudged is the refusal of a read whose filters did not answer: its client left, or the company's
// other reads take too long.
func notJudged(err error) error {
	if hook.IsKind(err, hook.KindUnavailable) {
		return err
	}
	return sql.Unavailable("store_busy", fmt.Errorf("ask filters: %w", err))
}

// readOpinions is read for a function that may need to know what filters say.
func (s *Store) readOpinions(ctx context.Context, fn func(q sql.Tx, k *opinions) error) error {
	return s.decided(ctx, s.read, fn)
}

// writeOpinions is write for such a function.
func (s *Store) writeOpinions(ctx context.Context, fn func(q sql.Tx, k *opinions) error) error {
	return s.decided(ctx, s.write, fn)
}

func (s *Store) decided(ctx context.Context, transact func(context.Context, func(sql.Tx) error) error, fn func(q sql.Tx, k *opinions) error) error {
	k := &opinions{}
	for {
		err := transact(ctx, func(q sql.Tx) error {
			k.asked, k.bytes = nil, 0
			return fn(q, k)
		})
		if !errors.Is(err, errUndecided) {
			return err
		}
		if err := k.answer(ctx, s.judge); err != nil {
			return err
		}
	}
}
