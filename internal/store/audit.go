package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Audit says who asks for a change. It is written in the transaction of the change itself, with
// the id of what was changed, which only the store may know.
type Audit struct {
	Actor     string // a key's id, "operator" or "engine"
	RequestID string
	Address   string         // from where it was asked; "" for the engine
	Action    string         // "webhook.created", "key.revoked" …
	Detail    map[string]any // what was asked for; never a secret
}

// AuditEntry is one row of the audit log.
type AuditEntry struct {
	ID        string
	At        time.Time
	Actor     string
	Action    string
	Object    string // the id of what was changed
	RequestID string
	Address   string          // from where it was asked for; "" where that is not known
	Detail    json.RawMessage // a JSON object
}

// Page says where a list goes on and how long it may be. Lists are newest first; their ids are
// ordered by time.
type Page struct {
	Before string // the id after which the last page ended; "" for the first page
	Limit  int
}

// next is the id that the page after this one begins at: "" at the end. A list is read with one
// row more than it shows, so that its end is known.
func next[T any](p Page, list []T, id func(T) string) ([]T, string) {
	if len(list) <= p.Limit {
		return list, ""
	}
	list = list[:p.Limit]
	return list, id(list[p.Limit-1])
}

// before makes the first page an ordinary one: '~' sorts after every character of an id.
func (p Page) before() string {
	if p.Before == "" {
		return "~"
	}
	return p.Before
}

// AuditLog lists what was changed in a company (0: what belongs to none), newest first.
func (s *Store) AuditLog(ctx context.Context, company hook.CompanyKey, p Page) (list []AuditEntry, more string, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		bytes := 0
		err := sql.Each(ctx, q, `
			SELECT id, at, actor, action, object, request_id, address, detail FROM audit
			WHERE company = $1 AND id < $2 ORDER BY id DESC LIMIT $3`,
			[]any{int64(company), p.before(), int64(p.Limit + 1)}, func(r sql.Rows) error {
				var e AuditEntry
				var at int64
				var detail string
				if err := r.Scan(&e.ID, &at, &e.Actor, &e.Action, &e.Object, &e.RequestID, &e.Address, &detail); err != nil {
					return err
				}
				e.At, e.Detail = sql.FromMicros(at), json.RawMessage(detail)
				list = append(list, e)
				if bytes += len(detail); bytes >= PageBytes && len(list) > 1 {
					p.Limit = min(p.Limit, len(list)-1) // the last one only says that there is more
					return errEnough
				}
				return nil
			})
		if errors.Is(err, errEnough) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("read audit log: %w", err)
	}
	list, more = next(p, list, func(e AuditEntry) string { return e.ID })
	return list, more, nil
}

// writeAudit adds the row; it belongs into the transaction of the change.
func writeAudit(ctx context.Context, q sql.Tx, company hook.CompanyKey, object string, a Audit, at time.Time) error {
	detail := []byte("{}")
	if len(a.Detail) > 0 {
		var err error
		if detail, err = json.Marshal(a.Detail); err != nil {
			return fmt.Errorf("audit %s: %w", a.Action, err)
		}
	}
	_, err := q.Exec(ctx, `
		INSERT INTO audit (id, company, at, actor, action, object, request_id, address, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		hook.NewID(hook.AuditPrefix, at), int64(company), sql.Micros(at), a.Actor, a.Action, object, a.RequestID, a.Address, string(detail))
	if err != nil {
		return fmt.Errorf("audit %s: %w", a.Action, err)
	}
	return nil
}
