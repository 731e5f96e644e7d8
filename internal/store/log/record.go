package log

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Record is everything that the engine found out since its last record: one transaction.
type Record struct {
	Node    string // who writes: it must still be alive; "" where nobody shares the store
	At      time.Time
	Items   []Item
	Cursors []CursorMove
	Gates   []GateMove
	Swept   map[hook.Partition]hook.Offset // new low-water marks
	Status  []StatusChange
	Stats   []Stat
	Answers []Answer
	Notices []Notice
	Replays []ReplayMove
	// Rewind names partitions in which deliveries may have been parked by a clock that was ahead of
	// At. They wait as long as they were meant to, from At on.
	Rewind  []hook.Partition
	Repairs []Repair
}

// Repair is a webhook whose endpoint is asked otherwise from now on: what was parked since a time, up to At, becomes
// due.
type Repair struct {
	Webhook hook.WebhookKey
	Since   time.Time
}

// Item is one delivery's news. The delivery stands where Park says, or is no longer parked.
type Item struct {
	Attempt *hook.Attempt // nil when nothing was sent (held, skipped)
	Park    *hook.Parked  // insert or replace
	Unpark  *ParkedKey    // remove
	// Settle is a delivery whose attempt was answered 2xx: whatever else of it is parked goes. Its live row,
	// if there is one, counts as delivered, and its replay's for the replay.
	Settle *ParkedKey
	// Release is an object key (of the attempt's webhook) whose next held delivery becomes due.
	Release *ParkedKey
	// Free is one held delivery that nothing would release; it becomes due.
	Free *ParkedKey
	// Skip is one that was given up before any attempt, and would leave no other trace.
	Skip *Skip
}

// Skip is a delivery that was given up, and why.
type Skip struct {
	Webhook hook.WebhookKey
	Offset  hook.Offset
	Reason  string
}

// ParkedKey names a parked delivery; for a release, Object names the object.
type ParkedKey struct {
	Webhook hook.WebhookKey
	Kind    hook.Kind
	Offset  hook.Offset
	Object  string
}

// CursorMove moves one webhook's cursor forward (or leaves it) and adds to its counters.
type CursorMove struct {
	Webhook                    hook.WebhookKey
	Detached                   bool
	Offset                     hook.Offset
	Sequence                   int64
	Delivered, Failed, Skipped int64 // added
	Health                     Health
}

// GateMove says how a webhook's gate stands, if that changed.
type GateMove struct {
	Webhook hook.WebhookKey
	Gate    hook.Gate
}

// Health is the durable part of what a lane knows about its endpoint.
type Health struct {
	FailingSince, LastSuccessAt, LastFailureAt, ProbeAt *time.Time
	FailingHours, ConsecutiveFailures, ProbeStep        int
	LastFailingHour                                     int64
}

// StatusChange is the engine's own: it holds only for the endpoint version that it is about.
type StatusChange struct {
	Webhook         hook.WebhookKey
	Partition       hook.Partition
	EndpointVersion int64
	Status          hook.Status
	Reason          string
	Detail          string // of the notice
}

// Stat is what a webhook's minute gained.
type Stat struct {
	Webhook                    hook.WebhookKey
	Bucket                     int64 // minutes since 1970
	Delivered, Failed, Retried int64
	Latency, Arrival           hook.Histogram
}

// Answer is what one of a webhook's last successes answered.
type Answer struct {
	Webhook      hook.WebhookKey
	Slot         int
	Offset       hook.Offset
	Number       int
	Header, Body []byte
}

// Notice is something that a company should know about its webhook.
type Notice struct {
	Webhook hook.WebhookKey
	Kind    string
	Detail  string
}

// ReplayMove is a replay's progress.
type ReplayMove struct {
	Key                        int64
	Place                      hook.Offset
	Started, Delivered, Failed int64 // added
	Done                       bool
}

// Recorded is what the transaction found out in turn.
type Recorded struct {
	Released []hook.Parked // held deliveries that are due now
	Settled  []hook.Parked // rows that went because another attempt of their delivery was answered 2xx
	SetAside []ParkedKey   // items that the store refused
	// Rewound are those of Rewind in which due times changed; there may be more to change.
	Rewound []hook.Partition
	// Lost is why statistics, answers and notices of this record were not kept; nil when they were.
	// No delivery depends on them.
	Lost error
}

// ErrFenced is the answer to a node that is no longer alive: nothing was written.
var ErrFenced = errors.New("this node has lost its lease")

// Write is the body of the transaction. An item that the store itself refuses is found by
// halving and set aside; the others go on.
func Write(ctx context.Context, q Tx, r *Record) (out Recorded, err error) {
	if out, err = recordEssentials(ctx, q, r); err != nil {
		return out, err
	}
	for _, p := range r.Rewind {
		if err := rewind(ctx, q, p, r.At, &out); err != nil {
			return out, err
		}
	}
	for _, x := range r.Repairs {
		if _, err := q.Exec(ctx, RepairParked, x.Args(r.At)...); err != nil {
			return out, fmt.Errorf("repair: %w", err)
		}
	}
	if len(r.Stats)+len(r.Answers)+len(r.Notices) > 0 {
		out.Lost = sql.Savepoint(ctx, q, func() error { return recordExtras(ctx, q, r) })
		if out.Lost != nil && transient(q, out.Lost) {
			return out, out.Lost
		}
	}
	return out, nil
}

func recordEssentials(ctx context.Context, q Tx, r *Record) (out Recorded, err error) {
	err = sql.Savepoint(ctx, q, func() error {
		if err := recordItems(ctx, q, r.Items, r.At, &out); err != nil {
			return err
		}
		return recordRest(ctx, q, r)
	})
	if err == nil || transient(q, err) || len(r.Items) == 0 {
		return out, err
	}
	out = Recorded{}
	err = sql.Savepoint(ctx, q, func() error {
		if err := recordHalves(ctx, q, r.Items, r.At, &out); err != nil {
			return err
		}
		return recordRest(ctx, q, r)
	})
	return out, err
}

func recordHalves(ctx context.Context, q Tx, items []Item, at time.Time, out *Recorded) error {
	var part Recorded
	err := sql.Savepoint(ctx, q, func() error { return recordItems(ctx, q, items, at, &part) })
	switch {
	case err == nil:
		out.take(part)
		return nil
	case transient(q, err):
		return err
	case len(items) > 1:
		half := len(items) / 2
		if err := recordHalves(ctx, q, items[:half], at, out); err != nil {
			return err
		}
		return recordHalves(ctx, q, items[half:], at, out)
	}
	return setAside(ctx, q, items[0], at, err, out)
}

// setAside records a refused item without what the receiver said, and failing that, without its
// attempt: what became of the delivery is kept in every case.
func setAside(ctx context.Context, q Tx, item Item, at time.Time, cause error, out *Recorded) error {
	a := item.Attempt
	if a == nil {
		return fmt.Errorf("record: %w", cause)
	}
	out.SetAside = append(out.SetAside, ParkedKey{Webhook: a.Webhook, Kind: a.Kind, Offset: a.Offset})
	bare := *a
	bare.AnswerHeader, bare.AnswerBody, bare.ErrorDetail, bare.ErrorClass = nil, nil, "", hook.ErrUnrecordable
	for _, try := range []*hook.Attempt{&bare, nil} {
		var part Recorded
		one := item
		one.Attempt = try
		err := sql.Savepoint(ctx, q, func() error {
			if err := recordItems(ctx, q, []Item{one}, at, &part); err != nil {
				return err
			}
			_, err := q.Exec(ctx, `
				INSERT INTO unrecordable (webhook, "offset", number, at, error) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (webhook, "offset", number) DO NOTHING`,
				int64(a.Webhook), int64(a.Offset), int64(a.Number), sql.Micros(at), []byte(cause.Error()))
			return err
		})
		if err == nil {
			out.take(part)
			return nil
		}
		if transient(q, err) {
			return err
		}
		cause = errors.Join(cause, err)
	}
	return fmt.Errorf("set aside: %w", cause)
}

// transient errors are about the store's state, not about an item.
func transient(q Tx, err error) bool {
	return hook.IsKind(err, hook.KindUnavailable) || errors.Is(err, ErrFenced) || errors.Is(err, context.Canceled) ||
		errors.Is(err, errCursorMovedBack) || q.AtFault(err)
}

// Tx is a transaction that inserts any number of attempts, each engine in its own way.
type Tx interface {
	sql.Tx
	InsertAttempts(ctx context.Context, attempts []*hook.Attempt) error
	// AtFault reports whether an error is about the database rather than about what was to be written.
	AtFault(err error) bool
}

func recordItems(ctx context.Context, q Tx, items []Item, at time.Time, out *Recorded) error {
	attempts := make([]*hook.Attempt, 0, len(items))
	for i := range items {
		if items[i].Attempt != nil {
			attempts = append(attempts, items[i].Attempt)
		}
	}
	if err := q.InsertAttempts(ctx, attempts); err != nil {
		return fmt.Errorf("insert attempts: %w", err)
	}
	for i := range items {
		if err := recordParked(ctx, q, &items[i], at, out); err != nil {
			return err
		}
	}
	return nil
}

func recordParked(ctx context.Context, q sql.Tx, item *Item, at time.Time, out *Recorded) error {
	if p := item.Park; p != nil {
		failpoint.Hit(failpoint.Park)
		_, err := q.Exec(ctx, parkRow, Parked.Args(p)...)
		if err != nil {
			return fmt.Errorf("park: %w", err)
		}
	}
	if k := item.Unpark; k != nil {
		if _, err := q.Exec(ctx, `DELETE FROM parked WHERE webhook = $1 AND kind = $2 AND "offset" = $3`, int64(k.Webhook), string(k.Kind), int64(k.Offset)); err != nil {
			return fmt.Errorf("unpark: %w", err)
		}
	}
	if k := item.Skip; k != nil {
		_, err := q.Exec(ctx, `INSERT INTO skips (webhook, from_offset, to_offset, reason, at) VALUES ($1, $2, $2, $3, $4) ON CONFLICT DO NOTHING`,
			int64(k.Webhook), int64(k.Offset), k.Reason, sql.Micros(at))
		if err != nil {
			return fmt.Errorf("skip: %w", err)
		}
	}
	if k := item.Settle; k != nil {
		if err := settle(ctx, q, k, out); err != nil {
			return fmt.Errorf("settle: %w", err)
		}
	}
	if k := item.Free; k != nil {
		err := sql.Each(ctx, q, `
			UPDATE parked SET due_at = $1, parked_at = $1, reason = 'released' WHERE webhook = $2 AND kind = 'live' AND "offset" = $3 AND due_at IS NULL
			RETURNING `+ParkedColumns, []any{sql.Micros(at), int64(k.Webhook), int64(k.Offset)}, func(r sql.Rows) error {
			p, err := ScanParked(r)
			out.Released = append(out.Released, p)
			return err
		})
		if err != nil {
			return fmt.Errorf("free: %w", err)
		}
	}
	if k := item.Release; k != nil {
		return sql.Each(ctx, q, `
			UPDATE parked SET due_at = $1, parked_at = $1, reason = 'released' WHERE webhook = $2 AND kind = 'live' AND due_at IS NULL AND "offset" =
				(SELECT min("offset") FROM parked WHERE webhook = $2 AND object_key = $3 AND kind = 'live')
			RETURNING `+ParkedColumns, []any{sql.Micros(at), int64(k.Webhook), k.Object}, func(r sql.Rows) error {
			p, err := ScanParked(r)
			out.Released = append(out.Released, p)
			return err
		})
	}
	return nil
}

// take adds what a part of the transaction found out.
func (out *Recorded) take(part Recorded) {
	out.Released, out.Settled = append(out.Released, part.Released...), append(out.Settled, part.Settled...)
}

// settle takes away what waits of a delivery that was made.
func settle(ctx context.Context, q sql.Tx, k *ParkedKey, out *Recorded) error {
	live, replays := 0, []int64(nil)
	err := sql.Each(ctx, q, `DELETE FROM parked WHERE webhook = $1 AND kind IN ('live', 'manual', 'replay') AND "offset" = $2 RETURNING `+ParkedColumns,
		[]any{int64(k.Webhook), int64(k.Offset)}, func(r sql.Rows) error {
			p, err := ScanParked(r)
			switch out.Settled = append(out.Settled, p); p.Kind {
			case hook.Live:
				live++
			case hook.Replay:
				replays = append(replays, p.Replay)
			case hook.Manual, hook.Test:
			}
			return err
		})
	if err == nil && live > 0 {
		_, err = q.Exec(ctx, `UPDATE cursors SET delivered = delivered + 1 WHERE webhook = $1`, int64(k.Webhook))
	}
	for _, replay := range replays {
		if err == nil {
			_, err = q.Exec(ctx, `UPDATE replays SET delivered = delivered + 1 WHERE key = $1`, replay)
		}
	}
	return err
}

// The reason of what is parked for a replay that was cancelled says so.
const ParkedColumns = `webhook, kind, "offset", partition, sequence, object_key, attempts, step, throttles, due_at, parked_at,
	CASE WHEN kind = 'replay' AND EXISTS (SELECT 1 FROM replays r WHERE r.key = parked.replay AND r.status = 'cancelled') THEN 'cancelled' ELSE reason END, replay,
	(SELECT coalesce(max(a.number), 0) FROM attempts a WHERE a.webhook = parked.webhook AND a."offset" = parked."offset")`

func ScanParked(r sql.Rows) (p hook.Parked, err error) {
	var due *int64
	var at int64
	err = r.Scan(&p.Webhook, &p.Kind, &p.Offset, &p.Partition, &p.Sequence, &p.ObjectKey, &p.Attempts, &p.Step, &p.Throttles, &due, &at, &p.Reason,
		&p.Replay, &p.Number)
	p.DueAt, p.ParkedAt = sql.FromMicrosOrNull(due), sql.FromMicros(at)
	return p, err
}

var errCursorMovedBack = errors.New("a cursor would move back")

// recordRest writes what is not about one delivery.
func recordRest(ctx context.Context, q sql.Tx, r *Record) error {
	for i := range r.Cursors {
		if err := moveCursor(ctx, q, &r.Cursors[i]); err != nil {
			return err
		}
	}
	for _, g := range r.Gates {
		if err := moveGate(ctx, q, g); err != nil {
			return err
		}
	}
	for p, swept := range r.Swept {
		if _, err := q.Exec(ctx, `UPDATE owners SET swept = $1 WHERE partition = $2 AND swept < $1`, int64(swept), int64(p)); err != nil {
			return fmt.Errorf("move swept: %w", err)
		}
	}
	for _, m := range r.Replays {
		if err := moveReplay(ctx, q, m, r.At); err != nil {
			return err
		}
	}
	for _, c := range r.Status {
		if err := changeStatus(ctx, q, c, r.At); err != nil {
			return err
		}
	}
	return nil
}

// How much of a partition one record rewinds, and how far the clocks of nodes may lie apart.
const (
	RewindRows    = 1000
	RewindFurther = 5 * time.Second
)

const RewindParked = `
	UPDATE parked SET due_at = due_at - parked_at + $1, parked_at = $1
	WHERE (webhook, kind, "offset") IN (
		SELECT webhook, kind, "offset" FROM parked WHERE partition = $2 AND due_at IS NOT NULL AND parked_at > $3 LIMIT $4)`

// RepairRows are made due in one statement, at most.
const RepairRows = 1000

// RepairParked makes due what was parked since a time up to another, which is now.
const RepairParked = `
	UPDATE parked SET due_at = $1, parked_at = $1, throttles = 0 WHERE webhook = $2 AND (kind, "offset") IN
		(SELECT kind, "offset" FROM parked WHERE webhook = $2 AND due_at > $1 AND parked_at BETWEEN $3 AND $1 ORDER BY due_at LIMIT $4)`

// Args are those of [RepairParked].
func (r Repair) Args(at time.Time) []any {
	return []any{sql.Micros(at), int64(r.Webhook), sql.Micros(r.Since), int64(RepairRows)}
}

// rewind lets deliveries that were parked in what is now the future wait from now on: otherwise a
// clock that was set back would be waited for in addition.
func rewind(ctx context.Context, q sql.Tx, p hook.Partition, now time.Time, out *Recorded) error {
	n, err := q.Exec(ctx, RewindParked, sql.Micros(now), int64(p), sql.Micros(now.Add(RewindFurther)), int64(RewindRows))
	if err != nil {
		return fmt.Errorf("rewind: %w", err)
	}
	if n > 0 {
		out.Rewound = append(out.Rewound, p)
	}
	return nil
}

// recordExtras writes what nobody's delivery depends on.
func recordExtras(ctx context.Context, q sql.Tx, r *Record) error {
	for i := range r.Stats {
		if err := addStat(ctx, q, &r.Stats[i]); err != nil {
			return err
		}
	}
	for i := range r.Answers {
		if _, err := q.Exec(ctx, keepAnswerRow, Answers.Args(&r.Answers[i])...); err != nil {
			return fmt.Errorf("keep answer: %w", err)
		}
	}
	for _, n := range r.Notices {
		if err := AddNotice(ctx, q, n, r.At); err != nil {
			return err
		}
	}
	return nil
}

// moveCursor never moves one back: a row that is not there, or is further, is a broken invariant.
func moveCursor(ctx context.Context, q sql.Tx, c *CursorMove) error {
	n, err := q.Exec(ctx, moveCursorRow, Cursors.Moved(c)...)
	if err != nil {
		return fmt.Errorf("move cursor: %w", err)
	}
	if n == 0 {
		var erased int64
		if err := sql.One(ctx, q, `SELECT count(*) FROM cursors WHERE webhook = $1`, []any{int64(c.Webhook)}, &erased); err != nil {
			return err
		}
		if erased == 0 {
			return nil // the webhook was deleted and its rows erased while its last attempt ran
		}
		return fmt.Errorf("webhook %d to offset %d, sequence %d: %w", c.Webhook, c.Offset, c.Sequence, errCursorMovedBack)
	}
	return nil
}

// moveGate has nothing to move where the webhook was erased while its last attempt ran.
func moveGate(ctx context.Context, q sql.Tx, m GateMove) error {
	_, err := q.Exec(ctx, moveGateRow, Gates.Moved(m)...)
	if err != nil {
		return fmt.Errorf("move gate: %w", err)
	}
	return nil
}

func addStat(ctx context.Context, q sql.Tx, s *Stat) error {
	var latency, arrival []byte
	err := sql.One(ctx, q, `SELECT latency, arrival FROM stats WHERE webhook = $1 AND bucket = $2`, []any{int64(s.Webhook), s.Bucket}, &latency, &arrival)
	if err != nil && !errors.Is(err, sql.ErrNoRow) {
		return fmt.Errorf("read stats: %w", err)
	}
	sum := *s
	var had hook.Histogram
	if err := had.UnmarshalBinary(latency); err != nil {
		return fmt.Errorf("read stats: %w", err)
	}
	sum.Latency.Merge(&had)
	if err := had.UnmarshalBinary(arrival); err != nil {
		return fmt.Errorf("read stats: %w", err)
	}
	sum.Arrival.Merge(&had)
	_, err = q.Exec(ctx, addStatRow, Stats.Args(&sum)...)
	if err != nil {
		return fmt.Errorf("add stats: %w", err)
	}
	return nil
}

// FreeCancelled lets go of what was under way when its replay was cancelled, and has failed since. It
// comes after the replay's row is locked: a cancellation that has yet to commit finds what is parked.
const FreeCancelled = `
	DELETE FROM parked WHERE kind = 'replay' AND replay = $1 AND webhook = (SELECT webhook FROM replays WHERE key = $1 AND status = 'cancelled')`

func moveReplay(ctx context.Context, q sql.Tx, m ReplayMove, at time.Time) error {
	_, err := q.Exec(ctx, `
		UPDATE replays SET place = CASE WHEN place < $1 THEN $1 ELSE place END, started = started + $2, delivered = delivered + $3, failed = failed + $4
		WHERE key = $5`, int64(m.Place), m.Started, m.Delivered, m.Failed, m.Key)
	if err == nil && m.Done {
		_, err = q.Exec(ctx, `UPDATE replays SET status = 'done', finished_at = $1 WHERE key = $2 AND status = 'running'`, sql.Micros(at), m.Key)
	}
	if err == nil {
		_, err = q.Exec(ctx, FreeCancelled, m.Key)
	}
	if err != nil {
		return fmt.Errorf("move replay: %w", err)
	}
	return nil
}

// changeStatus is about one endpoint version: a late 410 of an old endpoint must not hit the new one.
func changeStatus(ctx context.Context, q sql.Tx, c StatusChange, at time.Time) error {
	version, err := CountChange(ctx, q, c.Partition)
	if err != nil {
		return err
	}
	n, err := q.Exec(ctx, `
		UPDATE webhooks SET status = $1, status_reason = $2, version = version + 1, changed = $3, updated_at = $4
		WHERE key = $5 AND endpoint_version = $6 AND status = 'ACTIVE' AND deleted_at IS NULL`,
		string(c.Status), c.Reason, version, sql.Micros(at), int64(c.Webhook), c.EndpointVersion)
	if err != nil {
		return fmt.Errorf("change status: %w", err)
	}
	if n == 0 { // the owner was faster; the engine reads how it stands
		_, err := q.Exec(ctx, `UPDATE webhooks SET changed = $1 WHERE key = $2`, version, int64(c.Webhook))
		return err
	}
	if err := AddNotice(ctx, q, Notice{Webhook: c.Webhook, Kind: "disabled", Detail: c.Detail}, at); err != nil {
		return err
	}
	_, err = q.Exec(ctx, `
		INSERT INTO audit (id, company, at, actor, action, object, request_id, detail)
		SELECT $1, company, $2, 'engine', 'webhook.disabled', id, '', $3 FROM webhooks WHERE key = $4`,
		hook.NewID(hook.AuditPrefix, at), sql.Micros(at), DisabledDetail(c.Reason), int64(c.Webhook))
	if err != nil {
		return fmt.Errorf("audit status: %w", err)
	}
	return nil
}

func DisabledDetail(reason string) string { return fmt.Sprintf(`{"reason":%q}`, reason) }

// AddNotice tells a company something.
func AddNotice(ctx context.Context, q sql.Tx, n Notice, at time.Time) error {
	_, err := q.Exec(ctx, `
		INSERT INTO notices (id, company, webhook, at, kind, detail) SELECT $1, company, key, $2, $3, $4 FROM webhooks WHERE key = $5`,
		hook.NewID(hook.NoticePrefix, at), sql.Micros(at), n.Kind, n.Detail, int64(n.Webhook))
	if err != nil {
		return fmt.Errorf("add notice: %w", err)
	}
	return nil
}

// CountChange counts a configuration change of a partition; its owner notices by the count.
func CountChange(ctx context.Context, q sql.Tx, p hook.Partition) (version int64, err error) {
	err = sql.One(ctx, q, `UPDATE owners SET config_version = config_version + 1 WHERE partition = $1 RETURNING config_version`, []any{int64(p)}, &version)
	if err != nil {
		return 0, fmt.Errorf("count configuration change: %w", err)
	}
	if t, ok := q.(interface {
		Changed(p hook.Partition, version int64)
	}); ok {
		t.Changed(p, version)
	}
	return version, nil
}

// Add adds another one's figures.
func (s *Stat) Add(o *Stat) {
	s.Delivered, s.Failed, s.Retried = s.Delivered+o.Delivered, s.Failed+o.Failed, s.Retried+o.Retried
	s.Latency.Merge(&o.Latency)
	s.Arrival.Merge(&o.Arrival)
}
