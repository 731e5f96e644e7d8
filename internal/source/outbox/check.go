package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// MaxObjects bounds how many objects of a producer's table are compared at once.
const MaxObjects = 100_000

// Objects is which objects of a producer's table are asked for.
type Objects struct {
	Table   string
	ID      string        // the column of the object's id
	Changed string        // the column that says when, or how often, an object was changed
	Company string        // the column of the company's id; "" where it is the same for all
	Since   time.Duration // how long ago they were changed at most; 0: however long ago. Changed is a time then
}

// Object is one of a producer's objects.
type Object struct {
	Company string // "" where no column was named
	ID      string
	Changed string // a number, or a time; "" for NULL
	Waits   bool   // a row about it is in the outbox
}

// longest bounds a question about a whole table.
const longest = 5 * time.Minute

var column = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]{0,62}$`)

// statement asks for objects; quote is that of names, since is the condition with a column in the place of %s.
func (o *Objects) statement(quote, since string, text func(column string) string) (string, error) {
	for what, name := range map[string]string{"id": o.ID, "changed": o.Changed, "company-column": o.Company} {
		if !column.MatchString(name) && (what != "company-column" || name != "") {
			return "", fmt.Errorf("%s: %q is not the name of a column", what, name)
		}
	}
	var table []string
	for part := range strings.SplitSeq(o.Table, ".") {
		if !column.MatchString(part) {
			return "", fmt.Errorf("table: %q is not the name of a table", o.Table)
		}
		table = append(table, quote+part+quote)
	}
	quoted := func(name string) string { return quote + name + quote }
	company, where := "''", ""
	if o.Company != "" {
		company = text(quoted(o.Company))
	}
	if o.Since > 0 {
		where = " WHERE " + fmt.Sprintf(since, quoted(o.Changed))
	}
	return fmt.Sprintf("SELECT %s, %s, COALESCE(%s, '') FROM %s%s ORDER BY %s DESC LIMIT %d",
		company, text(quoted(o.ID)), text(quoted(o.Changed)), strings.Join(table, "."), where, quoted(o.Changed), MaxObjects), nil
}

// marked notes of which objects a row is in the outbox. waits are company and id, and also no company and id.
func marked(list []Object, waits map[[2]string]bool) []Object {
	for i := range list {
		list[i].Waits = waits[[2]string{list[i].Company, list[i].ID}]
	}
	return list
}

func (t *postgres) Objects(ctx context.Context, o Objects) (list []Object, err error) {
	// A timestamptz is written in UTC whatever the session's zone.
	statement, err := o.statement(`"`, `%s >= now() - $1::interval`, func(c string) string { return c + "::text" })
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	var args []any
	if o.Since > 0 {
		args = append(args, fmt.Sprintf("%d microseconds", o.Since.Microseconds()))
	}
	waits := map[[2]string]bool{}
	err = pgx.BeginTxFunc(ctx, t.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SET LOCAL timezone = 'UTC'`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, statement, args...)
		if err != nil {
			return err
		}
		if list, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (x Object, err error) {
			return x, r.Scan(&x.Company, &x.ID, &x.Changed)
		}); err != nil {
			return err
		}
		rows, err = tx.Query(ctx, `SELECT company_id, coalesce(object_id, data->>'id', after_data->>'id', before_data->>'id', '') FROM atlas_webhooks_outbox`)
		if err != nil {
			return err
		}
		var w [2]string
		_, err = pgx.ForEachRow(rows, []any{&w[0], &w[1]}, func() error {
			waits[w], waits[[2]string{"", w[1]}] = true, true
			return nil
		})
		return err
	})
	return marked(list, waits), plainPostgres(err)
}

func (t *mariadb) Objects(ctx context.Context, o Objects) (list []Object, err error) {
	statement, err := o.statement("`", `%s >= NOW(6) - INTERVAL ? MICROSECOND`, func(c string) string { return "CAST(" + c + " AS CHAR)" })
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	tx, err := t.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	if _, err := tx.ExecContext(ctx, `SET time_zone = '+00:00'`); err != nil {
		return nil, err
	}
	var args []any
	if o.Since > 0 {
		args = append(args, o.Since.Microseconds())
	}
	err = each(ctx, tx, statement, args, func(r *sql.Rows) error {
		var x Object
		err := r.Scan(&x.Company, &x.ID, &x.Changed)
		list = append(list, x)
		return err
	})
	if err != nil {
		return nil, plainMariaDB(err)
	}
	waits := map[[2]string]bool{}
	err = each(ctx, tx, `SELECT company_id, COALESCE(object_id, JSON_UNQUOTE(JSON_EXTRACT(COALESCE(data, after_data, before_data), '$.id')), '') FROM atlas_webhooks_outbox`, nil,
		func(r *sql.Rows) error {
			var w [2]string
			err := r.Scan(&w[0], &w[1])
			waits[w], waits[[2]string{"", w[1]}] = true, true
			return err
		})
	return marked(list, waits), plainMariaDB(err)
}

func each(ctx context.Context, tx *sql.Tx, query string, args []any, row func(*sql.Rows) error) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Last is the last event of an object that was accepted.
type Last struct {
	Data       []byte // its document
	OccurredAt *time.Time
	AcceptedAt time.Time
}

// errNoTime says that a comparison needs more.
var errNoTime = errors.New("is neither a number nor a time, and the document does not have it: name another column with --changed")

// Came reports whether the object's last change is in what was accepted last. The document says so where it has
// the column; else the time of the event, which is compared with the time of the change.
func (o *Object) Came(column string, last *Last) (bool, error) {
	if last == nil {
		return false, nil
	}
	var document map[string]json.RawMessage
	_ = json.Unmarshal(last.Data, &document) // what is no object has no members
	if value, ok := document[column]; ok {
		return reached(strings.Trim(string(value), `"`), o.Changed), nil
	}
	changed, ok := instant(o.Changed)
	if !ok {
		return false, fmt.Errorf("%s %q %w", column, o.Changed, errNoTime)
	}
	at := last.AcceptedAt
	if last.OccurredAt != nil {
		at = *last.OccurredAt
	}
	return !at.Before(changed), nil
}

// reached compares what a document has with what the table has: numbers and times by their order, texts by
// being the same.
func reached(document, table string) bool {
	if d, ok := instant(document); ok {
		if t, ok := instant(table); ok {
			return !d.Before(t)
		}
	}
	if d, ok := new(big.Float).SetString(document); ok {
		if t, ok := new(big.Float).SetString(table); ok {
			return d.Cmp(t) >= 0
		}
	}
	return document == table || document == "null" && table == ""
}

// instant reads a time as databases write it. One without a zone is in UTC.
func instant(s string) (time.Time, bool) {
	for _, form := range []string{
		time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
	} {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}
