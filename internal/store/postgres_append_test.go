package store_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// version names the versions of the rows that lock appends: who updates one makes another.
func version(t *testing.T, c *pgx.Conn) string {
	t.Helper()
	return value[string](t, c, `SELECT string_agg(ctid::text, ' ' ORDER BY id) FROM partitions`)
}

// TestPostgresAppendLock: the row that locks a partition is locked and never updated, so that it does
// not grow a tail of dead versions while some transaction elsewhere is open.
func TestPostgresAppendLock(t *testing.T) {
	b := newBroken(t)
	admin, open := session(t, b.url), session(t, b.url)
	run(t, open, `BEGIN ISOLATION LEVEL REPEATABLE READ`)
	run(t, open, `SELECT * FROM partitions`)
	before := version(t, admin)
	for i := range 50 {
		if _, err := b.direct.Append(t.Context(), b.c.Partition, []*hook.Event{b.event(fmt.Sprintf("e%d", i), true)}); err != nil {
			t.Fatal(err)
		}
	}
	if after := version(t, admin); after != before {
		t.Errorf("50 appends have changed the rows that lock: %s, %s", before, after)
	}
	run(t, admin, `UPDATE partitions SET base_offset = base_offset WHERE id = $1`, int64(b.c.Partition))
	if version(t, admin) == before {
		t.Error("the control is not noticed: this test proves nothing")
	}
}

// TestPostgresPartitionsApart: a partition that is locked stops its own appends, and no other's.
func TestPostgresPartitionsApart(t *testing.T) {
	b := newBroken(t)
	holder := session(t, b.url)
	run(t, holder, `BEGIN`)
	run(t, holder, `SELECT id FROM partitions WHERE id = $1 FOR UPDATE`, int64(b.c.Partition))
	waits := make(chan error, 1)
	go func() {
		_, err := b.direct.Append(b.Context(), b.c.Partition, []*hook.Event{b.event("waits", true)})
		waits <- err
	}()
	for i := range 30 {
		other := hook.Partition((int(b.c.Partition) + 1 + i) % b.direct.Partitions())
		if _, err := b.direct.Append(t.Context(), other, []*hook.Event{b.event(fmt.Sprintf("e%d", i), true)}); err != nil {
			t.Error(err)
		}
	}
	select {
	case err := <-waits:
		t.Errorf("the partition's own did not wait: %v", err)
	default:
	}
	run(t, holder, `ROLLBACK`)
	if err := <-waits; err != nil {
		t.Error(err)
	}
}

// TestPostgresSameIDs: two nodes append the same ids to a partition at the same time, among others.
// Each id is there once, offsets have no hole, and nobody fails.
func TestPostgresSameIDs(t *testing.T) {
	b := newBroken(t)
	var all sync.WaitGroup
	for i := range 16 {
		node := b.direct
		if i%2 == 0 {
			node = b.store
		}
		all.Go(func() {
			for j := range 10 {
				own, shared := fmt.Sprintf("own%d-%d", i, j), fmt.Sprintf("shared%d", j)
				batch, err := node.Append(b.Context(), b.c.Partition, []*hook.Event{b.event(own, false), b.event(shared, false)})
				if err != nil || batch.Appended[0].Duplicate || batch.Appended[1].Event.ID != shared {
					t.Errorf("%s: %+v %v", own, batch, err)
				}
			}
		})
	}
	all.Wait()
	if ids := b.log(); len(ids) != 170 {
		t.Errorf("%d events instead of 170", len(ids))
	}
}

// TestPostgresSameIDsControl: a statement that locks and looks in one still sees what there was before
// it waited.
func TestPostgresSameIDsControl(t *testing.T) {
	b := newBroken(t)
	first, second := session(t, b.url), session(t, b.url)
	const insert = `INSERT INTO events (partition, "offset", id, company, topic, object_key, data, digest, accepted_at) VALUES (0, 1, 'e1', 1, '', '', '', '', 0)`
	run(t, first, `BEGIN`)
	run(t, first, `SELECT id FROM partitions WHERE id = 0 FOR UPDATE`)
	run(t, first, insert)
	seen := make(chan int, 1)
	go func() {
		seen <- value[int](t, second, `
			WITH lock AS MATERIALIZED (SELECT id FROM partitions WHERE id = 0 FOR UPDATE)
			SELECT (SELECT count(*) FROM events e WHERE e.id = 'e1' AND e.partition = lock.id) FROM lock`)
	}()
	admin := session(t, b.url)
	for value[int](t, admin, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`) == 0 {
	}
	run(t, first, `COMMIT`)
	if n := <-seen; n != 0 {
		t.Errorf("it sees %d: the order of the statements of an append does not matter", n)
	}
}

// TestPostgresPoisonedAppend: an event that the database refuses does not refuse those that were
// committed with it.
func TestPostgresPoisonedAppend(t *testing.T) {
	b := newBroken(t)
	holder := session(t, b.url) // so that all of them are one group
	run(t, holder, `BEGIN`)
	run(t, holder, `SELECT id FROM partitions WHERE id = $1 FOR UPDATE`, int64(b.c.Partition))
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			id := fmt.Sprintf("e%d", i)
			if i == 7 {
				id = "e\x00"
			}
			_, err := b.direct.Append(b.Context(), b.c.Partition, []*hook.Event{b.event(id, false)})
			if refused := err != nil; refused != strings.Contains(id, "\x00") {
				t.Errorf("%q: %v", id, err)
			}
		})
	}
	admin := session(t, b.url)
	for value[int](t, admin, `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`) == 0 {
	}
	run(t, holder, `ROLLBACK`)
	all.Wait()
	if ids := b.log(); len(ids) != 19 {
		t.Errorf("%d events instead of 19", len(ids))
	}
	// The control: in one statement, one refuses all.
	_, err := admin.Exec(t.Context(), `SELECT unnest($1::text[])`, []string{"a", "b\x00"})
	if refused, ok := err.(*pgconn.PgError); !ok || refused.Code != "22021" { //nolint:errorlint // as it comes
		t.Errorf("the database takes a NUL: %v", err)
	}
}
