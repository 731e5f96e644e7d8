package intake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"slices"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/change"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// maxChangeID bounds a change's id, so that those of its events, which end in their topic, are no longer
// than any event's.
const maxChangeID = 96

// Changed is one event that a change means.
type Changed struct {
	Accepted
	Pointers []string // to what differs, see [change.Event]
}

// PublishChange accepts the events that a change of an object means: all in one transaction, in the order
// of the catalogue, or none. None is needed where the documents do not differ. An event's id is the
// change's, a colon and the topic, so that the same change, published again, doubles nothing. The events
// do not keep body.
func (in *Intake) PublishChange(ctx context.Context, body []byte, p Publishing) ([]Changed, error) {
	r := readers.Get().(*reader)
	defer r.release()
	env, err := r.single(body, changeMembers)
	if err != nil {
		return nil, err
	}
	events, derived, err := in.changeEvents(ctx, &env, p)
	if err != nil || len(events) == 0 {
		return nil, err
	}
	accepted, err := in.append(ctx, events, p)
	if err != nil {
		return nil, err
	}
	changed := make([]Changed, len(accepted))
	for i, a := range accepted {
		changed[i] = Changed{a, derived[i].Changed}
	}
	return changed, nil
}

// changeEvents makes the events that a change means.
func (in *Intake) changeEvents(ctx context.Context, env *envelope, p Publishing) ([]*hook.Event, []derivedEvent, error) {
	derived, err := in.derive(ctx, env, p)
	if err != nil || len(derived) == 0 {
		return nil, nil, err
	}
	// Two changes of one id are the same if both documents are: the one before decides which events there
	// are.
	before, after := sha256.Sum256(env.before), sha256.Sum256(env.after)
	digest := slices.Concat(before[:], after[:])
	events := make([]*hook.Event, len(derived))
	for i, d := range derived {
		if err := p.mayPublish(d.Topic); err != nil {
			return nil, nil, err
		}
		if events[i], err = in.derived(env, d); err != nil {
			return nil, nil, err
		}
		events[i].Digest = hook.EventDigest(d.Topic, events[i].ObjectKey, digest)
	}
	return events, derived, nil
}

// derive checks the envelope and compares its documents. Both are in memory as values meanwhile, many
// times their size: no more are compared at once than there are processors.
func (in *Intake) derive(ctx context.Context, env *envelope, p Publishing) ([]derivedEvent, error) {
	if err := p.own(env); err != nil {
		return nil, err
	}
	var wrong []hook.FieldError
	refuse := func(field, code, detail string) {
		wrong = append(wrong, hook.FieldError{Field: field, Code: code, Detail: detail})
	}
	p.checkCompany(env, "change", refuse)
	if env.seen&memberObjectType == 0 {
		refuse("object_type", "required", "conversation, customer, customer_note or account, or what a topic is derived from")
	}
	if env.seen&memberBefore == 0 {
		refuse("before", "required", "the document before the change; null says that the object was created")
	}
	if env.seen&memberAfter == 0 {
		refuse("after", "required", "the document after the change; null says that the object was deleted")
	}
	in.checkTimes(env, refuse)
	field := "id"
	if env.seen&memberID == 0 {
		field, env.id = "Idempotency-Key", p.Key
	}
	if env.id == "" && env.seen&memberID == 0 {
		env.id = hook.NewID(hook.ChangePrefix, in.opt.Now())
	} else if !hook.ValidEventID(env.id) || len(env.id) > maxChangeID {
		refuse(field, "invalid_change_id", "must be 1–96 of A-Z a-z 0-9 _ : -; each event's id is this one, a colon and the topic")
	}
	if wrong != nil {
		return nil, hook.InvalidFields(wrong...)
	}
	for _, text := range []*[]byte{&env.before, &env.after} {
		doc, err := wire.Parse(*text)
		if err != nil {
			return nil, err
		}
		if err := in.checkSize("", doc.Text); err != nil {
			return nil, err
		}
		*text = bytes.Clone(doc.Text) // once, for all events
	}
	leave, err := in.turns.enter(ctx, env.company)
	if err != nil {
		return nil, full()
	}
	defer leave()
	events, err := change.Derive(change.ObjectType(env.object), env.before, env.after, in.rules(env.object)...)
	if err != nil {
		return nil, err
	}
	list := make([]derivedEvent, len(events))
	for i, d := range events { // what is kept of each is its texts: the documents' values go with the turn
		list[i].Event = change.Event{Topic: d.Topic, Data: d.Data, Changed: d.Changed}
		if list[i].claims, err = in.claims(d); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// derivedEvent is an event that a change means, with the text of what it changed.
type derivedEvent struct {
	change.Event
	claims []byte
}

// rules are those of own topics for a type of objects, in the order of the catalogue.
func (in *Intake) rules(object string) (list []change.Rule) {
	for _, t := range in.opt.Catalogue().Topics() {
		if t.DeriveFrom != "" && t.DeriveFrom == object {
			list = append(list, change.Rule{Topic: t.Name, Paths: strings.Fields(t.DerivePaths)})
		}
	}
	return list
}

// derived makes an event of what a change means, but for its digest.
func (in *Intake) derived(env *envelope, d derivedEvent) (*hook.Event, error) {
	doc, err := wire.Parse(d.Data)
	if err != nil {
		return nil, err
	}
	if err := in.checkSize(d.Topic, doc.Text); err != nil {
		return nil, err
	}
	topic, _ := in.opt.Catalogue().Lookup(d.Topic)
	e := in.assemble(&envelope{company: env.company, id: env.id + ":" + d.Topic, occurredAt: env.occurredAt, expiresAt: env.expiresAt}, topic, &doc)
	e.Changes = d.claims
	field := "data" // composed of both
	switch {
	case bytes.Equal(d.Data, env.after):
		field = "after"
	case bytes.Equal(d.Data, env.before):
		field = "before"
	}
	if refused := in.refusal(e, topic, field); refused != nil {
		return nil, refused
	}
	return e, nil
}

// maxClaims bounds what an event says of its changes, in bytes.
const maxClaims = 64 << 10

// claims are what an event changed, within what a body may have beside the data.
func (in *Intake) claims(d change.Event) ([]byte, error) {
	const around = len(`{"event":"","data":"","changes":}`)
	// Escaped to ASCII, and in a string, a byte can become seven.
	room := (in.opt.MaxEventBytes - around - len(d.Topic) - len(d.Data) - escapes(d.Data)) / 7
	const least = len(`{"":{}}`)
	if room < least {
		return nil, nil
	}
	text := d.Claims(min(room, maxClaims))
	if text == nil {
		return nil, nil
	}
	doc, err := wire.Parse(text)
	return doc.Text, err
}
