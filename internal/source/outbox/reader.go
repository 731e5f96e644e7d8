package outbox

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
)

// Kind is what the sources of this package are called.
const Kind = "outbox"

// How long the reader waits until it asks again. Who is told of commits asks now and then all the same.
const (
	askOften  = 20 * time.Millisecond
	askRarely = 500 * time.Millisecond
	turn      = time.Second // after which a reader that found nothing says so
)

// A reader begins with few rows, which may be large, and asks for twice as many while it gets them within quick.
const (
	firstRows = 16
	quick     = time.Second
)

// Options of an outbox as it is configured.
type Options struct {
	Name    string
	URL     string
	Company string // the only one that it may publish for; "" for any
	// Share returns the partitions that this node reads now. nil: all.
	Share func() []int
}

// Definition is the outbox as a source.
func Definition(o Options) (source.Definition, error) {
	table, err := Open(o.URL)
	if err != nil {
		return source.Definition{}, err
	}
	table.Close()
	u, err := url.Parse(o.URL)
	if err != nil {
		return source.Definition{}, errMalformed
	}
	if o.Share == nil {
		o.Share = All
	}
	limit := new(atomic.Int64)
	limit.Store(firstRows)
	return source.Definition{
		Name: o.Name, Kind: Kind, Where: where(u), Company: o.Company, Secrets: source.SecretsOf(u),
		Open: func(ctx context.Context) (source.Source, error) { return open(ctx, o, limit) },
	}, nil
}

// where is what people see of a URL.
func where(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.Host == "" {
		for _, parameter := range []string{"host", "socket"} {
			if at := u.Query().Get(parameter); at != "" {
				return shown.Scheme + "://" + at + u.Path
			}
		}
	}
	return shown.String()
}

// reader is an outbox as a source. While what it received is being accepted, it reads on, and removes what was
// accepted before: all three take their time.
type reader struct {
	table    Table
	share    func() []int
	rows     []Row           // that were received last
	ahead    chan answer     // what is being read ahead; nil: nothing is
	removing chan error      // tells when rows were removed; nil: none are being
	removed  []Row           // these
	limit    *atomic.Int64   // rows to ask for, by what was found; it outlives the session
	full     bool            // there is likely more than what was read last
	told     bool            // what is written is heard of
	ended    context.Context //nolint:containedctx // ends what goes on beside
	end      context.CancelFunc
	beside   sync.WaitGroup
}

// answer is what reading came to.
type answer struct {
	rows []Row
	err  error
}

func open(ctx context.Context, o Options, limit *atomic.Int64) (source.Source, error) {
	table, err := Open(o.URL)
	if err != nil {
		return nil, err
	}
	if _, err := table.Lag(ctx, o.Share()); err != nil {
		table.Close()
		return nil, err
	}
	r := &reader{table: table, share: o.Share, limit: limit}
	r.ended, r.end = context.WithCancel(context.WithoutCancel(ctx))
	return r, nil
}

// Receive waits for rows. Whoever listens and finds what it was not told of, as where the table has no trigger that
// notifies, does not rely on being told until it is.
func (r *reader) Receive(ctx context.Context) (source.Batch, error) {
	waited, heard := false, false
	for began := time.Now(); time.Since(began) < turn && ctx.Err() == nil; {
		rows, err := r.next(ctx)
		if err != nil {
			return source.Batch{}, err
		}
		if len(rows) > 0 {
			r.told = r.told && (heard || !waited)
			return r.received(rows), nil
		}
		longest := askOften
		if r.told && r.table.Listens() {
			longest = askRarely
		}
		waited, heard = true, r.table.Wait(ctx, longest)
		r.told = r.told || heard
	}
	return source.Batch{}, ctx.Err()
}

// next are the next rows: those that were read ahead, or else what is there now.
func (r *reader) next(ctx context.Context) ([]Row, error) {
	if ahead := r.ahead; ahead != nil {
		r.ahead = nil
		if a := <-ahead; a.err != nil || len(a.rows) > 0 {
			return a.rows, a.err
		}
	}
	if len(r.removing) > 0 {
		if err := r.gone(); err != nil {
			return nil, err
		}
	}
	return r.read(ctx, r.removed)
}

// gone waits until what is being removed is gone.
func (r *reader) gone() error {
	if r.removing == nil {
		return nil
	}
	err := <-r.removing
	r.removing, r.removed = nil, nil
	return err
}

// read leaves out what was received, and is accepted before.
func (r *reader) read(ctx context.Context, without ...[]Row) ([]Row, error) {
	mine := r.share()
	if len(mine) == 0 {
		return nil, nil
	}
	var except []int64
	for _, rows := range without {
		for i := range rows {
			except = append(except, rows[i].ID)
		}
	}
	limit, began := int(r.limit.Load()), time.Now()
	rows, err := r.table.Read(ctx, mine, limit, except...)
	large := bytesOf(rows) > MaxBytes/2
	r.full = large || len(rows) >= limit
	r.limit.Store(int64(paced(limit, len(rows), large, time.Since(began), err)))
	return rows, err
}

// paced is how many rows to ask for after a read. What does not fit into a batch would be read in vain, and what
// cannot be read in time never would.
func paced(limit, rows int, large bool, took time.Duration, err error) int {
	switch {
	case err != nil:
		return max(1, limit/4)
	case large:
		return max(1, rows)
	case rows >= limit && took < quick:
		return min(2*limit, MaxRows)
	}
	return limit
}

// received makes a batch of rows, and reads on where there is likely more.
func (r *reader) received(rows []Row) source.Batch {
	r.rows = rows
	if r.full {
		ahead, removed := make(chan answer, 1), r.removed
		r.ahead = ahead
		r.beside.Go(func() {
			more, err := r.read(r.ended, removed, rows)
			ahead <- answer{more, err}
		})
	}
	batch := source.Batch{Messages: make([]source.Message, len(rows))}
	now := time.Now()
	for i := range rows {
		batch.Messages[i] = source.Message{
			Message: intake.Message{Body: rows[i].envelope(), ID: rows[i].UUID}, Key: rows[i].UUID, WrittenAt: now.Add(-rows[i].Age),
		}
	}
	return batch
}

// Commit has removed what was committed before, and begins to remove what was received last. Until it is gone it is
// left out.
func (r *reader) Commit(context.Context) error {
	if err := r.gone(); err != nil {
		return err
	}
	removing, rows := make(chan error, 1), r.rows
	r.removing, r.removed, r.rows = removing, rows, nil
	r.beside.Go(func() { removing <- r.table.Delete(r.ended, rows) })
	return nil
}

// Lag is how many rows there are, up to a bound, and when the first of them was written.
func (r *reader) Lag(ctx context.Context) (source.Lag, error) {
	l, err := r.table.Lag(ctx, r.share())
	if err != nil || l.Rows == 0 {
		return source.Lag{}, err
	}
	return source.Lag{Messages: l.Rows, Oldest: time.Now().Add(-l.Age)}, nil
}

// Close lets what was accepted be removed, and lets go of the database.
func (r *reader) Close() {
	_ = r.gone() // what is left is read again
	r.end()
	r.beside.Wait()
	r.table.Close()
}

// envelope is the row as the API takes an event or a change. What is NULL and may not be is left out, so that it
// is refused as missing.
func (r *Row) envelope() []byte {
	b := make([]byte, 0, r.size()+256)
	b = append(b, '{')
	text := func(name, value string) {
		b = fmt.Appendf(b, `%q:`, name)
		b, _ = jsontext.AppendQuote(b, value) // what is no UTF-8 is replaced, and refused as a name
		b = append(b, ',')
	}
	document := func(name string, value []byte, null string) {
		if value == nil {
			if null == "" {
				return
			}
			value = []byte(null)
		}
		b = append(append(append(b, '"'), name...), '"', ':')
		b = append(append(b, value...), ',')
	}
	text("company_id", r.CompanyID)
	if r.OccurredAt != nil {
		text("occurred_at", r.OccurredAt.UTC().Format(time.RFC3339Nano))
	}
	if r.ObjectType != "" {
		text("object_type", r.ObjectType)
		document("before", r.Before, "null")
		document("after", r.After, "null")
	} else {
		text("event", r.Event)
		if r.ObjectID != "" {
			text("object_id", r.ObjectID)
		}
		document("data", r.Data, "")
	}
	b[len(b)-1] = '}'
	return b
}

// NameOf is what the n-th of several outboxes of a setting is called: by its database.
func NameOf(address string, n int) string {
	database := ""
	if u, err := url.Parse(address); err == nil {
		database = strings.Trim(strings.Map(func(r rune) rune {
			switch {
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_', r == '-':
				return r
			case r >= 'A' && r <= 'Z':
				return r - 'A' + 'a'
			}
			return -1
		}, u.Path), "_-")
	}
	name := strings.TrimSuffix("outbox-"+database, "-")
	if n > 0 {
		name += fmt.Sprintf("-%d", n+1)
	}
	return name[:min(len(name), 64)]
}
