package outbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
	"github.com/atlas-webhooks/atlas-webhooks/outbox"
)

func event(object string, n int) outbox.Event {
	return outbox.Event{CompanyID: "c1", Event: "customer", ObjectID: object, Data: fmt.Appendf(nil, `{"id": %q, "n":  %d}`, object, n)}
}

// TestRow: what the helper writes is what is read: the document's text is kept, and a row is deleted by its uuid.
func TestRow(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		at := time.Date(2026, 3, 2, 9, 15, 0, 123456000, time.FixedZone("", 7200))
		text := `{"id": 1, "n": 1.0e0, "a":1,"a":2, "text": "José \u0000 \ud800 'quoted' \\ ?"}`
		p.publish(t,
			outbox.Event{ID: "0198c1f5-6a1e-7000-8000-000000000001", CompanyID: "c1", Event: "customer", ObjectID: "o'1", Data: []byte(text), OccurredAt: at},
			outbox.Change{CompanyID: "c2", ObjectType: "customer", Before: nil, After: map[string]any{"id": 7}},
			outbox.Event{CompanyID: "c3", Event: "customer"},
		)
		table := p.table(t)
		rows := read(t, table, MaxRows)
		if len(rows) != 3 {
			t.Fatalf("%d rows", len(rows))
		}
		one, two, three := rows[0], rows[1], rows[2]
		if one.UUID != "0198c1f5-6a1e-7000-8000-000000000001" || one.CompanyID != "c1" || one.Event != "customer" || one.ObjectID != "o'1" ||
			string(one.Data) != text || one.OccurredAt == nil || !one.OccurredAt.Equal(at) || one.Age < 0 || one.Age > time.Minute {
			t.Errorf("%+v %s", one, one.Data)
		}
		if two.ObjectType != "customer" || two.Event != "" || two.Before != nil || string(two.After) != `{"id":7}` || len(two.UUID) != 36 {
			t.Errorf("%+v %s", two, two.After)
		}
		if string(three.Data) != "null" || three.OccurredAt != nil {
			t.Errorf("%+v %s", three, three.Data)
		}
		if err := table.Delete(t.Context(), rows[:2]); err != nil {
			t.Fatal(err)
		}
		if left := read(t, table, MaxRows); len(left) != 1 || left[0].UUID != three.UUID {
			t.Errorf("left: %+v", left)
		}
	})
}

// TestLateCommit: a transaction that began first and commits last is read, although its id is the lowest. The
// control is a reader with a cursor, which never sees it.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		late := p.begin(t)
		late.publish(t, event("late", 1))
		p.publish(t, event("soon", 1))
		table := p.table(t)
		first := take(t, table)
		late.commit(t)
		second := take(t, table)
		if len(first) != 1 || first[0].ObjectID != "soon" || len(second) != 1 || second[0].ObjectID != "late" {
			t.Errorf("first %+v, then %+v", first, second)
		}
		if cursor := first[0].ID; second[0].ID > cursor {
			t.Errorf("control: a cursor at %d would have found %d", cursor, second[0].ID)
		}
	})
}

// TestOrderOfAnObject: transactions that take turns at an object, each publishing behind its UPDATE, are read in
// the order of the changes, whatever commits in between. The control publishes before the UPDATE.
func TestOrderOfAnObject(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		p.exec(t, `CREATE TABLE objects (id INT PRIMARY KEY, n INT); INSERT INTO objects VALUES (1, 0)`)
		turn := func(publishFirst bool) (order []string) {
			table := p.table(t)
			a, b := p.begin(t), p.begin(t)
			if publishFirst {
				a.publish(t, event("1", 2)) // whose change is the second
			}
			b.exec(t, `UPDATE objects SET n = n + 1 WHERE id = 1`)
			b.publish(t, event("1", 1))
			done := make(chan struct{})
			go func() {
				defer close(done)
				a.exec(t, `UPDATE objects SET n = n + 1 WHERE id = 1`) // waits for b
				if !publishFirst {
					a.publish(t, event("1", 2))
				}
				a.commit(t)
			}()
			b.commit(t)
			<-done
			for _, r := range take(t, table) {
				order = append(order, string(r.Data[strings.LastIndexByte(string(r.Data), ' ')+1:]))
			}
			return order
		}
		if order := turn(false); !slices.Equal(order, []string{"1}", "2}"}) {
			t.Errorf("order %s", order)
		}
		if order := turn(true); !slices.Equal(order, []string{"2}", "1}"}) {
			t.Errorf("control: published before the UPDATE, and in order all the same: %s", order)
		}
	})
}

// TestStrangeRows: a row with a time that is none, or with an id that no signed number is, holds up no other.
func TestStrangeRows(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		p.publish(t, event("first", 1))
		const insert = `INSERT INTO atlas_webhooks_outbox (company_id, event, object_id, data, occurred_at, created_at) VALUES ('c1', 'customer', 'strange', '{}', `
		strange := 8
		if p.dialect == outbox.Postgres {
			for _, at := range []string{"infinity", "-infinity", "20000-01-01", "4713-01-01 BC"} {
				p.exec(t, insert+`'`+at+`', now())`)
				p.exec(t, insert+`now(), '`+at+`')`)
			}
		} else {
			strange = 4
			p.exec(t, `SET STATEMENT sql_mode = '' FOR `+insert+`'0000-00-00', NOW(6))`)
			p.exec(t, `SET STATEMENT sql_mode = '' FOR `+insert+`NOW(6), '0000-00-00')`)
			p.exec(t, insert+`NOW(6), '0001-01-01')`)
			p.exec(t, `INSERT INTO atlas_webhooks_outbox (id, company_id, event, object_id, data) VALUES (9223372036854775808, 'c1', 'customer', 'strange', '{}')`)
		}
		p.publish(t, event("last", 1)) // on MariaDB its id is beyond, too
		table := p.table(t)
		if l, err := table.Lag(t.Context(), All()); err != nil || l.Rows != int64(strange)+2 || l.Age < 0 {
			t.Errorf("%+v %v", l, err)
		}
		first := read(t, table, strange+1)
		var except []int64
		for _, r := range first {
			if except = append(except, r.ID); r.Age < 0 {
				t.Errorf("%+v", r)
			}
		}
		rest, err := table.Read(t.Context(), All(), MaxRows, except...)
		if err != nil || len(rest) != 1 || rest[0].ObjectID != "last" {
			t.Errorf("%+v %v", rest, err)
		}
		if all := take(t, table); len(all) != strange+2 || all[0].ObjectID != "first" || all[strange+1].ObjectID != "last" {
			t.Errorf("%+v", all)
		}
		p.empty(t)
	})
}

// TestIDsThatBeginAnew: a row that has the id of one that was accepted and is gone by TRUNCATE stays. The control
// deletes by the id.
func TestIDsThatBeginAnew(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		table := p.table(t)
		p.publish(t, event("old", 1))
		accepted := read(t, table, MaxRows)
		truncate := `TRUNCATE TABLE atlas_webhooks_outbox`
		if p.dialect == outbox.Postgres {
			truncate += ` RESTART IDENTITY`
		}
		p.exec(t, truncate)
		p.publish(t, event("new", 1))
		if err := table.Delete(t.Context(), accepted); err != nil {
			t.Fatal(err)
		}
		left := read(t, table, MaxRows)
		if len(left) != 1 || left[0].ObjectID != "new" {
			t.Fatalf("left: %+v", left)
		}
		if left[0].ID != accepted[0].ID {
			t.Errorf("control: ids went on: %d, then %d", accepted[0].ID, left[0].ID)
		}
	})
}

// TestShares: every row is read by one of several nodes, and all of a company by the same.
func TestShares(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		var list []outbox.Message
		for i := range 300 {
			e := event("o", i)
			e.CompanyID = fmt.Sprintf("company-%d", i%100)
			list = append(list, e)
		}
		p.publish(t, list...)
		table, readers := p.table(t), map[string]int{}
		total := 0
		for i := range 3 {
			rows, err := table.Read(t.Context(), Share(i, 3), MaxRows)
			if err != nil {
				t.Fatal(err)
			}
			if len(rows) < 30 {
				t.Errorf("node %d reads %d of 300", i, len(rows))
			}
			total += len(rows)
			for _, r := range rows {
				if by, read := readers[r.CompanyID]; read && by != i {
					t.Errorf("%s is read by %d and %d", r.CompanyID, by, i)
				}
				readers[r.CompanyID] = i
			}
		}
		if total != 300 {
			t.Errorf("%d rows are read, of 300", total)
		}
	})
}

// TestBytes: what is read at once is bounded in bytes, and of a document no more is read than decides that it is
// too large.
func TestBytes(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, p *producer) {
		huge := p.begin(t)
		huge.exec(t, `INSERT INTO atlas_webhooks_outbox (company_id, event, data) SELECT 'c1', 'customer', `+map[outbox.Dialect]string{
			outbox.Postgres: `('"' || repeat('x', 12000000) || '"')::json`, outbox.MariaDB: `CONCAT('"', REPEAT('x', 12000000), '"')`,
		}[p.dialect])
		huge.commit(t)
		half := outbox.Event{CompanyID: "c1", Event: "customer", Data: strings.Repeat("y", MaxBytes/2-100)}
		p.publish(t, half)
		p.publish(t, half)
		p.publish(t, half)
		table := p.table(t)
		var sizes []int
		for {
			rows := read(t, table, MaxRows)
			if len(rows) == 0 {
				break
			}
			sizes = append(sizes, len(rows))
			if len(sizes) == 1 && len(rows[0].Data) != maxText {
				t.Errorf("%d bytes of the large one", len(rows[0].Data))
			}
			if err := table.Delete(t.Context(), rows); err != nil {
				t.Fatal(err)
			}
		}
		if !slices.Equal(sizes, []int{1, 2, 1}) {
			t.Errorf("read at once: %d", sizes)
		}
	})
}

// TestProducersNeverWait: while the relay deletes, others write; and what they write is not in its way.
func TestProducersNeverWait(t *testing.T) {
	t.Parallel()
	p := newProducer(t, outbox.MariaDB)
	p.publish(t, event("a", 1))
	gone := Row{ID: 1 << 40, UUID: "0198c1f5-6a1e-7000-8000-000000000009"} // a row of a reader that came too late
	for _, level := range []string{"READ COMMITTED", "REPEATABLE READ"} {
		p.exec(t, `SET GLOBAL innodb_lock_wait_timeout = 1`)
		conn, err := p.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range []string{`SET SESSION TRANSACTION ISOLATION LEVEL ` + level, `START TRANSACTION`} {
			if _, err := conn.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := conn.ExecContext(t.Context(), `DELETE FROM atlas_webhooks_outbox WHERE id IN (?) AND uuid IN (?)`, gone.ID, gone.UUID); err != nil {
			t.Fatal(err)
		}
		other, err := p.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.ExecContext(t.Context(), `SET SESSION innodb_lock_wait_timeout = 1`); err != nil {
			t.Fatal(err)
		}
		_, err = other.ExecContext(t.Context(), `INSERT INTO atlas_webhooks_outbox (company_id, event, data) VALUES ('c1', 'customer', '1')`)
		if waits := err != nil; waits != (level == "REPEATABLE READ") {
			t.Errorf("%s: a producer waits: %t (%v)", level, waits, err)
		}
		if _, err := conn.ExecContext(t.Context(), `ROLLBACK`); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		other.Close()
	}
	// The relay's own sessions are of the first kind.
	var level string
	if err := p.table(t).(*mariadb).db.QueryRowContext(t.Context(), `SELECT @@tx_isolation`).Scan(&level); err != nil || level != "READ-COMMITTED" {
		t.Errorf("the relay reads under %q %v", level, err)
	}
}

// TestListening: a commit wakes who listens on Postgres; behind a pooler nobody listens.
func TestListening(t *testing.T) {
	t.Parallel()
	p := newProducer(t, outbox.Postgres)
	table := p.table(t)
	if rows := read(t, table, 1); len(rows) != 0 {
		t.Fatal("it is not empty")
	}
	eventually(t, "the reader listens", table.Listens)
	for table.Wait(t.Context(), 200*time.Millisecond) { // what told that it listens
	}
	go p.publish(t, event("a", 1))
	if !table.Wait(t.Context(), 20*time.Second) || len(read(t, table, 1)) != 1 {
		t.Error("a commit did not wake the reader")
	}
	before, err := p.pg.PgBouncer(t.Context(), "pool_mode = transaction", "default_pool_size = 2")
	missing(t, err, postgrestest.ErrMissing)
	defer before.Stop()
	pooled, err := Open(before.URL(p.name))
	if err != nil {
		t.Fatal(err)
	}
	defer pooled.Close()
	for range 50 { // statements in one session are found in another neither prepared nor missing
		if rows := read(t, pooled, 1); len(rows) != 1 {
			t.Fatalf("through a pooler: %d rows", len(rows))
		}
	}
	<-pooled.(*postgres).done
	if pooled.Listens() {
		t.Error("it listens in a session that is not its own")
	}
}

// TestMistakes: what is wrong is said, and no password.
func TestMistakes(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"postgres://u:pass\x00word@h/d":           "malformed",
		"postgres://u:password@h:notaport/d":      "malformed",
		"mariadb://u:password@h":                  "names no database",
		"mariadb://u:password@h/d?tls=nosuchtls":  "malformed",
		"https://u:password@h/d":                  "begins with",
		"postgres://u:password@h/d?sslmode=wrong": "malformed",
	} {
		table, err := Open(address)
		if err == nil {
			table.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "password") {
			t.Errorf("%q: %v", address, err)
		}
	}
	both(t, func(t *testing.T, p *producer) {
		p.exec(t, `DROP TABLE atlas_webhooks_outbox`)
		if _, err := p.table(t).Read(t.Context(), All(), 1); err == nil || !strings.Contains(err.Error(), "outbox sql") {
			t.Errorf("without a table: %v", err)
		}
	})
}
