package outbox

import (
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/outbox"
)

// TestCame: the last event of an object has its last change, or not.
func TestCame(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 2, 9, 15, 0, 500, time.UTC)
	before := at.Add(-time.Second)
	for _, c := range []struct {
		changed string
		last    *Last
		came    bool
	}{
		{"7", nil, false},
		{"7", &Last{Data: []byte(`{"v": 7}`)}, true},
		{"7", &Last{Data: []byte(`{"v": 8}`)}, true}, // the table was read first
		{"10", &Last{Data: []byte(`{"v": 9}`)}, false},
		{"10.0", &Last{Data: []byte(`{"v": "10"}`)}, true},
		{"2026-03-02 09:15:00.5+00", &Last{Data: []byte(`{"v": "2026-03-02T10:15:00.5+01:00"}`)}, true},
		{"2026-03-02 09:15:00.5", &Last{Data: []byte(`{"v": "2026-03-02 09:15:00.4"}`)}, false},
		{"", &Last{Data: []byte(`{"v": null}`)}, true},
		{"2026-03-02 09:15:00", &Last{Data: []byte(`{}`), AcceptedAt: at}, true},
		{"2026-03-02 09:15:00", &Last{Data: []byte(`{}`), AcceptedAt: before}, false},
		{"2026-03-02 09:15:00", &Last{Data: []byte(`[1]`), AcceptedAt: at, OccurredAt: &before}, false},
	} {
		o := Object{ID: "1", Changed: c.changed}
		if came, err := o.Came("v", c.last); err != nil || came != c.came {
			t.Errorf("%q and %+v: %t %v", c.changed, c.last, came, err)
		}
	}
	o := Object{ID: "1", Changed: "blue"}
	if _, err := o.Came("v", &Last{Data: []byte(`{}`)}); err == nil || !strings.Contains(err.Error(), "neither a number nor a time") {
		t.Error(err)
	}
}

// TestObjects: the objects of a table, and which of them wait in the outbox.
func TestObjects(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		p.exec(t, `CREATE TABLE customers (id INT PRIMARY KEY, company VARCHAR(20), updated_at TIMESTAMP NULL);
			INSERT INTO customers VALUES (1, 'c1', CURRENT_TIMESTAMP), (2, 'c2', '2020-01-02 03:04:05')`)
		p.publish(t, outbox.Event{CompanyID: "c2", Event: "customer", Data: []byte(`{"id": 2}`)})
		table := p.table(t)
		o := Objects{Table: "customers", ID: "id", Changed: "updated_at", Company: "company"}
		list, err := table.Objects(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) != 2 || list[0].ID != "1" || list[0].Waits || list[1].Company != "c2" || !list[1].Waits {
			t.Errorf("%+v", list)
		}
		if at, ok := instant(list[1].Changed); !ok || at.Year() != 2020 {
			t.Errorf("%+v", list[1])
		}
		o.Since = time.Hour
		if list, err = table.Objects(t.Context(), o); err != nil || len(list) != 1 {
			t.Errorf("%+v %v", list, err)
		}
		for field, change := range map[string]func(o *Objects){
			"table": func(o *Objects) { o.Table = `x"; --` }, "id": func(o *Objects) { o.ID = "" },
			"changed": func(o *Objects) { o.Changed = "a b" }, "company-column": func(o *Objects) { o.Company = "a`b" },
		} {
			wrong := o
			change(&wrong)
			if _, err := table.Objects(t.Context(), wrong); err == nil || !strings.HasPrefix(err.Error(), field+":") {
				t.Errorf("%s: %v", field, err)
			}
		}
	})
}
