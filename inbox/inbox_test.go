package inbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/inbox"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/mariadbtest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

func event(sequence int64) *webhook.Event {
	return &webhook.Event{ID: fmt.Sprint("evt_", sequence), IDVerified: true, WebhookID: "wh_1", Sequence: sequence}
}

// databases runs a test on each kind of database that there is here.
func databases(t *testing.T, test func(t *testing.T, db *sql.DB, s *inbox.SQLStore)) {
	open := func(t *testing.T, driver, source string, d inbox.Dialect) {
		t.Helper()
		db, err := sql.Open(driver, source)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		s := inbox.NewSQLStore(db, d)
		var all sync.WaitGroup
		for range 4 { // as processes that start at the same time
			all.Go(func() {
				if err := s.Create(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if _, err := db.ExecContext(t.Context(), `CREATE TABLE effects (event_id VARCHAR(64) NOT NULL)`); err != nil {
			t.Fatal(err)
		}
		test(t, db, s)
	}
	t.Run("sqlite", func(t *testing.T) { open(t, "sqlite", sqlite(filepath.Join(t.TempDir(), "db")), inbox.SQLite) })
	t.Run("postgres", func(t *testing.T) {
		c, err := postgrestest.Start(t.Context())
		if missing(t, err, postgrestest.ErrMissing); err == nil {
			t.Cleanup(c.Stop)
			open(t, "pgx", c.URL("postgres"), inbox.Postgres)
		}
	})
	t.Run("mariadb", func(t *testing.T) {
		m, err := mariadbtest.Start(t.Context())
		if missing(t, err, mariadbtest.ErrMissing); err != nil {
			return
		}
		t.Cleanup(m.Stop)
		name, err := m.Database(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		db, err := m.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		s := inbox.NewSQLStore(db, inbox.MariaDB)
		for _, err := range []error{s.Create(t.Context()), s.Create(t.Context())} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := db.ExecContext(t.Context(), `CREATE TABLE effects (event_id VARCHAR(64) NOT NULL)`); err != nil {
			t.Fatal(err)
		}
		test(t, db, s)
	})
}

func sqlite(path string) string {
	return "file:" + path + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
}

// missing skips a test whose database is not installed; continuous integration insists on it.
func missing(t *testing.T, err, absent error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, absent) && os.Getenv("CI") == "": //nolint:forbidigo // a test may ask where it runs
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// effects are what handlers wrote, in order.
func effects(t *testing.T, db *sql.DB) (all []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `SELECT event_id FROM effects`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		all = append(all, id)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// write is a handler with an effect in its transaction.
func write(ctx context.Context, tx *sql.Tx, e *webhook.Event) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO effects VALUES ('`+e.ID+`')`)
	return err
}

// An event is done once however often it comes, also when it comes from several sides at once; one whose
// handler fails leaves nothing behind and is done when it comes again.
func TestOnce(t *testing.T) {
	databases(t, func(t *testing.T, db *sql.DB, s *inbox.SQLStore) {
		fails := true
		x := &inbox.Inbox{Store: s, Handle: func(ctx context.Context, tx *sql.Tx, e *webhook.Event) error {
			if err := write(ctx, tx, e); err != nil {
				return err
			}
			if e.Sequence == 1 && fails {
				return errors.New("no")
			}
			return nil
		}}
		if err := x.Take(t.Context(), event(1)); err == nil {
			t.Error("the handler's error is lost")
		}
		if got := effects(t, db); len(got) > 0 {
			t.Errorf("of a handler that failed there is %v", got)
		}
		fails = false
		var all sync.WaitGroup
		for n := range int64(3) {
			for range 4 {
				all.Go(func() {
					if err := x.Take(t.Context(), event(n+1)); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
		}
		if got, want := effects(t, db), []string{"evt_1", "evt_2", "evt_3"}; !slices.Equal(got, want) {
			t.Errorf("done: %v, want %v", got, want)
		}
		if n, known, err := s.Position(t.Context(), "wh_1"); n != 3 || !known || err != nil {
			t.Errorf("position %d %v %v", n, known, err)
		}
		if err := x.Take(t.Context(), event(2)); err != nil { // late: the position stays
			t.Error(err)
		}
		if n, _, _ := s.Position(t.Context(), "wh_1"); n != 3 {
			t.Errorf("position %d after a repetition", n)
		}
		upper := event(2)
		upper.ID = "EVT_2"
		if err := x.Take(t.Context(), upper); err != nil || len(effects(t, db)) != 4 {
			t.Errorf("%v: ids that differ in case are not one event: %v", err, effects(t, db))
		}
		if n, err := s.Prune(t.Context(), time.Hour); n != 0 || err != nil {
			t.Errorf("pruned %d %v of the last hour", n, err)
		}
		if n, err := s.Prune(t.Context(), -time.Hour); n != 4 || err != nil {
			t.Errorf("pruned %d %v", n, err)
		}
	})
}

// feed is a server that has the events of these sequences.
func feed(t *testing.T, sequences ...int64) *client.Client {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var after int64
		_, _ = fmt.Sscan(r.URL.Query().Get("after"), &after)
		var list []string
		for _, n := range sequences {
			if n > after && len(list) < 2 {
				list = append(list, fmt.Sprintf(`{"sequence":%d,"event_id":"evt_%d","event":"customer","object_id":null,"data":{}}`, n, n))
				after = n
			}
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"data":[%s],"limit":2,"next_after":%d}`, strings.Join(list, ","), after)
	}))
	t.Cleanup(s.Close)
	c, err := client.New(client.Config{URL: s.URL, Key: "awc_x", Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What is missing is done before what came; what cannot be had is reported, and nothing waits for it.
func TestGaps(t *testing.T) {
	for name, c := range map[string]struct {
		has, come, want []int64
		gaps            []inbox.Gap
		alone           bool // without a client
	}{
		"in order":             {come: []int64{7, 8, 9}, want: []int64{7, 8, 9}},
		"again":                {come: []int64{7, 8, 7, 8}, want: []int64{7, 8}},
		"missing":              {has: []int64{6, 7, 8, 9, 10, 11}, come: []int64{7, 11}, want: []int64{7, 8, 9, 10, 11}},
		"late":                 {has: []int64{7, 8, 9}, come: []int64{7, 9, 8}, want: []int64{7, 8, 9}},
		"purged":               {has: []int64{10, 11}, come: []int64{7, 11}, want: []int64{7, 10, 11}, gaps: []inbox.Gap{{WebhookID: "wh_1", First: 8, Last: 9, Reason: inbox.Purged}}},
		"all of them purged":   {has: []int64{12}, come: []int64{7, 11}, want: []int64{7, 11}, gaps: []inbox.Gap{{WebhookID: "wh_1", First: 8, Last: 10, Reason: inbox.Purged}}},
		"not there":            {has: []int64{8}, come: []int64{7, 11}, want: []int64{7, 8, 11}, gaps: []inbox.Gap{{WebhookID: "wh_1", First: 9, Last: 10, Reason: inbox.NotThere}}},
		"nobody to ask":        {alone: true, come: []int64{7, 10, 9}, want: []int64{7, 10, 9}, gaps: []inbox.Gap{{WebhookID: "wh_1", First: 8, Last: 9, Reason: inbox.NoClient}}},
		"a test, between them": {come: []int64{7, 0, 8}, want: []int64{7, 0, 8}},
	} {
		t.Run(name, func(t *testing.T) {
			var done []int64
			var gaps []inbox.Gap
			x := &inbox.Inbox{
				Store: &inbox.MemoryStore{}, OnGap: func(g inbox.Gap) { gaps = append(gaps, g) },
				Handle: func(_ context.Context, tx *sql.Tx, e *webhook.Event) error {
					if tx != nil {
						t.Error("memory has no transactions")
					}
					done = append(done, e.Sequence)
					return nil
				},
			}
			if !c.alone {
				x.Client = feed(t, c.has...)
			}
			for _, n := range c.come {
				if err := x.Take(t.Context(), event(n)); err != nil {
					t.Error(err)
				}
			}
			if !slices.Equal(done, c.want) {
				t.Errorf("done %v, want %v", done, c.want)
			}
			if d := cmp.Diff(c.gaps, gaps); d != "" {
				t.Error(d)
			}
		})
	}
}

// After an outage the feed is read from where this receiver is; what fails stops it there.
func TestCatchUp(t *testing.T) {
	fails := int64(9)
	x := &inbox.Inbox{Store: &inbox.MemoryStore{}, Client: feed(t, 7, 8, 9, 10), Handle: func(_ context.Context, _ *sql.Tx, e *webhook.Event) error {
		if e.Sequence == fails {
			return io.ErrUnexpectedEOF
		}
		return nil
	}}
	if err := x.Take(t.Context(), event(7)); err != nil {
		t.Fatal(err)
	}
	if n, err := x.CatchUp(t.Context(), "wh_1"); n != 1 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d, %v", n, err)
	}
	fails = 0
	if n, err := x.CatchUp(t.Context(), "wh_1"); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := x.CatchUp(t.Context(), "wh_1"); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	x.Client = nil
	if _, err := x.CatchUp(t.Context(), "wh_1"); err == nil {
		t.Error("without a client")
	}
}

// An id that nobody vouches for is refused: under another one a repeated request would count as new.
func TestUnverifiedID(t *testing.T) {
	done := 0
	x := &inbox.Inbox{Store: &inbox.MemoryStore{}, Handle: func(context.Context, *sql.Tx, *webhook.Event) error {
		done++
		return nil
	}}
	e := event(1)
	e.IDVerified = false
	if err := x.Take(t.Context(), e); !errors.Is(err, inbox.ErrUnverifiedID) || done > 0 {
		t.Errorf("%v, done %d", err, done)
	}
	x.UnverifiedIDs = true
	if err := x.Take(t.Context(), e); err != nil || done != 1 {
		t.Errorf("%v, done %d", err, done)
	}
}
