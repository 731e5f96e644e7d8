package intake

import (
	"bytes"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// event makes an event of an envelope, with everything but its company's key and its place in the
// log. The refusal names every field that is wrong.
func (in *Intake) event(env *envelope, p Publishing) (*hook.Event, error) {
	if err := p.own(env); err != nil {
		return nil, err
	}
	var wrong []hook.FieldError
	refuse := func(field, code, detail string) {
		wrong = append(wrong, hook.FieldError{Field: field, Code: code, Detail: detail})
	}
	p.checkCompany(env, "event", refuse)
	topic, ok := in.opt.Catalogue().Lookup(env.topic)
	if !ok {
		if env.seen&memberTopic == 0 {
			refuse("event", "required", "every event has a topic")
		} else {
			refuse("event", "unknown_topic", in.unknownTopic(env.topic))
		}
	}
	if env.id != "" && !hook.ValidEventID(env.id) {
		field := "id"
		if env.seen&memberID == 0 {
			field = "Idempotency-Key"
		}
		refuse(field, "invalid_event_id", "must be 1–128 of A-Z a-z 0-9 _ : -")
	} else if env.id == "" && env.seen&memberID != 0 {
		refuse("id", "invalid_event_id", "must be 1–128 of A-Z a-z 0-9 _ : -, or left out")
	}
	if env.seen&memberObject != 0 && !hook.ValidObjectID(env.object) {
		refuse("object_id", "invalid_object_id", "must be 1–256 printable ASCII characters")
	}
	if env.seen&memberData == 0 {
		refuse("data", "required", "every event has data")
	}
	in.checkTimes(env, refuse)
	if wrong != nil {
		return nil, hook.InvalidFields(wrong...)
	}
	if err := p.mayPublish(env.topic); err != nil {
		return nil, err
	}
	doc, err := wire.Parse(env.data)
	if err != nil {
		return nil, err
	}
	if !p.AllowStringData && doc.Encoded() {
		return nil, hook.Invalid("data", "data_already_encoded",
			"is a string that holds JSON: it was encoded twice. Send the document itself, or allow_string_data=true if this is meant")
	}
	if err := in.checkSize(env.topic, doc.Text); err != nil {
		return nil, err
	}
	e := in.assemble(env, topic, &doc)
	if refused := in.refusal(e, topic, "data"); refused != nil {
		return nil, refused
	}
	return e, nil
}

// MostAhead is how far ahead an event may be scheduled, and how long it may live.
const MostAhead = 30 * 24 * time.Hour

// checkTimes refuses what lies out of bounds. A deliver_at that is past is one for now: who tries again after
// it has passed is to learn what became of the first try.
func (in *Intake) checkTimes(env *envelope, refuse func(field, code, detail string)) {
	now := in.opt.Now()
	begins := now
	if at := env.deliverAt; at != nil && at.After(now) {
		begins = *at
		if at.Sub(now) > MostAhead {
			refuse("deliver_at", "too_far_ahead", "must lie within 30 days from now")
		}
	}
	if at := env.expiresAt; at != nil {
		switch {
		case !at.After(now):
			refuse("expires_at", "past", "must lie in the future")
		case !at.After(begins):
			refuse("expires_at", "before_deliver_at", "must be after deliver_at")
		case at.Sub(begins) > MostAhead:
			refuse("expires_at", "too_far_ahead", "must lie within 30 days from deliver_at, or from now where there is none")
		}
	}
}

// checkCompany refuses an envelope, of an event or a change, that does not say whose it is.
func (p *Publishing) checkCompany(env *envelope, of string, refuse func(field, code, detail string)) {
	switch {
	case env.seen&memberCompany == 0 && p.Company == "":
		refuse("company_id", "required", "every "+of+" belongs to a company")
	case !hook.ValidCompanyID(env.company):
		refuse("company_id", "invalid_company_id", "must be 1–64 of A-Z a-z 0-9 _ : -")
	}
}

// own gives an envelope the only company that it may be of, and refuses one that names another.
func (p *Publishing) own(env *envelope) error {
	if p.Company == "" {
		return nil
	}
	if env.seen&memberCompany != 0 && env.company != p.Company {
		return hook.Refuse(hook.KindForbidden, "other_company", "this key belongs to another company than company_id names")
	}
	env.company = p.Company
	return nil
}

func (p *Publishing) mayPublish(topic string) error {
	if hook.TopicWithin(topic, p.Topics) {
		return nil
	}
	return hook.Refuse(hook.KindForbidden, "topic_not_allowed", "this key publishes %s and what begins with it and a dot, not %s", p.Topics, topic)
}

func (in *Intake) assemble(env *envelope, topic hook.Topic, doc *wire.Document) *hook.Event {
	e := &hook.Event{
		ID: env.id, CompanyID: env.company, Topic: topic.Name, Data: doc.Text, OccurredAt: env.occurredAt, ExpiresAt: env.expiresAt,
	}
	if e.ID == "" {
		e.ID, e.FreshID = hook.NewID(hook.EventPrefix, in.opt.Now()), true
	}
	if env.deliverAt != nil && env.deliverAt.After(in.opt.Now()) {
		e.DeliverAt = env.deliverAt
	}
	object := env.object
	if object == "" {
		// An id that could not stand in a header or an answer is not one that events share.
		if id, ok := doc.ID(); ok && hook.ValidObjectID(id) {
			object = id
		}
	}
	e.ObjectKey = topic.ObjectKey(object)
	e.Digest = hook.EventDigest(e.Topic, e.ObjectKey, env.data)
	return e
}

func (in *Intake) unknownTopic(name string) string {
	if near := in.opt.Catalogue().Nearest(clip(name)); near != "" {
		return "there is no such topic; did you mean " + near + "?"
	}
	return "there is no such topic; GET /v1/topics lists them"
}

// escapes is how many bytes a document takes more as a string.
func escapes(data []byte) (n int) {
	for _, escaped := range [...]string{`"`, `\`, "\t", "\n", "\r"} {
		n += bytes.Count(data, []byte(escaped))
	}
	return n
}

// checkSize bounds the finished body, in the format in which it is larger.
func (in *Intake) checkSize(topic string, data []byte) error {
	const around = len(`{"event":"","data":""}`)
	size := around + len(topic) + len(data)
	if 2*size <= in.opt.MaxEventBytes {
		return nil // even if every byte had to be escaped
	}
	size += escapes(data)
	if size <= in.opt.MaxEventBytes {
		return nil
	}
	return hook.Refuse(hook.KindTooLarge, "event_too_large", "the finished body would have %d bytes, at most %d are allowed", size, in.opt.MaxEventBytes)
}
