package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// DeliveryQuery narrows a list of deliveries; zero fields do not.
type DeliveryQuery struct {
	Status     hook.DeliveryStatus
	Topic      string
	ObjectID   string
	StatusCode int         // of the last attempt
	From, To   *time.Time  // of the event's acceptance: From ≤ t < To
	Before     hook.Offset // where the last page ended; 0 for the first page
	Limit      int
}

// Deliveries lists a webhook's deliveries, newest event first. A page that took too much reading
// ends early; more is where the next one begins (Before), 0 at the end.
func (s *Store) Deliveries(ctx context.Context, key hook.WebhookKey, query DeliveryQuery) (list []Delivery, more hook.Offset, err error) {
	err = s.readOpinions(ctx, func(q sql.Tx, k *opinions) error {
		v, err := s.view(ctx, q, k, key)
		if err != nil {
			return err
		}
		list, more, err = v.deliveries(ctx, query)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list deliveries: %w", err)
	}
	return list, more, nil
}

func (v *view) deliveries(ctx context.Context, query DeliveryQuery) (list []Delivery, more hook.Offset, err error) {
	low, high, err := offsetsBetween(ctx, v.q, v.company, query.From, query.To)
	if err != nil {
		return nil, 0, err
	}
	if query.Before > 0 {
		high = min(high, query.Before-1)
	}
	w := v.walk(low, high, true)
	if err := v.numberPending(ctx, high); err != nil {
		return nil, 0, err
	}
	v.choose(w, query)
	for {
		o, reached, ok, err := w.next(ctx)
		if err != nil || !ok {
			return list, reached, err
		}
		d, err := v.derive(ctx, o, query.wantsEvent)
		if err != nil {
			return nil, 0, err
		}
		if d == nil || !query.wants(d) {
			continue
		}
		if len(list) == query.Limit {
			return list, list[len(list)-1].Offset, nil
		}
		list = append(list, *d)
	}
}

// choose gives the walk the cheapest indexes that hold everything asked for.
func (v *view) choose(w *walk, query DeliveryQuery) {
	switch {
	case query.ObjectID != "":
		for _, key := range v.s.objectKeys(EventFilter{Topic: query.Topic, ObjectID: query.ObjectID}) {
			w.eventsOf(key)
		}
	case query.Status == hook.Pending:
		w.pending()
	case query.Status == hook.Retrying || query.Status == hook.Held:
		w.rowsOf(liveParked)
		w.rowsOf(replayParked)
	case query.Status == hook.Failed || query.StatusCode >= 300:
		w.rowsOf(failedAttempt)
	case query.Status == hook.Delivered || query.StatusCode > 0:
		w.rowsOf(everyAttempt)
	case query.Status == hook.Skipped:
		w.skipped()
		w.rowsOf(failedAttempt) // the expired ones
	default:
		w.pending()
		w.skipped()
		w.rowsOf(everyAttempt)
		w.rowsOf(liveParked)
	}
}

func (query *DeliveryQuery) wantsEvent(d *Delivery) bool {
	return query.Topic == "" || d.Topic == query.Topic
}

func (query *DeliveryQuery) wants(d *Delivery) bool {
	return (query.Status == "" || d.Status == query.Status) && (query.StatusCode == 0 || d.LastStatus == query.StatusCode)
}

// numberPending counts the matches above the place, if they are few, so that pending deliveries can
// show their sequence.
func (v *view) numberPending(ctx context.Context, high hook.Offset) error {
	const few = 1000
	if high <= v.place {
		return nil
	}
	refs, err := v.refs(ctx, v.place+1, lastOffset, false, few)
	if err != nil || len(refs) == few {
		return err
	}
	v.sequences = make(map[hook.Offset]int64, len(refs))
	n := v.cursor.Sequence
	for _, ref := range refs {
		ok, err := v.matches(ctx, ref)
		if err != nil {
			return err
		}
		if v.bytes <= 0 {
			v.bytes = readBytes / 2 // for the page itself
			return nil
		}
		if ok {
			n++
			v.sequences[ref.Offset] = n + v.leapAt(ref.Offset)
		}
	}
	return nil
}

// DeliveryDetail is one delivery with everything that is known about it.
type DeliveryDetail struct {
	Delivery
	Event       *hook.Event
	History     []hook.Attempt // by number, with what was kept of the answers; the latest 250
	HistoryMore bool           // there were more
}

const historyShown = 250

// Delivery reads one delivery of a webhook; [hook.NotFound] when the webhook never matched the
// event and nothing was sent.
func (s *Store) Delivery(ctx context.Context, key hook.WebhookKey, eventID string) (d *DeliveryDetail, err error) {
	err = s.readOpinions(ctx, func(q sql.Tx, k *opinions) error {
		v, err := s.view(ctx, q, k, key)
		if err != nil {
			return err
		}
		d = &DeliveryDetail{}
		if d.Event, err = eventByID(ctx, q, v.company, eventID); err != nil {
			return err
		}
		derived, err := v.one(ctx, d.Event)
		if err != nil {
			return err
		}
		d.Delivery = *derived
		return v.attempts(ctx, d)
	})
	if err != nil {
		return nil, fmt.Errorf("read delivery: %w", err)
	}
	return d, nil
}

// one derives a delivery by itself, with its sequence if that can be had.
func (v *view) one(ctx context.Context, e *hook.Event) (*Delivery, error) {
	d, err := v.derive(ctx, e.Offset, nil)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, hook.NotFound("delivery")
	}
	if d.Sequence != nil || d.Attempts > 0 { // what was sent without a number stays without one
		return d, nil
	}
	if n, known, err := v.sequenceAt(ctx, e.Offset); err != nil {
		return nil, err
	} else if known {
		d.Sequence = &n
	}
	return d, nil
}

func (v *view) attempts(ctx context.Context, d *DeliveryDetail) error {
	err := sql.Each(ctx, v.q, `SELECT `+log.AttemptColumns+` FROM attempts WHERE webhook = $1 AND "offset" = $2 ORDER BY number DESC LIMIT $3`,
		[]any{int64(v.key), int64(d.Offset), int64(historyShown + 1)}, func(r sql.Rows) error {
			a, err := scanAttempt(r)
			d.History = append(d.History, a)
			return err
		})
	if err != nil {
		return err
	}
	if d.HistoryMore = len(d.History) > historyShown; d.HistoryMore {
		d.History = d.History[:historyShown]
	}
	slices.Reverse(d.History)
	return sql.Each(ctx, v.q, `SELECT number, header, body FROM answers WHERE webhook = $1 AND "offset" = $2`,
		[]any{int64(v.key), int64(d.Offset)}, func(r sql.Rows) error {
			var number int
			var header, body []byte
			err := r.Scan(&number, &header, &body)
			for i := range d.History {
				if a := &d.History[i]; a.Number == number && a.AnswerHeader == nil {
					a.AnswerHeader, a.AnswerBody = header, body
				}
			}
			return err
		})
}

func scanAttempt(r sql.Rows) (a hook.Attempt, err error) {
	var counted, reused, started int64
	var form string
	var detail []byte
	var dns, connect, tls, first, total int64
	err = r.Scan(&a.Webhook, &a.Offset, &a.Number, &a.Sequence, &a.Kind, &counted, &a.Version, &a.TimestampText, &form, &a.Replay, &started,
		&dns, &connect, &tls, &first, &total, &reused, &a.Outcome, &a.StatusCode, &a.ErrorClass, &detail, &a.AnswerHeader, &a.AnswerBody)
	a.Counted, a.Reused, a.StartedAt, a.ErrorDetail = counted != 0, reused != 0, sql.FromMicros(started), string(detail)
	log.ParseBodyForm(&a, form)
	us := func(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
	a.Phases = hook.Phases{DNS: us(dns), Connect: us(connect), TLS: us(tls), FirstByte: us(first), Total: us(total)}
	return a, err
}
