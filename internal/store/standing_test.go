package store

import (
	"context"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// counting is an engine that counts the questions of each read.
type counting struct {
	Engine
	most int // of one read
}

func (e *counting) count(fn func(sql.Tx) error) func(sql.Tx) error {
	return func(q sql.Tx) error {
		n := 0
		defer func() { e.most = max(e.most, n) }()
		return fn(counted{q, &n})
	}
}

func (e *counting) Read(ctx context.Context, fn func(sql.Tx) error) error {
	return e.Engine.Read(ctx, e.count(fn))
}

func (e *counting) Look(ctx context.Context, fn func(sql.Tx) error) error {
	return e.Engine.Look(ctx, e.count(fn))
}

type counted struct {
	sql.Tx
	n *int
}

func (c counted) Query(ctx context.Context, query string, args ...any) (sql.Rows, error) {
	*c.n++
	return c.Tx.Query(ctx, query, args...)
}

// TestListsReadOneByOne: how long a read lasts does not depend on how many webhooks a company has, whether
// it is asked how those of a list fare, or how many are in trouble. The control reads all of them at once.
func TestListsReadOneByOne(t *testing.T) {
	s, c, _ := asked(t)
	e := &counting{Engine: s.engine}
	s.engine = e
	at := hook.Now(time.Now().Add(time.Minute))
	var list []*hook.Webhook
	read := func(n int) (fares, trouble, control int) {
		t.Helper()
		for len(list) < n {
			list = append(list, s.subscribed(t, c, len(list), ""))
			_, err := s.Record(t.Context(), &Record{Cursors: []CursorMove{{Webhook: list[len(list)-1].Key, Health: Health{LastFailureAt: &at}}}})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, x := range []struct {
			most *int
			read func() error
		}{
			{&fares, func() error { _, err := s.Fares(t.Context(), list); return err }},
			{&trouble, func() error {
				_, _, err := s.CountWebhooks(t.Context(), c.Key, Trouble{Failing: 10, Refuses: 10}, 10)
				return err
			}},
			{&control, func() error { _, _, err := s.Webhooks(t.Context(), c.Key, WebhookFilter{}, 0, n); return err }},
		} {
			e.most = 0
			if err := x.read(); err != nil {
				t.Fatal(err)
			}
			*x.most = e.most
		}
		return fares, trouble, control
	}
	fares, trouble, control := read(2)
	manyFares, manyTrouble, manyControl := read(9)
	if manyFares != fares || manyTrouble != trouble {
		t.Errorf("with more webhooks the longest read asks %d and not %d questions of how they fare, %d and not %d of trouble", manyFares, fares, manyTrouble, trouble)
	}
	if manyControl < control+7 {
		t.Errorf("control: a read of whole webhooks asks %d questions for 2 of them, %d for 9", control, manyControl)
	}
}
