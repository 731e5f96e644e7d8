package outbox

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/outbox"
)

// watch makes the triggers of a table.
func (p *producer) watch(t *testing.T, w outbox.Watched) {
	t.Helper()
	statements, err := outbox.Watch(p.dialect, w)
	if err != nil {
		t.Fatal(err)
	}
	p.exec(t, statements)
	p.exec(t, statements) // it may be run again
}

// told are the rows of the outbox in short, and takes them out: company, and the document before and after.
func told(t *testing.T, table Table) (list []string) {
	t.Helper()
	short := func(text []byte) string {
		if text == nil {
			return "-"
		}
		var d map[string]any
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		return fmt.Sprint(d["id"], ":", d["name"])
	}
	for _, r := range take(t, table) {
		if r.ObjectType != "customer" || r.ObjectID == "" {
			t.Errorf("%+v", r)
		}
		list = append(list, r.CompanyID+" "+short(r.Before)+" "+short(r.After))
	}
	return list
}

// TestWatched: every kind of statement is told of once, with the documents before and after; one that changes
// nothing is not.
func TestWatched(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		p.exec(t, `CREATE TABLE customers (id INT PRIMARY KEY, company VARCHAR(20) NOT NULL, name VARCHAR(20))`)
		w := outbox.Watched{Table: "customers", ObjectType: "customer", Company: "company", ID: "id"}
		if p.dialect == outbox.MariaDB {
			w.Columns = []string{"id", "company", "name"}
		}
		p.watch(t, w)
		table := p.table(t)
		upsert, ignore := `ON CONFLICT (id) DO UPDATE SET name = excluded.name`, `INSERT INTO customers VALUES (1, 'c1', 'never') ON CONFLICT DO NOTHING`
		if p.dialect == outbox.MariaDB {
			upsert, ignore = `ON DUPLICATE KEY UPDATE name = VALUES(name)`, `INSERT IGNORE INTO customers VALUES (1, 'c1', 'never')`
		}
		for _, step := range []struct {
			statement string
			want      []string
		}{
			{`INSERT INTO customers VALUES (1, 'c1', 'a'), (2, 'c1', 'b')`, []string{"c1 - 1:a", "c1 - 2:b"}},
			{`UPDATE customers SET name = 'c' WHERE id = 1`, []string{"c1 1:a 1:c"}},
			{`UPDATE customers SET name = 'c' WHERE id = 1`, nil},
			{`INSERT INTO customers VALUES (2, 'c1', 'd'), (3, 'c1', 'e') ` + upsert, []string{"c1 - 3:e", "c1 2:b 2:d"}},
			{ignore, nil},
			{`UPDATE customers SET company = 'c2' WHERE id = 3`, []string{"c1 3:e -", "c2 - 3:e"}},
			{`UPDATE customers SET id = 4 WHERE id = 3`, []string{"c2 3:e -", "c2 - 4:e"}},
			{`UPDATE customers SET name = NULL`, []string{"c1 1:c 1:<nil>", "c1 2:d 2:<nil>", "c2 4:e 4:<nil>"}},
			{`DELETE FROM customers WHERE id < 3`, []string{"c1 1:<nil> -", "c1 2:<nil> -"}},
		} {
			p.exec(t, step.statement)
			got := told(t, table)
			slices.Sort(got)
			want := slices.Sorted(slices.Values(step.want))
			if !slices.Equal(got, want) {
				t.Errorf("%s: told %q, want %q", step.statement, got, want)
			}
		}
		// What is rolled back was not.
		tx := p.begin(t)
		tx.exec(t, `DELETE FROM customers`)
		tx.rollback(t)
		p.exec(t, `TRUNCATE TABLE customers`)
		got := told(t, table)
		if p.dialect == outbox.Postgres && !slices.Equal(got, []string{"c2 4:<nil> -"}) {
			t.Errorf("TRUNCATE: told %q", got)
		}
		if p.dialect == outbox.MariaDB && got != nil {
			t.Errorf("TRUNCATE fires triggers: %q: the documents say that it does not", got)
		}
	})
}

// TestMoves: a row that moves to another partition of its table is told of once, as are rows of a partition that
// a statement names itself, and TRUNCATE of all. The control is a row trigger for updates, which sees nothing.
func TestMoves(t *testing.T) {
	t.Parallel()
	p := newProducer(t, outbox.Postgres)
	p.exec(t, `
		CREATE TABLE customers (id int, company text, name text, region int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
		CREATE TABLE customers_1 PARTITION OF customers FOR VALUES IN (1);
		CREATE TABLE customers_2 PARTITION OF customers FOR VALUES IN (2);
		CREATE TABLE control (what text);
		CREATE FUNCTION control() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO control VALUES (TG_OP); RETURN NULL; END $$;
		CREATE TRIGGER control AFTER UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION control();`)
	p.watch(t, outbox.Watched{Table: "customers", ObjectType: "customer", Company: "company", ID: "id"})
	table := p.table(t)
	for _, step := range []struct {
		statement string
		want      []string
	}{
		{`INSERT INTO customers VALUES (1, 'c1', 'a', 1), (2, 'c1', 'b', 2)`, []string{"c1 - 1:a", "c1 - 2:b"}},
		{`UPDATE customers SET region = 2, name = 'moved' WHERE id = 1`, []string{"c1 1:a 1:moved"}},
		{`UPDATE customers_2 SET name = 'named' WHERE id = 2`, []string{"c1 2:b 2:named"}},
		{`INSERT INTO customers_1 VALUES (3, 'c1', 'c', 1)`, []string{"c1 - 3:c"}},
		{`TRUNCATE customers`, []string{"c1 1:moved -", "c1 2:named -", "c1 3:c -"}},
	} {
		p.exec(t, step.statement)
		got := told(t, table)
		slices.Sort(got)
		if !slices.Equal(got, step.want) {
			t.Errorf("%s: told %q, want %q", step.statement, got, step.want)
		}
	}
	// The one update that it saw is that of a row which stayed.
	p.exec(t, `DO $$ BEGIN ASSERT (SELECT count(*) = 1 FROM control), 'control: the row trigger saw the move'; END $$`)
}

// TestCascades: what a foreign key removes is told of on Postgres, and not on MariaDB, as the documents say.
func TestCascades(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		p.exec(t, `
			CREATE TABLE accounts (id INT PRIMARY KEY);
			CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(20), account INT, FOREIGN KEY (account) REFERENCES accounts (id) ON DELETE CASCADE);
			INSERT INTO accounts VALUES (1);
			INSERT INTO customers VALUES (1, 'a', 1), (2, 'b', 1);`)
		p.watch(t, outbox.Watched{Table: "customers", ObjectType: "customer", Company: "'only'", ID: "id", Columns: []string{"id", "name"}})
		p.exec(t, `DELETE FROM accounts`)
		got := told(t, p.table(t))
		slices.Sort(got)
		if p.dialect == outbox.Postgres && !slices.Equal(got, []string{"only 1:a -", "only 2:b -"}) {
			t.Errorf("told %q", got)
		}
		if p.dialect == outbox.MariaDB && got != nil {
			t.Errorf("a cascade fires triggers: %q: the documents say that it does not", got)
		}
	})
}

// TestNamesOfColumns: a document names columns as it wants to.
func TestNamesOfColumns(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		p.exec(t, `CREATE TABLE people (person_no INT PRIMARY KEY, tenant VARCHAR(20), full_name VARCHAR(20), secret VARCHAR(20));`)
		p.watch(t, outbox.Watched{Table: "people", ObjectType: "customer", Company: "tenant", ID: "person_no", Columns: []string{"id=person_no", "name=full_name"}})
		p.exec(t, `INSERT INTO people VALUES (1, 'c1', 'a', 'x')`)
		rows := take(t, p.table(t))
		if len(rows) != 1 || strings.Contains(string(rows[0].After), "secret") || rows[0].ObjectID != "1" {
			t.Fatalf("%+v", rows)
		}
		var d struct {
			ID   int
			Name string
		}
		if err := json.Unmarshal(rows[0].After, &d); err != nil || d.ID != 1 || d.Name != "a" {
			t.Errorf("%s %v", rows[0].After, err)
		}
	})
}

// TestWatchedRefuses: what could not stand in a statement is refused by the name of its field.
func TestWatchedRefuses(t *testing.T) {
	t.Parallel()
	good := outbox.Watched{Table: "shop.customers", ObjectType: "customer", Company: "company", ID: "id", Columns: []string{"id", "name"}}
	if _, err := outbox.Watch(outbox.Postgres, good); err != nil {
		t.Fatal(err)
	}
	for field, change := range map[string]func(w *outbox.Watched){
		"table":        func(w *outbox.Watched) { w.Table = `customers"; DROP TABLE x; --` },
		"company":      func(w *outbox.Watched) { w.Company = `'c1' OR 'x'` },
		"id":           func(w *outbox.Watched) { w.ID = "" },
		"object":       func(w *outbox.Watched) { w.ObjectType = "order" },
		"columns: \"n": func(w *outbox.Watched) { w.Columns = []string{"id", "name=x y"} },
		"columns: the": func(w *outbox.Watched) { w.Columns = []string{"name"} },
	} {
		w := good
		change(&w)
		if _, err := outbox.Watch(outbox.MariaDB, w); err == nil || !strings.HasPrefix(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	whole := good
	whole.Columns = nil
	if _, err := outbox.Watch(outbox.MariaDB, whole); err == nil || !strings.HasPrefix(err.Error(), "columns: MariaDB") {
		t.Error(err)
	}
}
