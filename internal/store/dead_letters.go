package store

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Bounds of the dead letters of one source. When there are as many, the source waits: what cannot be kept is
// not taken.
const (
	MaxDeadLetters     = 10_000
	MaxDeadLetterBytes = 64 << 20
	// maxDeadBody is how much is kept of one. What is larger than any event is cut, and can only be discarded.
	maxDeadBody = 8 << 20
)

// DeadLetter is a message of a source that cannot be accepted as it is, with the reason.
type DeadLetter struct {
	ID          string
	Source      string // its name
	MessageKey  string // names the message within its source; one that is long, or no text, is kept as its beginning and its hash
	Size        int64  // of the message as it came
	At          time.Time
	WrittenAt   *time.Time // when its producer wrote it; nil: the source does not tell, or tells no time of the years 1 to 9999
	EventID     string     // that it gets where it names none
	Code        string     // why it was refused last
	Reason      string
	Retries     int // in vain
	ContentType string
	Attributes  map[string]string // of a CloudEvent in binary mode; nil for any other message
	Company     string            // the only one that its source may publish for; "" for any
	Body        []byte            // nil in lists
}

// bytes is how large the message is, with what stands beside its body.
func (d *DeadLetter) bytes() int {
	n := len(d.Body)
	for name, value := range d.Attributes {
		n += len(name) + len(value)
	}
	return n
}

// Cut reports whether the message was larger than what is kept of one, so that it cannot be sent again.
func (d *DeadLetter) Cut() bool { return d.Size > maxDeadBody }

const deadColumns = `id, source, message_key, size, at, written_at, event_id, code, reason, retries, content_type, attributes, company`

// AddDeadLetters keeps messages as dead letters. One that is there already stays as it is.
func (s *Store) AddDeadLetters(ctx context.Context, list []DeadLetter) error {
	err := s.write(ctx, func(q sql.Tx) error {
		if err := roomForDead(ctx, q, list); err != nil {
			return err
		}
		now := hook.Now(s.now())
		for i := range list {
			d := &list[i]
			size := d.bytes()
			body, attributes := d.Body, d.Attributes
			if size > maxDeadBody {
				body, attributes = body[:min(len(body), maxDeadBody)], nil
			}
			text, _ := json.Marshal(attributes) // texts
			_, err := q.Exec(ctx, `
				INSERT INTO dead_letters (`+deadColumns+`, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $11, $12, $13)
				ON CONFLICT (source, message_key) DO NOTHING`,
				hook.NewID(hook.DeadPrefix, now), d.Source, shortKey(d.MessageKey), int64(size), sql.Micros(now), sql.MicrosOrNull(datable(d.WrittenAt)),
				plainText(d.EventID), d.Code, plainText(d.Reason), plainText(d.ContentType), string(text), d.Company, notNil(body))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set messages aside: %w", err)
	}
	return nil
}

// roomForDead refuses what would be more than a source may have.
func roomForDead(ctx context.Context, q sql.Tx, list []DeadLetter) error {
	count, bytes := map[string]int64{}, map[string]int64{}
	for i := range list {
		count[list[i].Source]++
		bytes[list[i].Source] += int64(min(list[i].bytes(), maxDeadBody))
	}
	for name := range count {
		var n, size int64
		err := sql.One(ctx, q, `SELECT count(*), CAST(coalesce(sum(CASE WHEN size > $2 THEN $2 ELSE size END), 0) AS BIGINT) FROM dead_letters WHERE source = $1`,
			[]any{name, int64(maxDeadBody)}, &n, &size)
		if err != nil {
			return err
		}
		if n > 0 && (n+count[name] > MaxDeadLetters || size+bytes[name] > MaxDeadLetterBytes) {
			return &hook.Error{
				Kind: hook.KindUnavailable, Code: "dead_letters_full", RetryAfter: 5 * time.Second,
				Detail: fmt.Sprintf("%s has %d dead letters of %d bytes, and may have %d of %d: retry or discard some", name, n, size, MaxDeadLetters, MaxDeadLetterBytes),
			}
		}
	}
	return nil
}

// plainText is a stranger's text as a column of text can hold it.
func plainText(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// maxMessageKey is how many bytes of a message's key are kept: Postgres has no room for long ones in an index.
const maxMessageKey = 256

// shortKey is a message's key as an index can hold it. What has to be changed stays apart from other keys by its
// hash.
func shortKey(key string) string {
	text := plainText(key)
	if text == key && len(key) <= maxMessageKey {
		return key
	}
	hash := fmt.Sprintf("-%x", sha256.Sum256([]byte(key)))
	return strings.ToValidUTF8(text[:min(len(text), maxMessageKey-len(hash))], "") + hash
}

// datable is a time that JSON can hold, or nil.
func datable(t *time.Time) *time.Time {
	if t == nil || t.Before(time.Time{}) || !t.Before(time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)) {
		return nil
	}
	return t
}

func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// DeadLetters lists them without their bodies, newest first, of one source or of all.
func (s *Store) DeadLetters(ctx context.Context, source string, p Page) (list []DeadLetter, more string, err error) {
	where, args := `id < $1`, []any{p.before(), int64(p.Limit + 1)}
	if source != "" {
		where, args = where+` AND source = $3`, append(args, source)
	}
	err = s.look(ctx, func(q sql.Tx) error {
		list = list[:0]
		return sql.Each(ctx, q, `SELECT `+deadColumns+` FROM dead_letters WHERE `+where+` ORDER BY id DESC LIMIT $2`, args, func(r sql.Rows) error {
			d, err := scanDead(r)
			list = append(list, d)
			return err
		})
	})
	if err != nil {
		return nil, "", fmt.Errorf("list dead letters: %w", err)
	}
	list, more = next(p, list, func(d DeadLetter) string { return d.ID })
	return list, more, nil
}

// DeadLetter returns one with its body.
func (s *Store) DeadLetter(ctx context.Context, id string) (*DeadLetter, error) {
	var d DeadLetter
	err := s.look(ctx, func(q sql.Tx) error {
		d = DeadLetter{}
		return sql.Each(ctx, q, `SELECT `+deadColumns+`, body FROM dead_letters WHERE id = $1`, []any{id}, func(r sql.Rows) (err error) {
			var body []byte
			d, err = scanDead(r, &body)
			d.Body = append([]byte{}, body...)
			return err
		})
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read a dead letter: %w", err)
	case d.ID == "":
		return nil, hook.NotFound("dead letter")
	}
	return &d, nil
}

// scanDead reads a row, and what stands behind its columns.
func scanDead(r sql.Rows, more ...any) (d DeadLetter, err error) {
	var at, retries int64
	var written *int64
	var attributes string
	err = r.Scan(append([]any{
		&d.ID, &d.Source, &d.MessageKey, &d.Size, &at, &written, &d.EventID, &d.Code, &d.Reason, &retries, &d.ContentType, &attributes, &d.Company,
	}, more...)...)
	if err != nil {
		return d, err
	}
	d.At, d.WrittenAt, d.Retries = sql.FromMicros(at), datable(sql.FromMicrosOrNull(written)), int(retries)
	return d, json.Unmarshal([]byte(attributes), &d.Attributes)
}

// DropDeadLetter takes one away that was accepted after all, or that nobody wants.
func (s *Store) DropDeadLetter(ctx context.Context, id string, a Audit) error {
	err := s.write(ctx, func(q sql.Tx) error {
		n, err := q.Exec(ctx, `DELETE FROM dead_letters WHERE id = $1`, id)
		if err != nil {
			return err
		}
		if n == 0 {
			return hook.NotFound("dead letter")
		}
		return writeAudit(ctx, q, 0, id, a, hook.Now(s.now()))
	})
	if err != nil {
		return fmt.Errorf("drop a dead letter: %w", err)
	}
	return nil
}

// KeepDeadLetter notes that one was refused again, and why.
func (s *Store) KeepDeadLetter(ctx context.Context, id, code, reason string) error {
	err := s.write(ctx, func(q sql.Tx) error {
		_, err := q.Exec(ctx, `UPDATE dead_letters SET code = $2, reason = $3, retries = retries + 1 WHERE id = $1`, id, code, plainText(reason))
		return err
	})
	if err != nil {
		return fmt.Errorf("keep a dead letter: %w", err)
	}
	return nil
}

// CountDeadLetters is how many there are, by source.
func (s *Store) CountDeadLetters(ctx context.Context) (counts map[string]int64, err error) {
	err = s.look(ctx, func(q sql.Tx) error {
		counts = map[string]int64{}
		return sql.Each(ctx, q, `SELECT source, count(*) FROM dead_letters GROUP BY source`, nil, func(r sql.Rows) error {
			var name string
			var n int64
			err := r.Scan(&name, &n)
			counts[name] = n
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	return counts, nil
}

// PurgeDeadLettersStep deletes at most limit that were set aside before a time.
func (s *Store) PurgeDeadLettersStep(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		gone, err := q.Exec(ctx, `DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE at < $1 ORDER BY at LIMIT $2)`,
			sql.Micros(before), int64(limit))
		n = int(gone)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("purge dead letters: %w", err)
	}
	return n, nil
}

// deadChunk bounds what a copy holds of them at once.
const deadChunk = 8 << 20

// CopyDeadLetters takes them, which belong to no company, along into another database.
func CopyDeadLetters(ctx context.Context, from, to sql.Tx) error {
	for after := ""; ; {
		var rows [][]any
		size := 0
		err := sql.Each(ctx, from, `SELECT `+deadColumns+`, body FROM dead_letters WHERE id > $1 ORDER BY id LIMIT 1000`, []any{after}, func(r sql.Rows) error {
			var body []byte
			d, err := scanDead(r, &body)
			if err != nil {
				return err
			}
			attributes, _ := json.Marshal(d.Attributes) // texts
			rows = append(rows, []any{
				d.ID, d.Source, d.MessageKey, d.Size, sql.Micros(d.At), sql.MicrosOrNull(d.WrittenAt), d.EventID, d.Code, d.Reason, int64(d.Retries),
				d.ContentType, string(attributes), d.Company, append([]byte{}, body...),
			})
			after = d.ID
			if size += len(body); size > deadChunk {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) || len(rows) == 0 {
			return err
		}
		for _, row := range rows {
			if _, err := to.Exec(ctx, `
				INSERT INTO dead_letters (`+deadColumns+`, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) ON CONFLICT DO NOTHING`, row...); err != nil {
				return err
			}
		}
	}
}
