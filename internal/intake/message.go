package intake

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Message is an event, or a change, as a source carries it: an envelope as the API takes it, or a
// CloudEvent.
type Message struct {
	Body        []byte
	ContentType string            // "" where the source tells none
	Attributes  map[string]string // of a CloudEvent in binary mode, by name without prefix; nil for any other message
	ID          string            // of the event, or of the change, where the message names none
}

// Outcome is what became of a message.
type Outcome struct {
	Events  []Accepted // a change may mean several, or none
	Refused error      // why it cannot be accepted as it is; nil where it was
}

// PublishMessages accepts the events of those messages that can be accepted, in their order, and says of each
// other one why not. It is one transaction, unless the store refuses some of them. An error says that the same
// may be accepted later: nothing was, or what was is a duplicate then. The events do not keep the messages.
func (in *Intake) PublishMessages(ctx context.Context, list []Message, p Publishing) ([]Outcome, error) {
	size := int64(0)
	for i := range list {
		size += int64(len(list[i].Body))
	}
	if in.bytes.Add(size) > max(in.opt.MaxBytes, size) {
		in.bytes.Add(-size)
		return nil, full()
	}
	defer in.bytes.Add(-size)
	b := messages{outcomes: make([]Outcome, len(list))}
	for i := range list {
		events, err := in.message(ctx, &list[i], p)
		if err != nil && !refused(err) {
			return nil, err
		}
		b.add(i, events, err)
	}
	if err := in.commitMessages(ctx, &b, p); err != nil {
		return nil, err
	}
	return b.outcomes, nil
}

// commitMessages commits what the store takes. What it refuses as a whole, as for a company that has too many
// scheduled events, it is asked by halves, in their order, down to the messages that are refused: the others
// do not wait for these.
func (in *Intake) commitMessages(ctx context.Context, b *messages, p Publishing) error {
	for len(b.events) > 0 {
		batch, err := in.commit(ctx, b.events, p)
		if err != nil && refused(err) {
			first, second := b.halves()
			if len(second.events) == 0 {
				b.outcomes[b.of[0]].Refused = err
				return nil
			}
			if err := in.commitMessages(ctx, &first, p); err != nil {
				return err
			}
			return in.commitMessages(ctx, &second, p)
		}
		if err != nil {
			return err
		}
		if b.settle(batch.Appended) {
			in.count(batch.Appended)
			break
		}
	}
	return nil
}

// refused reports whether an error is about what was sent, and would be the same again.
func refused(err error) bool {
	e, ok := errors.AsType[*hook.Error](err)
	return ok && e.Kind != hook.KindUnavailable && e.Kind != hook.KindLimited
}

// messages are the events of several messages, and what became of these.
type messages struct {
	outcomes []Outcome
	events   []*hook.Event
	of       []int // by event, its message
}

func (b *messages) add(i int, events []*hook.Event, refused error) {
	b.outcomes[i].Refused = refused
	for _, e := range events {
		b.events, b.of = append(b.events, e), append(b.of, i)
	}
}

// halves are two parts with about as many messages; the second is empty where there is but one.
func (b *messages) halves() (first, second messages) {
	i, _ := slices.BinarySearch(b.of, b.of[len(b.of)/2]) // before the message in the middle
	if i == 0 {
		i, _ = slices.BinarySearch(b.of, b.of[0]+1) // behind it, as it is the first
	}
	return messages{b.outcomes, b.events[:i], b.of[:i]}, messages{b.outcomes, b.events[i:], b.of[i:]}
}

// settle takes the answer to an append in. Where ids are taken by other content it is false: nothing was
// committed, and the rest is to be appended again.
func (b *messages) settle(appended []hook.Appended) bool {
	settled := true
	for i, a := range appended {
		if a.Conflict {
			b.outcomes[b.of[i]].Refused = conflict(b.events[i].ID)
			settled = false
		}
	}
	if settled {
		for i, a := range appended {
			o := &b.outcomes[b.of[i]]
			o.Events = append(o.Events, Accepted{a.Event, b.events[i].CompanyID, a.Duplicate, nil})
		}
		return true
	}
	events, of := b.events, b.of
	b.events, b.of = nil, nil
	for i, e := range events {
		if b.outcomes[of[i]].Refused == nil {
			b.add(of[i], []*hook.Event{e}, nil)
		}
	}
	return false
}

// message makes the events of a message.
func (in *Intake) message(ctx context.Context, m *Message, p Publishing) ([]*hook.Event, error) {
	if len(m.Body) > MaxBatchBytes {
		return nil, tooLarge(MaxBatchBytes)
	}
	r := readers.Get().(*reader)
	defer r.release()
	var env envelope
	var err error
	cloud := true
	switch media := mediaType(m.ContentType); {
	case media == cloudEventJSON:
		env, err = r.cloudEvent(m.Body)
	case media == "application/cloudevents-batch+json":
		err = hook.Invalid("", "batch_not_accepted", "a message holds one event; a batch of CloudEvents is not taken apart")
	case m.Attributes != nil:
		env, err = binaryEvent(m.Attributes, m.Body)
	default:
		cloud = false
		env, err = r.single(m.Body, eventMembers|changeMembers)
	}
	if err != nil {
		return nil, err
	}
	if env.seen&(memberObjectType|memberBefore|memberAfter) != 0 {
		return in.changeMessage(ctx, &env, m, p)
	}
	if env.id == "" && env.seen&memberID == 0 {
		env.id = m.ID
	}
	env.data = bytes.Clone(env.data)
	event, err := in.event(&env, p)
	if err != nil {
		if cloud {
			err = byAttribute(err)
		}
		return nil, err
	}
	return []*hook.Event{event}, nil
}

// changeMessage makes the events of a message that is a change.
func (in *Intake) changeMessage(ctx context.Context, env *envelope, m *Message, p Publishing) ([]*hook.Event, error) {
	if env.seen&(memberTopic|memberData|memberObject) != 0 {
		return nil, hook.Invalid("", "ambiguous", "is half an event and half a change: event, data and object_id do not go with object_type, before and after")
	}
	if p.Key = m.ID; len(p.Key) > maxChangeID {
		p.Key = hook.DerivedID(hook.ChangePrefix, m.ID)
	}
	events, _, err := in.changeEvents(ctx, env, p)
	return events, err
}
