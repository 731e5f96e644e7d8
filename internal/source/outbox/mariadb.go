package outbox

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// mariadb is the table on MariaDB or MySQL, which is asked again and again: it has nothing that tells of a commit.
type mariadb struct{ db *sql.DB }

func openMariaDB(u *url.URL) (*mariadb, error) {
	query := u.Query()
	socket := query.Get("socket")
	query.Del("socket")
	c, err := mysql.ParseDSN("/?" + query.Encode())
	if err != nil {
		return nil, errMalformed
	}
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.DBName = strings.TrimPrefix(u.Path, "/")
	if c.DBName == "" {
		return nil, errors.New("the URL names no database")
	}
	c.Net, c.Addr = "tcp", u.Host
	if u.Port() == "" {
		c.Addr = net.JoinHostPort(u.Hostname(), "3306")
	}
	if socket != "" {
		c.Net, c.Addr = "unix", socket
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout, c.WriteTimeout = patience, patience
	}
	c.ParseTime, c.Loc, c.InterpolateParams, c.Logger = true, time.UTC, true, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, errMalformed
	}
	db := sql.OpenDB(committed{connector})
	db.SetMaxOpenConns(3) // to read, to delete, to say what waits
	db.SetConnMaxIdleTime(time.Minute)
	return &mariadb{db}, nil
}

// committed makes sessions that read what is committed. Under REPEATABLE READ, the default, what deletes locks
// the gaps between rows too, and producers would wait for it.
type committed struct{ driver.Connector }

func (c committed) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, `SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED`, nil); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// An id is read as a signed number, and said as the unsigned one that it is.
const readMariaDB = `
	SELECT CAST(id AS SIGNED), uuid, company_id, COALESCE(event, ''), COALESCE(object_type, ''), COALESCE(object_id, ''),
		LEFT(data, ?), LEFT(before_data, ?), LEFT(after_data, ?), occurred_at, COALESCE(TIMESTAMPDIFF(MICROSECOND, created_at, UTC_TIMESTAMP(6)), 0)
	FROM atlas_webhooks_outbox WHERE PARTITIONS AND (id > ? OR id NOT IN (EXCEPT)) ORDER BY id LIMIT ?`

func (t *mariadb) Read(ctx context.Context, partitions []int, limit int, except ...int64) ([]Row, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	which, args := within(partitions)
	without := []any{uint64(0)} // a list is not empty, and no row has this id
	highest := uint64(0)
	for _, id := range except {
		without, highest = append(without, uint64(id)), max(highest, uint64(id))
	}
	args = append(append([]any{maxText, maxText, maxText}, args...), highest)
	args = append(args, without...)
	query := strings.NewReplacer("PARTITIONS", which, "EXCEPT", marks(len(without))).Replace(readMariaDB)
	found, err := t.db.QueryContext(ctx, query, append(args, limit)...)
	if err != nil {
		return nil, plainMariaDB(err)
	}
	defer found.Close()
	var all taken
	for found.Next() {
		var r Row
		var age int64
		if err := found.Scan(&r.ID, &r.UUID, &r.CompanyID, &r.Event, &r.ObjectType, &r.ObjectID, &r.Data, &r.Before, &r.After, &r.OccurredAt, &age); err != nil {
			return nil, err
		}
		r.Age = microseconds(age)
		all.add(&r)
	}
	if err := found.Err(); err != nil || len(all.rows) == 0 {
		return nil, plainMariaDB(err)
	}
	return all.rows, plainMariaDB(t.settle(ctx, all.rows[len(all.rows)-1].ID))
}

// settle returns when what was read is in the server's log. InnoDB shows a commit to others before it has
// written it: a row that was read can be gone after a crash, and its event would tell of what never happened. A
// later commit that wrote something is written behind it; this one takes back what it wrote.
func (t *mariadb) settle(ctx context.Context, id int64) error {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after the commit there is nothing to undo
	for _, statement := range []string{"SAVEPOINT before_it", "DELETE FROM atlas_webhooks_outbox WHERE id = " + strconv.FormatUint(uint64(id), 10), "ROLLBACK TO SAVEPOINT before_it"} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func microseconds(n int64) time.Duration {
	return time.Duration(min(max(0, n), longestAge.Microseconds())) * time.Microsecond
}

func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?,", n), ",") }

// Lag is asked by another goroutine.
func (t *mariadb) Lag(ctx context.Context, partitions []int) (l Lag, err error) {
	which, args := within(partitions)
	var age sql.NullInt64
	err = t.db.QueryRowContext(ctx, `SELECT COUNT(*), TIMESTAMPDIFF(MICROSECOND, MIN(created_at), UTC_TIMESTAMP(6))
		FROM (SELECT created_at FROM atlas_webhooks_outbox WHERE `+which+` ORDER BY id LIMIT ?) r`, append(args, maxCounted)...).Scan(&l.Rows, &age)
	l.Age = microseconds(age.Int64)
	return l, plainMariaDB(err)
}

// within is the condition that a row belongs to some of the partitions.
func within(partitions []int) (condition string, args []any) {
	if len(partitions) == Partitions {
		return "TRUE", nil
	}
	for _, p := range partitions {
		args = append(args, p)
	}
	if args == nil {
		return "FALSE", nil
	}
	return "CRC32(company_id) & 63 IN (" + marks(len(args)) + ")", args
}

func (t *mariadb) Delete(ctx context.Context, rows []Row) error {
	if len(rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	args := make([]any, 0, 2*len(rows))
	for i := range rows {
		args = append(args, uint64(rows[i].ID))
	}
	for i := range rows {
		args = append(args, rows[i].UUID)
	}
	in := marks(len(rows))
	_, err := t.db.ExecContext(ctx, `DELETE FROM atlas_webhooks_outbox WHERE id IN (`+in+`) AND uuid IN (`+in+`)`, args...)
	return plainMariaDB(err)
}

func plainMariaDB(err error) error {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok && e.Number == 1146 {
		return errNoTable(err)
	}
	return err
}

func (t *mariadb) Wait(ctx context.Context, longest time.Duration) bool {
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

func (t *mariadb) Listens() bool { return false }

func (t *mariadb) Close() { _ = t.db.Close() } // it only read
