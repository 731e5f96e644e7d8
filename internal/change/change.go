// Package change derives events from what became of an object: its document before, and after.
//
// A producer who keeps objects often does not know what a change of one means for the catalogue, and
// must not forget one of the events that it means. It gives both documents, and [Derive] says which
// topics they differ in. The derivation is a pure function of the two: the same for the same documents,
// whenever it is asked.
//
// Two documents differ where their values do, not where their texts do: 1, 1.0 and 1e0 are one number,
// "A" may be written as an escape, the order of an object's names means nothing, and a name that is
// absent is one whose value is null. Names of an object's own fields may be written as assigned_agent or
// as assignedAgent, in one document so and in the other otherwise. Tags and an account's customers are
// sets.
package change

import (
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// ObjectType is a kind of object whose changes are understood.
type ObjectType string

// The kinds of objects.
const (
	Conversation ObjectType = "conversation"
	Customer     ObjectType = "customer"
	CustomerNote ObjectType = "customer_note"
	Account      ObjectType = "account"
)

// ObjectTypes are all of them.
func ObjectTypes() []ObjectType { return []ObjectType{Conversation, Customer, CustomerNote, Account} }

// Rule says which changes mean an event of a topic of the platform's own.
type Rule struct {
	Topic string
	// Paths are JSON pointers: the event is meant where what one of them points to differs between two documents
	// of an object that exists in both. Without any it is meant by every change, also a creation or deletion. The
	// first name of a pointer is an object's own field, and may be spelled either way.
	Paths []string
}

// MaxChanged bounds how many places [Event.Changed] names.
const MaxChanged = 100

// Event is one event that a change means.
type Event struct {
	Topic string
	// Data is the document after the change, as it was given; of an object that was deleted the one
	// before.
	Data []byte
	// Changed are the places that differ and that the topic is about, as JSON pointers (RFC 6901) with the
	// names of the document after, or of the one before where only that has them; at most [MaxChanged].
	// Empty for an object that was created or deleted.
	Changed []string

	places []place // those of Changed, with values
	fields []place // the object's own fields that they lie in, with values
	more   bool    // there are more places than Changed has
}

// Derive returns the events that a change means, in the order of the catalogue, the general topic first;
// none where the documents do not differ. A document that is nil or null stands for an object that does
// not exist: before its creation, after its deletion.
//
// Rules are those of the object's type, in the order of the catalogue; a type that has some need not be one of
// [ObjectTypes].
func Derive(t ObjectType, before, after []byte, rules ...Rule) ([]Event, error) {
	if len(rules) == 0 && !slices.Contains(ObjectTypes(), t) {
		return nil, hook.Invalid("object_type", "invalid_object_type", "must be conversation, customer, customer_note or account, or what a topic is derived from")
	}
	c := change{texts: [2][]byte{before, after}, data: after}
	var err error
	if c.before, err = parse("before", before); err != nil {
		return nil, err
	}
	if c.after, err = parse("after", after); err != nil {
		return nil, err
	}
	switch {
	case c.before == nil && c.after == nil:
		return nil, hook.Invalid("after", "no_object", "before and after are both null: there is no object that changed")
	case c.after == nil:
		c.data = before
	}
	if err := c.sameObject(); err != nil {
		return nil, err
	}
	c.pairs = slices.DeleteFunc(pair(c.before, c.after), func(m member) bool { return equal(m.before, m.after) })
	switch t {
	case Conversation:
		c.conversation()
	case Customer:
		c.customer()
	case CustomerNote:
		c.note()
	case Account:
		c.account()
	}
	for _, r := range rules {
		c.own(r)
	}
	return c.events, nil
}

// change is one call of [Derive].
type change struct {
	before, after object    // nil for an object that does not exist
	pairs         []member  // that differ
	texts         [2][]byte // of both
	data          []byte    // of after, or of before where the object was deleted
	events        []Event
	seen          map[string]differ // what differs at the pointers of rules
}

// updated says that the object exists before and after.
func (c *change) updated() bool { return c.before != nil && c.after != nil }

func (c *change) add(topic string, d differ) {
	c.events = append(c.events, d.event(topic, c.data))
}

// field adds an event of the topic where one of the fields differs between two documents of an object
// that exists in both: a creation is told by the general topic alone.
func (c *change) field(topic string, names ...string) {
	if d := c.differences(names...); c.updated() && len(d.found) > 0 {
		c.add(topic, d)
	}
}

// general adds an event of the topic for an object that differs in any way, appeared or went.
func (c *change) general(topic string) (d differ, ok bool) {
	d = c.differences()
	if c.updated() && len(d.found) == 0 {
		return d, false
	}
	c.add(topic, d)
	return d, true
}

// The fields that topics are about, as [plain] writes their names.
var (
	agentFields  = []string{"agent", "agentid", "assignedagent", "assignedagentid", "assignee", "assigneeid"}
	tagFields    = []string{"tags", "tagids"}
	customFields = []string{"customfields", "customfield"}
	externalIDs  = []string{"externalid", "externaluserid"}
	anonymous    = []string{"anonymous", "isanonymous"}
	customerSets = []string{"customers", "customerids"}
)

func (c *change) conversation() {
	if _, ok := c.general("conversation"); !ok {
		return
	}
	c.field("conversation.agent", agentFields...)
	c.field("conversation.tags", tagFields...)
	c.field("conversation.custom_field", customFields...)
	c.field("conversation.status", "status")
	c.field("conversation.priority", "priority")
}

func (c *change) customer() {
	changed, ok := c.general("customer")
	if !ok {
		return
	}
	if c.updated() && c.identified() {
		c.add("customer.identify", c.differences(slices.Concat(externalIDs, anonymous)...))
	}
	switch {
	case c.before == nil:
		c.add("customer.created", differ{})
	case c.after != nil:
		c.add("customer.updated", changed)
	}
	c.field("customer.custom_fields", customFields...)
}

// identified says that an anonymous customer became a known one, or a known one somebody else.
func (c *change) identified() bool {
	for _, m := range c.pairs {
		name := plain(m.name)
		switch {
		case slices.Contains(externalIDs, name) && m.after != nil:
			return true
		case slices.Contains(anonymous, name) && m.before == true && m.after != true:
			return true
		}
	}
	return false
}

func (c *change) note() {
	if c.after == nil {
		c.add("customer_notes.deleted", differ{})
		return
	}
	c.general("customer_notes")
}

// account tells which customers were linked to an account and which unlinked. An account's own fields
// have no topic. Where the object is itself a link, of one account and one customer, the link is the
// event's data; else that names the account's id, the customers, and holds the account.
func (c *change) account() {
	before, after := link(c.before), link(c.after)
	if before != nil || after != nil {
		if equal(before, after) {
			return
		}
		if after != nil {
			c.events = append(c.events, Event{Topic: "account.customer.linked", Data: c.texts[1]})
		}
		if before != nil {
			c.events = append(c.events, Event{Topic: "account.customer.unlinked", Data: c.texts[0]})
		}
		return
	}
	b, a := customers(c.before), customers(c.after)
	c.customers("account.customer.linked", without(a, b), b, a)
	c.customers("account.customer.unlinked", without(b, a), b, a)
}

// link is the customer of a document that is about one account and one customer, else nil.
func link(o object) value {
	if o.first("account", "accountid") == nil {
		return nil
	}
	return identity(o.first("customer", "customerid"))
}

func (c *change) customers(topic string, ids, before, after []value) {
	if len(ids) == 0 {
		return
	}
	object := c.after
	if object == nil {
		object = c.before
	}
	data := append([]byte(`{"id":`), raw(object["id"])...)
	data = append(append(data, `,"customer_ids":`...), raw(ids)...)
	data = append(append(data, `,"account":`...), c.data...)
	d := differ{}
	if c.updated() {
		d.tell("/account/"+escape(customersField(object)), before, after)
		d.fields = d.found
	}
	c.events = append(c.events, d.event(topic, append(data, '}')))
}

// sameObject refuses two documents of different objects, and one of an object without an id, whose
// events would have no order.
func (c *change) sameObject() error {
	var ids []value
	for _, d := range []struct {
		field string
		o     object
	}{{"before", c.before}, {"after", c.after}} {
		if d.o == nil {
			continue
		}
		switch id := d.o["id"].(type) {
		case text, number:
			ids = append(ids, id)
		case nil:
			return hook.Invalid(d.field+".id", "required", "the object has an id, a string or a number, by which its changes are kept in order")
		default:
			return hook.Invalid(d.field+".id", "invalid_type", "must be a string or a number")
		}
	}
	if len(ids) == 2 && !equal(ids[0], ids[1]) {
		return hook.Invalid("after.id", "another_object", "is not the id of before: two documents of one object are compared")
	}
	return nil
}

// differences are the pointers to what differs in the fields of these names, or in all where none are
// given.
func (c *change) differences(names ...string) (d differ) {
	if !c.updated() {
		return d
	}
	for _, m := range c.pairs {
		name, at := plain(m.name), "/"+escape(m.name)
		switch {
		case names != nil && !slices.Contains(names, name):
			continue
		case slices.Contains(agentFields, name) && identity(m.before) != nil && equal(identity(m.before), identity(m.after)) && names != nil:
			continue // the same agent, of whom something else changed
		case slices.Contains(tagFields, name) && isSet(m.before) && isSet(m.after):
			if before, after := set(m.before), set(m.after); len(without(before, after))+len(without(after, before)) == 0 {
				continue
			}
			d.tell(at, m.before, m.after)
		default:
			d.walk(at, m.before, m.after)
		}
		d.fields = append(d.fields, place{at, m.before, m.after})
	}
	return d
}

// member is one field of both documents.
type member struct {
	name          string
	before, after value
}

// pair finds the fields of two documents that belong together: of one name, or of names that differ in
// their spelling only.
func pair(before, after object) []member {
	spelled := make(map[string]string) // what only before has, by its plain name
	for name := range before {
		if _, both := after[name]; !both {
			spelled[plain(name)] = name
		}
	}
	var pairs []member
	for name, v := range after {
		other, both := before[name], false
		if _, both = before[name]; !both {
			if old, ok := spelled[plain(name)]; ok {
				other = before[old]
				delete(spelled, plain(name))
			}
		}
		pairs = append(pairs, member{name, other, v})
	}
	for _, name := range spelled {
		pairs = append(pairs, member{name, before[name], nil})
	}
	slices.SortFunc(pairs, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return pairs
}

// plain is a field's name without what differs between snake_case and camelCase.
func plain(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, "_", ""))
}

// place is where two documents differ.
type place struct {
	at            string // a pointer
	before, after value
}

// differ collects what differs.
type differ struct {
	found  []place // at most MaxChanged
	fields []place // the object's own fields that these lie in
	more   bool    // there is more than found has
}

func (d *differ) tell(at string, before, after value) {
	if len(d.found) == MaxChanged {
		d.more = true
		return
	}
	d.found = append(d.found, place{at, before, after})
}

func (d *differ) event(topic string, data []byte) Event {
	e := Event{Topic: topic, Data: data, places: d.found, fields: d.fields, more: d.more}
	for _, p := range d.found {
		e.Changed = append(e.Changed, p.at)
	}
	return e
}

// maxPointer bounds a pointer, beyond which what differs is named as a whole.
const maxPointer = 512

// walk looks for what differs within two values, at each of their parts once: to ask of every object on the
// way whether it differs at all would be to look at the innermost as often as it is deep.
func (d *differ) walk(at string, before, after value) {
	b, okB := before.(object)
	a, okA := after.(object)
	if !okB || !okA || len(at) > maxPointer {
		if !equal(before, after) {
			d.tell(at, before, after)
		}
		return
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if d.more {
			return
		}
		d.walk(at+"/"+escape(name), b[name], a[name])
	}
}

// escape writes a name into a JSON pointer.
func escape(name string) string {
	return string(jsontext.Pointer("").AppendToken(name))[1:]
}

// customersField is the name of an account's list of customers, as it is written there.
func customersField(o object) string {
	for _, want := range customerSets {
		for _, name := range slices.Sorted(maps.Keys(o)) {
			if _, list := o[name].([]value); list && plain(name) == want {
				return name
			}
		}
	}
	return customerSets[0]
}

// customers are the ids of an account's customers.
func customers(o object) []value {
	for _, name := range customerSets {
		if v, ok := o.first(name).([]value); ok {
			return set(v)
		}
	}
	return nil
}

// identity is what tells one thing from another: its id, or itself where it is one.
func identity(v value) value {
	o, ok := v.(object)
	if !ok {
		return v
	}
	return o.first("id")
}

func isSet(v value) bool {
	_, list := v.([]value)
	return list || v == nil
}

// set are the identities of a list's elements, each once, in order of their first mention. An element
// without an id, such as a tag that has only a name, is its own.
func set(v value) (ids []value) {
	list, _ := v.([]value)
	seen := make(map[string]bool, len(list))
	for _, e := range list {
		id := identity(e)
		if id == nil {
			id = e
		}
		if key := string(raw(id)); !seen[key] {
			seen[key] = true
			ids = append(ids, id)
		}
	}
	return ids
}

// without are the elements of a that b lacks.
func without(a, b []value) (rest []value) {
	has := make(map[string]bool, len(b))
	for _, v := range b {
		has[string(raw(v))] = true
	}
	for _, v := range a {
		if !has[string(raw(v))] {
			rest = append(rest, v)
		}
	}
	return rest
}

// first is the value of the first of these fields, by their plain names, that is there and not null.
func (o object) first(names ...string) value {
	for _, want := range names {
		if v := o[want]; v != nil {
			return v
		}
		for _, name := range slices.Sorted(maps.Keys(o)) {
			if v := o[name]; v != nil && plain(name) == want {
				return v
			}
		}
	}
	return nil
}
