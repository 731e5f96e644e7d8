package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// pgSession is a transaction on Postgres. Its statements run under the transaction's own context,
// which ends even if the caller's never does.
type pgSession struct {
	ctx      context.Context
	e        *elephant
	tx       pgx.Tx
	versions map[hook.Partition]int64 // of the configuration, after the commit
}

func (s *pgSession) exec(_ context.Context, query string, args ...any) (int64, error) {
	tag, err := s.tx.Exec(s.ctx, query, args...)
	return tag.RowsAffected(), s.e.mapError(err)
}

func (s *pgSession) query(_ context.Context, query string, args ...any) (rows, error) {
	r, err := s.tx.Query(s.ctx, query, args...)
	if err != nil {
		return nil, s.e.mapError(err)
	}
	return &answer{r, s.e}, nil
}

// changed remembers a change of configuration until its commit.
func (s *pgSession) changed(p hook.Partition, version int64) {
	if s.versions == nil {
		s.versions = map[hook.Partition]int64{}
	}
	s.versions[p] = version
}

// tell lets the engine of this process hear of committed changes before it polls.
func (s *pgSession) tell() {
	if s.e.notify == nil {
		return
	}
	for p, version := range s.versions {
		s.e.notify(p, nil, version)
	}
}

// insertAttempts inserts by arrays: one text, one plan, whatever the number.
func (s *pgSession) insertAttempts(ctx context.Context, attempts []*hook.Attempt) error {
	if len(attempts) == 0 {
		return nil
	}
	n := len(attempts)
	ints := make([][]int64, 13)
	for i := range ints {
		ints[i] = make([]int64, n)
	}
	texts := make([][]string, 5)
	for i := range texts {
		texts[i] = make([]string, n)
	}
	bytes := make([][][]byte, 3)
	for i := range bytes {
		bytes[i] = make([][]byte, n)
	}
	for i, a := range attempts {
		for j, v := range [...]int64{
			int64(a.Webhook), int64(a.Offset), int64(a.Number), a.Sequence, flag(a.Counted), a.Version, a.Replay, micros(a.StartedAt),
			a.Phases.DNS.Microseconds(), a.Phases.Connect.Microseconds(), a.Phases.TLS.Microseconds(), a.Phases.FirstByte.Microseconds(), a.Phases.Total.Microseconds(),
		} {
			ints[j][i] = v
		}
		for j, v := range [...]string{string(a.Kind), a.TimestampText, string(a.Format), string(a.Outcome), string(a.ErrorClass)} {
			texts[j][i] = v
		}
		bytes[0][i], bytes[1][i], bytes[2][i] = []byte(a.ErrorDetail), a.AnswerHeader, a.AnswerBody
	}
	codes := make([]int64, n)
	for i, a := range attempts {
		codes[i] = int64(a.StatusCode)
	}
	_, err := s.exec(ctx, `
		INSERT INTO attempts (webhook, "offset", number, sequence, counted, version, replay, started_at, dns_us, connect_us, tls_us, first_byte_us, total_us,
			kind, timestamp_text, format, outcome, error_class, error_detail, answer_header, answer_body, status_code)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
			$10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[],
			$19::bytea[], $20::bytea[], $21::bytea[], $22::bigint[])`,
		ints[0], ints[1], ints[2], ints[3], ints[4], ints[5], ints[6], ints[7], ints[8], ints[9], ints[10], ints[11], ints[12],
		texts[0], texts[1], texts[2], texts[3], texts[4], bytes[0], bytes[1], bytes[2], codes)
	return err
}

// answer is the rows of a query.
type answer struct {
	pgx.Rows
	e *elephant
}

func (a *answer) Err() error { return a.e.mapError(a.Rows.Err()) }

func (a *answer) Close() error {
	a.Rows.Close()
	return a.Err()
}

// Scan reads flags, which are integers in both engines, into booleans.
func (a *answer) Scan(into ...any) error {
	fields := a.FieldDescriptions()
	var flags []func()
	for i := range into {
		b, ok := into[i].(*bool)
		if !ok || i >= len(fields) || fields[i].DataTypeOID == pgtype.BoolOID {
			continue
		}
		n := new(int64)
		into[i] = n
		flags = append(flags, func() { *b = *n != 0 })
	}
	if err := a.Rows.Scan(into...); err != nil {
		return err
	}
	for _, set := range flags {
		set()
	}
	return nil
}
