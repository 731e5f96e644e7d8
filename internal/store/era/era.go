// Package era tells a store that went back from one that never did. Another era begins when a store turns out
// to be older than what it was; from then on everything that is given out lies far above what may have been
// given out in the time that is lost.
package era

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Era is a time in which the store never went back. Another one begins when it turns out to be older
// than what it was: a standby was promoted, or a copy restored.
type Era struct {
	Number  int64
	BeganAt time.Time
	Cause   string // in words; "" for the first one
	// What was acknowledged between these two may be missing; nil when nothing is.
	MissingFrom, MissingTo *time.Time

	ID     string // random, so that no two are taken for one
	Origin Origin
}

// Origin is how an era's server and row are told from others.
type Origin struct {
	System   string // the server's own identifier; "" = not known
	Timeline int64  // of its log; 0 = not known
	Database int64
	Written  int64 // the transaction that wrote the era's row; 0 = nobody has looked yet
}

// Whatever was given out in the time that is lost lies less far ahead than a Leap, and nine thousand
// leaps are less than 2⁵³, up to where every reader of JSON counts exactly. The versions of a webhook
// count changes that people made.
const (
	Leap        = 1_000_000_000_000
	versionLeap = 1_000_000
)

// MetaHeld is what meta holds from a restore until an operator says go: when it was, in microseconds.
const MetaHeld = "held since"

// Log is what an era asks of the engine that has the log.
type Log interface {
	Partitions() int
	LockLog(ctx context.Context, q sql.Tx, p hook.Partition) (hook.Offset, error)
	BeginAfter(ctx context.Context, q sql.Tx, p hook.Partition, o int64) error
	LastBeat(ctx context.Context, q sql.Tx) (int64, error)
	Slice(p hook.Partition) string
}

// NoticeWentBack is the kind of the notice that companies get.
const NoticeWentBack = "went_back"

const Columns = `number, id, began_at, cause, missing_from, missing_to, system, timeline, database, written`

func Scan(r sql.Rows) (e Era, err error) {
	var began int64
	var from, to *int64
	err = r.Scan(&e.Number, &e.ID, &began, &e.Cause, &from, &to, &e.Origin.System, &e.Origin.Timeline, &e.Origin.Database, &e.Origin.Written)
	e.BeganAt, e.MissingFrom, e.MissingTo = sql.FromMicros(began), sql.FromMicrosOrNull(from), sql.FromMicrosOrNull(to)
	return e, err
}

// Last reads the era that lasts; its number is 0 where none has begun.
func Last(ctx context.Context, q sql.Tx) (e Era, err error) {
	err = sql.Each(ctx, q, `SELECT `+Columns+` FROM eras ORDER BY number DESC LIMIT 1`, nil, func(r sql.Rows) error {
		e, err = Scan(r)
		return err
	})
	return e, err
}

// Setback is what is known when a store turns out to have gone back.
type Setback struct {
	Cause string
	Whole bool // all that was acknowledged is there
	Hold  bool // nothing is to be delivered until an operator says so
}

const (
	CauseSaid     = "an operator said so"
	CauseRestored = "restored from a backup"
	CauseCopy     = "a copy of it was restored"
)

// Begin makes everything that is given out from now on lie far above whatever may have been given
// out in the time that is lost, and writes down what may be missing. What was known of the store before
// means nothing any more. The caller keeps others from it.
func Begin(ctx context.Context, q sql.Tx, l Log, now time.Time, b Setback) (*Era, error) {
	e, err := Last(ctx, q)
	if err != nil {
		return nil, err
	}
	now = hook.Now(now)
	if !b.Whole {
		from, err := lastKnown(ctx, q, l, e.BeganAt)
		if err != nil {
			return nil, err
		}
		e.MissingFrom, e.MissingTo = &from, &now
	} else {
		e.MissingFrom, e.MissingTo = nil, nil
	}
	e.Cause, e.Origin = b.Cause, Origin{}
	if _, err := q.Exec(ctx, `UPDATE meta SET value = (value / $1 + 1) * $1 WHERE name IN ('company_key', 'webhook_key', 'replay_key')`, int64(Leap)); err != nil {
		return nil, err
	}
	for p := range l.Partitions() {
		if err := leapLog(ctx, q, l, hook.Partition(p)); err != nil {
			return nil, err
		}
	}
	if _, err := q.Exec(ctx, `UPDATE webhooks SET version = version + $1 WHERE deleted_at IS NULL`, int64(versionLeap)); err != nil {
		return nil, err
	}
	if b.Hold {
		if err := sql.SetMeta(ctx, q, MetaHeld, sql.Micros(now)); err != nil {
			return nil, err
		}
	}
	if err := Add(ctx, q, now, &e); err != nil {
		return nil, err
	}
	return &e, tellAll(ctx, q, &e)
}

// leapLog lets a partition's offsets begin anew, and with them the numbers of all webhooks.
func leapLog(ctx context.Context, q sql.Tx, l Log, p hook.Partition) error {
	head, err := l.LockLog(ctx, q, p)
	if err != nil {
		return err
	}
	base := (int64(head)/Leap + 1) * Leap
	if err := l.BeginAfter(ctx, q, p, base); err != nil {
		return err
	}
	_, err = q.Exec(ctx, `
		INSERT INTO rules (webhook, from_offset, topics, filter, Leap)
		SELECT r.webhook, $1, r.topics, r.filter, r.Leap + $2 FROM webhooks w JOIN rules r ON r.webhook = w.key
		WHERE w.partition = $3 AND r.from_offset = (SELECT max(x.from_offset) FROM rules x WHERE x.webhook = w.key)`, base+1, int64(Leap), int64(p))
	return err
}

// lastKnown is the time of the last that the store knows of: everything that was acknowledged before is
// there.
func lastKnown(ctx context.Context, q sql.Tx, l Log, began time.Time) (time.Time, error) {
	last := sql.Micros(began)
	for p := range l.Partitions() {
		var at int64
		err := sql.One(ctx, q, `SELECT coalesce((SELECT accepted_at FROM events WHERE `+l.Slice(hook.Partition(p))+` ORDER BY "offset" DESC LIMIT 1), 0)`, nil, &at)
		if err != nil {
			return time.Time{}, err
		}
		last = max(last, at)
	}
	beat, err := l.LastBeat(ctx, q)
	return sql.FromMicros(max(last, beat)), err
}

// Add writes the next era down.
func Add(ctx context.Context, q sql.Tx, now time.Time, e *Era) error {
	e.Number, e.ID, e.BeganAt = e.Number+1, rand.Text(), hook.Now(now)
	_, err := q.Exec(ctx, `
		INSERT INTO eras (number, id, began_at, cause, missing_from, missing_to, system, timeline, database, written)
		VALUES ($1, $2, $3, $4, $5, $6, '', 0, 0, 0)`, e.Number, e.ID, sql.Micros(e.BeganAt), e.Cause, sql.MicrosOrNull(e.MissingFrom), sql.MicrosOrNull(e.MissingTo))
	return err
}

// tellAll leaves a notice for every company that has webhooks, if something may be missing. Their ids
// are in the order of time, as all are.
func tellAll(ctx context.Context, q sql.Tx, e *Era) error {
	if e.MissingFrom == nil {
		return nil
	}
	id := hook.NewID(hook.NoticePrefix, e.BeganAt)
	_, err := q.Exec(ctx, `
		INSERT INTO notices (id, company, webhook, at, kind, detail)
		SELECT $1 || substr('0000000000000000' || CAST(c.key AS TEXT), length(CAST(c.key AS TEXT)) + 1), c.key, 0, $2, $3, $4
		FROM companies c WHERE EXISTS (SELECT 1 FROM webhooks w WHERE w.company = c.key AND w.deleted_at IS NULL)`,
		id[:len(id)-16], sql.Micros(e.BeganAt), NoticeWentBack, e.Missing())
	if err != nil {
		return fmt.Errorf("tell companies: %w", err)
	}
	return nil
}

// Missing says in words what may be missing; "" when nothing is.
func (e *Era) Missing() string {
	if e.MissingFrom == nil || e.MissingTo == nil {
		return ""
	}
	return fmt.Sprintf("events and changes that were acknowledged from %s to %s may be missing; publish them again with their ids, what is there is not taken twice",
		e.MissingFrom.Format(time.RFC3339), e.MissingTo.Format(time.RFC3339))
}

// ErrWentBack is the answer to who knows the store as it was before it went back: nothing was written.
// It is a [log.ErrFenced], too.
var ErrWentBack error = wentBackError{}

type wentBackError struct{}

func (wentBackError) Error() string {
	return "the database went back: it is older than what this node knows of it"
}

func (wentBackError) Is(target error) bool { return target == log.ErrFenced }

// Gone is the same to callers of the API, who may try again.
func Gone() error { return sql.Unavailable("store_busy", ErrWentBack) }

// Same leaves out what is not known of one of the two.
func (o Origin) Same(x Origin) bool {
	return (o.System == "" || x.System == "" || o.System == x.System) && (o.Timeline == 0 || x.Timeline == 0 || o.Timeline == x.Timeline) &&
		o.Database == x.Database
}

// Differs says in words how it differs from what it was.
func (o Origin) Differs(was Origin) string {
	switch {
	case o.System != was.System:
		return "it is on another server"
	case o.Timeline != was.Timeline:
		return fmt.Sprintf("a standby was promoted: the log's timeline is %d and was %d", o.Timeline, was.Timeline)
	}
	return "it is another database of the same name"
}

// Wrote says that the transaction that wrote an era's row is the one that said so in it. Transaction ids
// are counted in 32 bits there.
func (o Origin) Wrote(row string) bool { return row == strconv.FormatInt(o.Written&(1<<32-1), 10) }
