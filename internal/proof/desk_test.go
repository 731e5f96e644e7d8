package proof_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// desk is a support desk whose day is drawn by dice: people open conversations, agents take and answer
// them, customers become known, notes come and go. It knows by what was done, and not by comparing
// documents, which topics each change means: it shares no code with what derives them.
type desk struct {
	dice      *rand.Rand
	companies int
	of        map[string][]*thing // by object type, those that exist
	made      int
	changes   int
}

// thing is an object of the desk.
type thing struct {
	company, kind, id string
	doc               map[string]any
}

// deskChange is one change of one object, and the topics that it means.
type deskChange struct {
	ID         string          `json:"id"`
	Company    string          `json:"company_id"`
	ObjectType string          `json:"object_type"`
	Before     json.RawMessage `json:"before"`
	After      json.RawMessage `json:"after"`
	number     int
	object     string
	topics     []string
	deleted    bool
}

// events are what the change means, as the oracle writes them down.
func (c *deskChange) events() (all []oracle.Event) {
	data := c.After
	if c.deleted {
		data = c.Before
	}
	for _, topic := range c.topics {
		all = append(all, oracle.Event{ID: c.ID + ":" + topic, Company: c.Company, Topic: topic, ObjectID: c.object, Data: string(data)})
	}
	return all
}

func newDesk(seed uint64, companies int) *desk {
	return &desk{dice: rand.New(rand.NewPCG(seed, 14)), companies: companies, of: map[string][]*thing{}} //nolint:gosec // a test's dice
}

// next is what happens next.
func (d *desk) next() *deskChange {
	for {
		n := d.dice.IntN(100)
		switch {
		case n < 18:
			return d.open("conversation", []string{"conversation"}, map[string]any{
				"status": "open", "subject": d.words(), "tags": []string{"inbox"}, "priority": nil, "assigned_agent": nil, "custom_fields": map[string]any{"plan": "free"},
			})
		case n < 28:
			return d.open("customer", []string{"customer", "customer.created"}, map[string]any{
				"name": d.words(), "anonymous": true, "custom_fields": map[string]any{}, "number": 9007199254740993 + int64(d.changes),
			})
		case n < 34:
			return d.open("customer_note", []string{"customer_notes"}, map[string]any{"text": d.words()})
		case n < 38:
			return d.open("account", []string{"account.customer.linked"}, map[string]any{"account": fmt.Sprint("a", d.dice.IntN(9)), "customer": fmt.Sprint("u", d.changes)})
		case n < 40:
			if c := d.end("account", "account.customer.unlinked"); c != nil {
				return c
			}
		case n < 43:
			if c := d.end("customer_note", "customer_notes.deleted"); c != nil {
				return c
			}
		case n < 45:
			if c := d.end("conversation", "conversation"); c != nil {
				return c
			}
		case n < 48:
			if c := d.edit("customer_note", func(doc map[string]any) []string {
				doc["text"] = d.words()
				return []string{"customer_notes"}
			}); c != nil {
				return c
			}
		case n < 62:
			if c := d.edit("customer", d.customer); c != nil {
				return c
			}
		default:
			if c := d.edit("conversation", d.conversation); c != nil {
				return c
			}
		}
	}
}

// conversation does one to three things to a conversation.
func (d *desk) conversation(doc map[string]any) []string {
	topics := map[string]bool{"conversation": true}
	for _, what := range d.dice.Perm(6)[:1+d.dice.IntN(3)] {
		switch what {
		case 0:
			doc["status"] = d.other(doc["status"], "open", "pending", "solved", "closed")
			topics["conversation.status"] = true
		case 1:
			doc["priority"] = d.other(doc["priority"], "low", "normal", "urgent")
			topics["conversation.priority"] = true
		case 2:
			doc["assigned_agent"] = map[string]any{"id": fmt.Sprint("agent-", d.changes), "name": d.words()}
			topics["conversation.agent"] = true
		case 3:
			doc["tags"] = append(slices.Clone(doc["tags"].([]string)), fmt.Sprint("tag-", d.changes, len(doc["tags"].([]string))))
			topics["conversation.tags"] = true
		case 4:
			fields := maps.Clone(doc["custom_fields"].(map[string]any))
			fields["order"] = map[string]any{"number": int64(7615917337495251000) + int64(d.changes), "step": len(topics)}
			doc["custom_fields"] = fields
			topics["conversation.custom_field"] = true
		case 5:
			doc["subject"] = d.words()
		}
	}
	return slices.Sorted(maps.Keys(topics))
}

func (d *desk) customer(doc map[string]any) []string {
	switch d.dice.IntN(3) {
	case 0:
		if doc["anonymous"] == true {
			doc["anonymous"], doc["external_id"] = false, fmt.Sprint("crm-", d.changes)
			return []string{"customer", "customer.identify", "customer.updated"}
		}
		fallthrough
	case 1:
		doc["name"] = d.words()
		return []string{"customer", "customer.updated"}
	default:
		fields := maps.Clone(doc["custom_fields"].(map[string]any))
		fields["tier"] = fmt.Sprint(d.changes)
		doc["custom_fields"] = fields
		return []string{"customer", "customer.updated", "customer.custom_fields"}
	}
}

// other is one of the values that is not the one of now.
func (d *desk) other(now any, values ...string) string {
	for {
		if v := values[d.dice.IntN(len(values))]; v != now {
			return v
		}
	}
}

func (d *desk) words() string {
	d.made++
	return fmt.Sprintf("no. %d, “%s” & <b>", d.made, []string{"parcel", "Rechnung", "naïve", "日本", "\u2028"}[d.dice.IntN(5)])
}

func (d *desk) open(kind string, topics []string, doc map[string]any) *deskChange {
	t := &thing{company: fmt.Sprint("desk", d.dice.IntN(d.companies)), kind: kind, id: fmt.Sprintf("%s-%d", kind, d.changes), doc: doc}
	doc["id"] = t.id
	d.of[kind] = append(d.of[kind], t)
	return d.change(t, "null", t.text(), topics)
}

func (d *desk) edit(kind string, how func(doc map[string]any) []string) *deskChange {
	if len(d.of[kind]) == 0 {
		return nil
	}
	// The latest are worked on most.
	t := d.of[kind][max(0, len(d.of[kind])-1-int(d.dice.ExpFloat64()*10))]
	before := t.text()
	topics := how(t.doc)
	return d.change(t, before, t.text(), topics)
}

func (d *desk) end(kind, topic string) *deskChange {
	if len(d.of[kind]) == 0 {
		return nil
	}
	i := d.dice.IntN(len(d.of[kind]))
	t := d.of[kind][i]
	d.of[kind] = slices.Delete(d.of[kind], i, i+1)
	c := d.change(t, t.text(), "null", []string{topic})
	c.deleted = true
	return c
}

func (d *desk) change(t *thing, before, after string, topics []string) *deskChange {
	d.changes++
	return &deskChange{
		ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", d.changes), Company: t.company, ObjectType: t.kind, number: d.changes, object: t.id,
		Before: json.RawMessage(before), After: json.RawMessage(after), topics: topics,
	}
}

func (t *thing) text() string {
	text, err := json.Marshal(t.doc)
	if err != nil {
		panic(err) // maps and texts
	}
	return string(text)
}
