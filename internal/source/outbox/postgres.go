package outbox

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-webhooks/atlas-webhooks/outbox"
)

// patience bounds a statement: a database that does not answer is one that is away.
const patience = 15 * time.Second

// postgres is the table on Postgres. Statements are neither prepared nor dependent on what a session was told:
// the next one may run in another, behind a pooler.
type postgres struct {
	pool *pgxpool.Pool
	told chan struct{} // one waits in it when something was written

	mu        sync.Mutex
	listening bool
	stop      context.CancelFunc // of the listener; nil: none runs
	done      chan struct{}
}

func openPostgres(address string) (*postgres, error) {
	c, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, errMalformed // what the parser says may hold the password
	}
	if _, given := c.ConnConfig.RuntimeParams["application_name"]; !given {
		c.ConnConfig.RuntimeParams["application_name"] = "atlas-webhooks outbox"
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.ConnConfig.StatementCacheCapacity, c.ConnConfig.DescriptionCacheCapacity = 0, 0
	c.MaxConns, c.MinConns = 3, 0 // to read, to delete, to say what waits
	pool, err := pgxpool.NewWithConfig(context.Background(), c)
	if err != nil {
		return nil, err
	}
	return &postgres{pool: pool, told: make(chan struct{}, 1)}, nil
}

const readPostgres = `
	SELECT id, uuid::text, company_id, coalesce(event, ''), coalesce(object_type, ''), coalesce(object_id, ''),
		left(data::text, $3), left(before_data::text, $3), left(after_data::text, $3),
		CASE WHEN occurred_at < '9999-12-31Z' AND occurred_at > '-infinity' THEN occurred_at END, -- others are no times to pgx
		coalesce(extract(epoch FROM clock_timestamp() - CASE WHEN isfinite(created_at) THEN created_at END), 0)::float8
	FROM atlas_webhooks_outbox
	WHERE ($1 OR hashtext(company_id) & 63 = ANY($2::int[])) AND (id > $5 OR id <> ALL($6::bigint[])) -- most are beyond those to leave out
	ORDER BY id LIMIT $4`

// Read asks in a transaction of one round trip, whose isolation does not depend on what the database or the role
// has for the default: a serializable one could make producers fail.
func (t *postgres) Read(ctx context.Context, partitions []int, limit int, except ...int64) ([]Row, error) {
	t.listen()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var all taken
	var b pgx.Batch
	b.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY`)
	b.Queue(readPostgres, len(partitions) == Partitions, partitions, maxText, limit, highest(except), append([]int64{}, except...)).Query(func(found pgx.Rows) error {
		for found.Next() {
			var r Row
			var data, before, after *string
			var age float64
			if err := found.Scan(&r.ID, &r.UUID, &r.CompanyID, &r.Event, &r.ObjectType, &r.ObjectID, &data, &before, &after, &r.OccurredAt, &age); err != nil {
				return err
			}
			r.Data, r.Before, r.After, r.Age = document(data), document(before), document(after), seconds(age)
			all.add(&r)
		}
		return found.Err()
	})
	b.Queue(`COMMIT`)
	if err := t.pool.SendBatch(ctx, &b).Close(); err != nil {
		return nil, plainPostgres(err)
	}
	return all.rows, nil
}

// Lag is asked by another goroutine.
func (t *postgres) Lag(ctx context.Context, partitions []int) (l Lag, err error) {
	var age float64
	err = t.pool.QueryRow(ctx, `
		SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at) FILTER (WHERE isfinite(created_at))), 0)::float8
		FROM (SELECT created_at FROM atlas_webhooks_outbox WHERE $1 OR hashtext(company_id) & 63 = ANY($2::int[]) ORDER BY id LIMIT $3) r`,
		len(partitions) == Partitions, partitions, maxCounted).Scan(&l.Rows, &age)
	l.Age = seconds(age)
	return l, plainPostgres(err)
}

func (t *postgres) Delete(ctx context.Context, rows []Row) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ids, uuids := make([]int64, len(rows)), make([]string, len(rows))
	for i := range rows {
		ids[i], uuids[i] = rows[i].ID, rows[i].UUID
	}
	var b pgx.Batch
	b.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED`)
	b.Queue(`DELETE FROM atlas_webhooks_outbox o USING unnest($1::bigint[], $2::text[]) AS d (id, uuid) WHERE o.id = d.id AND o.uuid = d.uuid::uuid`, ids, uuids)
	b.Queue(`COMMIT`)
	return plainPostgres(t.pool.SendBatch(ctx, &b).Close())
}

func plainPostgres(err error) error {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42P01" {
		return errNoTable(err)
	}
	return err
}

func (t *postgres) Wait(ctx context.Context, longest time.Duration) (heard bool) {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-t.told:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (t *postgres) Listens() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.listening
}

// listen starts the listener once: whoever never reads needs none.
func (t *postgres) listen() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop != nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	t.stop, t.done = stop, make(chan struct{})
	go func() {
		defer close(t.done)
		t.hear(ctx)
	}()
}

// hearAgain is how long a listener that heard no more waits until it tries again.
const hearAgain = time.Second

// hear listens for as long as ctx lasts, in a session of its own, unless a pooler stands before the database.
func (t *postgres) hear(ctx context.Context) {
	for ctx.Err() == nil {
		pooled := t.hearOnce(ctx)
		t.mu.Lock()
		t.listening = false
		t.mu.Unlock()
		t.wake() // what was written meanwhile was not heard of
		if pooled {
			return
		}
		select {
		case <-time.After(hearAgain):
		case <-ctx.Done():
		}
	}
}

func (t *postgres) hearOnce(ctx context.Context) (pooled bool) {
	conn, err := pgx.ConnectConfig(ctx, t.pool.Config().ConnConfig)
	if err != nil {
		return false // reading says so
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var pid uint32
	if err := conn.QueryRow(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
		return false
	}
	if pid != conn.PgConn().PID() {
		return true // which makes up a number of its own, and would give the session that listens to others
	}
	if _, err := conn.Exec(ctx, `LISTEN `+outbox.Channel); err != nil {
		return false
	}
	t.mu.Lock()
	t.listening = true
	t.mu.Unlock()
	t.wake()
	for {
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return false
		}
		t.wake()
	}
}

func (t *postgres) wake() {
	select {
	case t.told <- struct{}{}:
	default:
	}
}

func (t *postgres) Close() {
	t.mu.Lock()
	stop, done := t.stop, t.done
	t.mu.Unlock()
	if stop != nil {
		stop()
		<-done
	}
	t.pool.Close()
}

// document is a column's text, nil for NULL.
func document(text *string) []byte {
	if text == nil {
		return nil
	}
	return []byte(*text)
}

// longestAge is the most that an age is: a [time.Duration] does not go back to any time that a row may have.
const longestAge = 100 * 365 * 24 * time.Hour

func seconds(s float64) time.Duration {
	return time.Duration(min(max(0, s), longestAge.Seconds()) * float64(time.Second))
}
