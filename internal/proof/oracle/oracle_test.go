package oracle

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"time"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// story is a run in which all went well, with one crash: 2 companies, 2 webhooks each, 10 events.
func story() *Oracle {
	o := New()
	for c := range 2 {
		for w := range 2 {
			o.Subscribed(Webhook{ID: fmt.Sprintf("wh%d%d", c, w), Company: fmt.Sprintf("c%d", c), Topics: []string{"conversation"}, Object: w == 1})
		}
	}
	at := epoch
	for i := range 10 {
		e := Event{ID: fmt.Sprintf("e%d", i), Company: fmt.Sprintf("c%d", i%2), Topic: "conversation", ObjectID: fmt.Sprint(i / 4), Data: `{"name":"José"}`}
		o.Publishing(e)
		o.Answered(e.ID, Acked)
		for w := range 2 {
			at = at.Add(time.Second)
			o.Received(receipt(e, fmt.Sprintf("wh%d%d", i%2, w), int64(i/2+1), w == 1, at))
		}
	}
	o.Publishing(Event{ID: "timed-out", Company: "c0", Topic: "conversation", Data: `{}`})
	o.Publishing(Event{ID: "refused", Company: "c0", Topic: "conversation", Data: `{}`})
	o.Answered("refused", Refused)
	o.Crashed(at.Add(time.Second))
	return o
}

func receipt(e Event, webhook string, sequence int64, object bool, at time.Time) Receipt {
	return Receipt{
		Webhook: webhook, Named: webhook, Event: e.ID, Topic: e.Topic, Attempt: 1, Sequence: sequence,
		Body: sha256.Sum256([]byte(Body(e.Topic, e.Data, object))), Accepted: true, At: at,
	}
}

func TestAllWell(t *testing.T) {
	o := story()
	if r := o.Check(); len(r) != 0 {
		t.Error(r)
	}
	if m := o.Missing(); len(m) != 0 {
		t.Error(m)
	}
}

// TestControl: each way in which a server can fail is seen, and called by its name.
func TestControl(t *testing.T) {
	one := func(change func(*Receipt)) func([]Receipt) []Receipt {
		return func(list []Receipt) []Receipt {
			change(&list[4])
			return list
		}
	}
	again := func(after time.Duration) func([]Receipt) []Receipt {
		return func(list []Receipt) []Receipt {
			x := list[4]
			x.At = x.At.Add(after)
			return append(list, x)
		}
	}
	for name, c := range map[string]struct {
		change func([]Receipt) []Receipt
		want   Kind
		also   Kind
	}{
		"removed":          {func(list []Receipt) []Receipt { return list[:len(list)-1] }, Lost, ""},
		"not accepted":     {one(func(x *Receipt) { x.Accepted = false }), Lost, ""},
		"removed within":   {func(list []Receipt) []Receipt { return append(list[:4], list[5:]...) }, Lost, Misnumbered},
		"unheard of":       {one(func(x *Receipt) { x.Event = "e99" }), Phantom, Lost},
		"refused":          {func(l []Receipt) []Receipt { return append(l, l[4], relabel(l[4], "refused"))[1:] }, Phantom, ""},
		"unknown, partial": {func(l []Receipt) []Receipt { return append(l, relabel(l[0], "timed-out")) }, Lost, ""},
		"another topic":    {one(func(x *Receipt) { x.Topic = "customer" }), Corrupt, ""},
		"another webhook":  {one(func(x *Receipt) { x.Named = "wh11" }), Corrupt, ""},
		"a flipped bit":    {one(func(x *Receipt) { x.Body[7] ^= 1 }), Corrupt, ""},
		"foreign":          {one(func(x *Receipt) { x.Webhook, x.Named = "wh10", "wh10" }), WrongCompany, Lost},
		"forged":           {one(func(x *Receipt) { x.Forged = "signature_mismatch" }), Forged, ""},
		"twice":            {again(time.Second), Unexplained, ""},
		"twice by a crash": {again(time.Hour), Duplicate, ""},
		"renumbered":       {one(func(x *Receipt) { x.Sequence = 77 }), Misnumbered, ""},
		"overtaken":        {func(l []Receipt) []Receipt { l[0].At, l[4].At = l[4].At, l[0].At; return l }, OutOfOrder, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := story().Tampered(c.change).Check()
			if len(r[c.want]) == 0 || c.also != "" && len(r[c.also]) == 0 {
				t.Errorf("no %q, %q in %s", c.want, c.also, r)
			}
		})
	}
}

func relabel(r Receipt, event string) Receipt {
	r.Event = event
	return r
}

func TestBody(t *testing.T) {
	const data = "{\"name\": \"Jos\u00e9 \U0001F525 \\\"x\\\"\",\n\t\"del\": \"\x7f\"}"
	want := `{"event":"customer","data":"{\"name\": \"Jos\\u00e9 \\ud83d\\udd25 \\\"x\\\"\",\n\t\"del\": \"\\u007f\"}"}`
	if got := Body("customer", data, false); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	want = "{\"event\":\"customer\",\"data\":{\"name\": \"Jos\\u00e9 \\ud83d\\udd25 \\\"x\\\"\",\n\t\"del\": \"\\u007f\"}}"
	if got := Body("customer", data, true); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}
