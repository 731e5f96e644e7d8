package outbox

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/atlas-webhooks/atlas-webhooks/internal/source/mariadbtest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
	"github.com/atlas-webhooks/atlas-webhooks/outbox"
)

// The servers run once for all tests.
var (
	postgresServer = sync.OnceValues(func() (*postgrestest.Cluster, error) { return postgrestest.Start(context.Background()) })
	mariadbServer  = sync.OnceValues(func() (*mariadbtest.Server, error) { return mariadbtest.Start(context.Background()) })
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(tests{m}) }

type tests struct{ *testing.M }

func (m tests) Run() int {
	code := m.M.Run()
	if c, err := postgresServer(); err == nil {
		c.Stop()
	}
	if s, err := mariadbServer(); err == nil {
		s.Stop()
	}
	return code
}

// producer is a database with an outbox, and sessions of its own in it.
type producer struct {
	dialect outbox.Dialect
	url     string
	pg      *postgrestest.Cluster // of Postgres
	name    string
	pool    *pgxpool.Pool // of Postgres
	db      *sql.DB       // of MariaDB
}

// both runs a test on both kinds of databases.
func both(t *testing.T, test func(t *testing.T, p *producer)) {
	for _, d := range []outbox.Dialect{outbox.Postgres, outbox.MariaDB} {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			test(t, newProducer(t, d))
		})
	}
}

func newProducer(t *testing.T, d outbox.Dialect) *producer {
	t.Helper()
	p := &producer{dialect: d}
	if d == outbox.Postgres {
		c, err := postgresServer()
		missing(t, err, postgrestest.ErrMissing)
		p.pg = c
		if p.name, err = c.Database(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		p.url = c.URL(p.name)
		if p.pool, err = pgxpool.New(t.Context(), p.url); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.pool.Close)
	} else {
		s, err := mariadbServer()
		missing(t, err, mariadbtest.ErrMissing)
		if p.name, err = s.Database(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.url = s.URL(p.name)
		if p.db, err = s.Open(p.name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.db.Close() })
	}
	p.exec(t, outbox.Schema(d, true))
	p.exec(t, outbox.Schema(d, true)) // it may be run again
	return p
}

func missing(t *testing.T, err, missing error) {
	t.Helper()
	if errors.Is(err, missing) && os.Getenv("CI") == "" { //nolint:forbidigo // a test may ask where it runs
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// exec runs statements, each in a transaction of its own or all in one.
func (p *producer) exec(t *testing.T, statements string) {
	t.Helper()
	var err error
	if p.dialect == outbox.Postgres {
		_, err = p.pool.Exec(t.Context(), statements, pgx.QueryExecModeSimpleProtocol)
	} else {
		_, err = p.db.ExecContext(t.Context(), statements)
	}
	if err != nil {
		t.Fatalf("%.300s: %v", statements, err)
	}
}

// publish writes messages in a transaction of their own, by the helper for producers.
func (p *producer) publish(t *testing.T, messages ...outbox.Message) {
	t.Helper()
	tx := p.begin(t)
	tx.publish(t, messages...)
	tx.commit(t)
}

// transaction is one of a producer.
type transaction struct {
	dialect outbox.Dialect
	pg      pgx.Tx
	my      *sql.Tx
}

func (p *producer) begin(t *testing.T) *transaction {
	t.Helper()
	x := &transaction{dialect: p.dialect}
	var err error
	if p.dialect == outbox.Postgres {
		x.pg, err = p.pool.Begin(t.Context())
	} else {
		x.my, err = p.db.BeginTx(t.Context(), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func (x *transaction) publish(t *testing.T, messages ...outbox.Message) {
	t.Helper()
	var err error
	if x.pg != nil {
		err = outbox.Publish(t.Context(), x.pg, messages...)
	} else {
		err = outbox.PublishSQL(t.Context(), x.my, x.dialect, messages...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (x *transaction) exec(t *testing.T, statement string) {
	t.Helper()
	var err error
	if x.pg != nil {
		_, err = x.pg.Exec(t.Context(), statement)
	} else {
		_, err = x.my.ExecContext(t.Context(), statement)
	}
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (x *transaction) scan(t *testing.T, query string, into any) error {
	if x.pg != nil {
		return x.pg.QueryRow(t.Context(), query).Scan(into)
	}
	return x.my.QueryRowContext(t.Context(), query).Scan(into)
}

func (x *transaction) rollback(t *testing.T) {
	t.Helper()
	var err error
	if x.pg != nil {
		err = x.pg.Rollback(t.Context())
	} else {
		err = x.my.Rollback()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (x *transaction) commit(t *testing.T) {
	t.Helper()
	var err error
	if x.pg != nil {
		err = x.pg.Commit(t.Context())
	} else {
		err = x.my.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// table opens the reading side.
func (p *producer) table(t *testing.T) Table {
	t.Helper()
	table, err := Open(p.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	return table
}

func read(t *testing.T, table Table, limit int) []Row {
	t.Helper()
	rows, err := table.Read(t.Context(), All(), limit)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// take reads everything there is and deletes it.
func take(t *testing.T, table Table) (all []Row) {
	t.Helper()
	for {
		rows := read(t, table, MaxRows)
		if len(rows) == 0 {
			return all
		}
		if err := table.Delete(t.Context(), rows); err != nil {
			t.Fatal(err)
		}
		all = append(all, rows...)
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // a condition of another process is asked for
		if time.Since(began) > 30*time.Second {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
