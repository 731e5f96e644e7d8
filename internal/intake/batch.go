package intake

import (
	"bytes"
	"context"
	"errors"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// maxFieldErrors bounds how many refused fields a batch's answer lists.
const maxFieldErrors = 100

// batchReader collects the events of a batch and what is wrong with them: a producer learns of
// every mistake at once.
type batchReader struct {
	in     *Intake
	p      Publishing
	room   func(first *hook.Event) error // refuses a batch before the rest of it is read
	events []*hook.Event
	wrong  []hook.FieldError
}

func (in *Intake) readBatch(ctx context.Context, body []byte, p Publishing) ([]*hook.Event, error) {
	r := readers.Get().(*reader)
	defer r.release()
	b := batchReader{in: in, p: p, room: func(first *hook.Event) error { return in.room(ctx, first) }}
	read := b.array
	if p.Lines {
		read = b.lines
	}
	if err := read(r, body); err != nil {
		return nil, err
	}
	switch {
	case b.wrong != nil:
		return nil, hook.InvalidFields(b.wrong...)
	case len(b.events) == 0:
		return nil, hook.Refuse(hook.KindInvalid, "empty_batch", "a batch has at least one event")
	}
	return b.events, nil
}

// array reads [envelope, …].
func (b *batchReader) array(r *reader, body []byte) error {
	if err := checkDepth(body); err != nil {
		return err
	}
	r.reset(body)
	if kind := r.dec.PeekKind(); kind != '[' {
		if kind == jsontext.KindInvalid {
			_, err := r.dec.ReadToken()
			return syntax(err)
		}
		return hook.Refuse(hook.KindInvalid, "invalid_type", "a batch is an array of events; for lines use Content-Type: application/x-ndjson")
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return syntax(err)
	}
	for n := 0; r.dec.PeekKind() != ']'; n++ {
		start := r.dec.StackDepth()
		env, err := r.envelope(eventMembers)
		if err := b.add(n, &env, err); err != nil {
			return err
		}
		if err := r.leave(start); err != nil {
			return err
		}
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return syntax(err)
	}
	return r.end()
}

// leave skips the rest of a refused envelope, so that the next one can be read.
func (r *reader) leave(depth int) error {
	for r.dec.StackDepth() > depth {
		if k := r.dec.PeekKind(); k == '}' || k == ']' {
			if _, err := r.dec.ReadToken(); err != nil {
				return syntax(err)
			}
			continue
		}
		if err := r.dec.SkipValue(); err != nil {
			return syntax(err)
		}
	}
	return nil
}

// lines reads one envelope a line; blank lines do not count.
func (b *batchReader) lines(r *reader, body []byte) error {
	n := 0
	for line := range bytes.SplitSeq(body, []byte("\n")) {
		line = bytes.Trim(line, " \t\r")
		if len(line) == 0 {
			continue
		}
		env, err := r.single(line, eventMembers)
		if err := b.add(n, &env, err); err != nil {
			return err
		}
		n++
	}
	return nil
}

// add takes the n-th envelope, or what is wrong with it. An error that is not about a field ends
// the batch.
func (b *batchReader) add(n int, env *envelope, err error) error {
	if n == MaxBatchEvents {
		return hook.Refuse(hook.KindTooLarge, "too_many_events", "a batch has at most %d events", MaxBatchEvents)
	}
	if err == nil {
		// A batch is not kept alive by one of its events.
		env.data = bytes.Clone(env.data)
		if env.id == "" && env.seen&memberID == 0 && b.p.Key != "" {
			env.id = hook.DerivedID(hook.EventPrefix, b.p.Key+"\n"+strconv.Itoa(n))
		}
		var event *hook.Event
		if event, err = b.in.event(env, b.p); err == nil {
			if b.events = append(b.events, event); len(b.events) == 1 {
				return b.room(event)
			}
			return nil
		}
	}
	var refused *hook.Error
	if !errors.As(err, &refused) || refused.Kind != hook.KindInvalid {
		return inBatch(n, err)
	}
	for _, f := range refused.Fields {
		if len(b.wrong) < maxFieldErrors {
			b.wrong = append(b.wrong, hook.FieldError{Field: at(n, f.Field), Code: f.Code, Detail: f.Detail})
		}
	}
	return nil
}

// inBatch says in the detail which event an error is about.
func inBatch(n int, err error) error {
	var e *hook.Error
	if !errors.As(err, &e) {
		return err
	}
	in := *e
	in.Detail = at(n, "") + ": " + e.Detail
	return &in
}

// at names a field of the n-th event.
func at(n int, field string) string {
	s := "[" + strconv.Itoa(n) + "]"
	if field != "" {
		s += "." + field
	}
	return s
}
