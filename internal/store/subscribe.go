package store

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// CreateWebhook subscribes: it writes the webhook, its first rule and its cursor. The caller fills
// Company and the settings; what it leaves empty of Status (ACTIVE) and Secrets.Current (a new
// secret) is filled here, as are the keys, versions and times.
//
// With startAt nil the webhook wants what is accepted from now on. Otherwise it begins with the
// first event that is still kept and was accepted at or after startAt.
//
// A second webhook with the same endpoint and topics among the ACTIVE and PAUSED ones is a conflict.
func (s *Store) CreateWebhook(ctx context.Context, settings hook.Webhook, startAt *time.Time, a Audit) (w *hook.Webhook, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		n := settings
		company, err := companyWhere(ctx, q, `key = $1`, int64(n.Company))
		if err != nil {
			return err
		}
		head, err := s.lockLog(ctx, q, company.Partition) // no event is accepted between the rule's offset and its commit
		if err != nil {
			return err
		}
		version, err := log.CountChange(ctx, q, company.Partition)
		if err != nil {
			return err
		}
		now := hook.Now(s.now())
		n.ID, n.CompanyID, n.Partition = hook.NewID(hook.WebhookPrefix, now), company.ID, company.Partition
		n.Version, n.EndpointVersion, n.CreatedAt, n.UpdatedAt, n.EndpointSince = 1, 1, now, now, now
		if n.Status == "" {
			n.Status = hook.Active
		}
		if len(n.Metadata) == 0 {
			n.Metadata = json.RawMessage("{}")
		}
		if n.Secrets.Current == "" {
			n.Secrets.Current = hook.NewSecret()
		}
		if err := s.mayExist(ctx, q, &n, company); err != nil {
			return err
		}
		key, err := sql.NextKey(ctx, q, "webhook_key")
		if err != nil {
			return err
		}
		n.Key = hook.WebhookKey(key)
		if err := s.insertWebhook(ctx, q, &n, version); err != nil {
			return err
		}
		place := head
		if startAt != nil {
			first, err := offsetAt(ctx, q, n.Company, *startAt)
			if err != nil {
				return err
			}
			place = min(head, first-1)
		}
		if err := insertRule(ctx, q, &n, place+1); err != nil {
			return err
		}
		if err := skipCancelled(ctx, q, n.Company, n.Key, place); err != nil {
			return err
		}
		if _, err := q.Exec(ctx, `INSERT INTO cursors (webhook, detached, "offset", sequence) VALUES ($1, $2, $3, 0)`,
			key, sql.Flag(place < head), int64(place)); err != nil {
			return err
		}
		w = &n
		return writeAudit(ctx, q, n.Company, n.ID, a, now)
	})
	if err != nil {
		return nil, fmt.Errorf("create webhook: %w", err)
	}
	return w, nil
}

// mayExist refuses a duplicate, and more webhooks than the company may have.
func (s *Store) mayExist(ctx context.Context, q sql.Tx, w *hook.Webhook, company *Company) error {
	if most := cmp.Or(company.MaxWebhooks, s.caps.Webhooks); most > 0 {
		var count int
		if err := sql.One(ctx, q, `SELECT count(*) FROM webhooks WHERE company = $1 AND deleted_at IS NULL`, []any{int64(w.Company)}, &count); err != nil {
			return err
		}
		if count >= most {
			return hook.Refuse(hook.KindConflict, "too_many_webhooks", "the company has %d webhooks, which is its limit", count)
		}
	}
	if err := refuseFilter(ctx, q, w); err != nil {
		return err
	}
	return s.refuseDuplicate(ctx, q, w)
}

// refuseDuplicate: the same endpoint and the same topics, however written, among the webhooks that
// are ACTIVE or PAUSED.
func (s *Store) refuseDuplicate(ctx context.Context, q sql.Tx, w *hook.Webhook) error {
	if w.Status == hook.Inactive {
		return nil
	}
	mine := hook.MatchTopics(w.Topics)
	want := s.Catalogue().Covered(mine)
	return sql.Each(ctx, q, `
		SELECT id, topics FROM webhooks
		WHERE company = $1 AND endpoint = $2 AND deleted_at IS NULL AND status IN ('ACTIVE', 'PAUSED') AND id <> $3`,
		[]any{int64(w.Company), w.Endpoint, w.ID}, func(r sql.Rows) error {
			var id, topics string
			if err := r.Scan(&id, &topics); err != nil {
				return err
			}
			set, err := topicSet(topics)
			if err != nil || set != mine && (len(want) == 0 || !slices.Equal(s.Catalogue().Covered(set), want)) {
				return err // what covers no topic today may cover others tomorrow
			}
			e := hook.Refuse(hook.KindConflict, "duplicate_webhook", "webhook %s has this endpoint and these topics already", id)
			e.Extra = map[string]any{"existing_id": id}
			return e
		})
}

// Twins are the ids of a webhook's ACTIVE and PAUSED siblings that deliver to the same endpoint and
// share a topic with it, newest first, at most ten: an event of such a topic arrives there twice.
func (s *Store) Twins(ctx context.Context, w *hook.Webhook) (ids []string, err error) {
	const most = 10
	want := s.Catalogue().Covered(hook.MatchTopics(w.Topics))
	err = s.read(ctx, func(q sql.Tx) error {
		ids = ids[:0]
		return sql.Each(ctx, q, `
			SELECT id, topics FROM webhooks
			WHERE company = $1 AND endpoint = $2 AND deleted_at IS NULL AND status IN ('ACTIVE', 'PAUSED') AND id <> $3 ORDER BY id DESC`,
			[]any{int64(w.Company), w.Endpoint, w.ID}, func(r sql.Rows) error {
				var id, topics string
				if err := r.Scan(&id, &topics); err != nil {
					return err
				}
				set, err := topicSet(topics)
				if err == nil && len(ids) < most && slices.ContainsFunc(want, func(t hook.Topic) bool { return set.Has(t.Name) }) {
					ids = append(ids, id)
				}
				return err
			})
	})
	if err != nil {
		return nil, fmt.Errorf("look for webhooks at the same endpoint: %w", err)
	}
	return ids, nil
}

func (s *Store) insertWebhook(ctx context.Context, q sql.Tx, w *hook.Webhook, changed int64) error {
	if w.SignsWithKey() {
		if err := s.ensureSigningKey(ctx, q, w.Company); err != nil {
			return err
		}
	}
	_, err := q.Exec(ctx, `
		INSERT INTO webhooks (key, id, company, partition, created_at, endpoint, endpoint_version, endpoint_since, status, status_reason, topics, filter,
			description, metadata, signature_scheme, data_format, headers, ordering, max_concurrency, rate_limit, timeout_ms, retry_schedule,
			secret, previous_secret, previous_expires_at, secret_activated, version, changed, updated_at, http_version, tls_compat, include_changes, signature_ed25519, http_signature)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34)`,
		append([]any{int64(w.Key), w.ID, int64(w.Company), int64(w.Partition), sql.Micros(w.CreatedAt)}, s.webhookValues(w, changed)...)...)
	return err
}

func (s *Store) saveWebhook(ctx context.Context, q sql.Tx, w *hook.Webhook, changed int64) error {
	if w.SignsWithKey() {
		if err := s.ensureSigningKey(ctx, q, w.Company); err != nil {
			return err
		}
	}
	_, err := q.Exec(ctx, `
		UPDATE webhooks SET endpoint = $2, endpoint_version = $3, endpoint_since = $4, status = $5, status_reason = $6, topics = $7, filter = $8,
			description = $9, metadata = $10, signature_scheme = $11, data_format = $12, headers = $13, ordering = $14, max_concurrency = $15,
			rate_limit = $16, timeout_ms = $17, retry_schedule = $18, secret = $19, previous_secret = $20, previous_expires_at = $21,
			secret_activated = $22, version = $23, changed = $24, updated_at = $25, http_version = $26, tls_compat = $27, include_changes = $28, signature_ed25519 = $29, http_signature = $30
		WHERE key = $1`,
		append([]any{int64(w.Key)}, s.webhookValues(w, changed)...)...)
	return err
}

// webhookValues are the columns that a change may change, in the order of both statements.
func (s *Store) webhookValues(w *hook.Webhook, changed int64) []any {
	topics, _ := json.Marshal(w.Topics)
	headers, _ := json.Marshal(w.Headers)
	metadata := string(w.Metadata)
	if metadata == "" {
		metadata = "{}"
	}
	var previous, expires any
	if w.Secrets.Previous != "" {
		previous, expires = s.seal([]byte(w.Secrets.Previous), w.ID, fieldPrevious), sql.Micros(w.Secrets.PreviousExpires)
	}
	return []any{
		w.Endpoint, w.EndpointVersion, sql.Micros(w.EndpointSince), string(w.Status), w.StatusReason, string(topics), w.Filter,
		w.Description, metadata, string(w.Scheme), string(w.Format), s.seal(headers, w.ID, fieldHeaders), string(w.Ordering), int64(w.MaxConcurrency),
		w.RateLimit, w.Timeout.Milliseconds(), formatSchedule(w.RetrySchedule), s.seal([]byte(w.Secrets.Current), w.ID, fieldSecret), previous, expires,
		sql.Flag(w.Secrets.Activated), w.Version, changed, sql.Micros(w.UpdatedAt), string(w.HTTPVersion), sql.Flag(w.TLSCompat), sql.Flag(w.IncludeChanges), sql.Flag(w.Ed25519), sql.Flag(w.HTTPSignature),
	}
}

// insertRule makes what the webhook wants the rule from an offset on. Two changes between two
// events leave one rule.
func insertRule(ctx context.Context, q sql.Tx, w *hook.Webhook, from hook.Offset) error {
	topics, err := json.Marshal(w.Topics)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, `
		INSERT INTO rules (webhook, from_offset, topics, filter, leap)
		VALUES ($1, $2, $3, $4, coalesce((SELECT x.leap FROM rules x WHERE x.webhook = $1 ORDER BY x.from_offset DESC LIMIT 1), 0))
		ON CONFLICT (webhook, from_offset) DO UPDATE SET topics = excluded.topics, filter = excluded.filter`,
		int64(w.Key), int64(from), string(topics), w.Filter)
	if err != nil {
		return err
	}
	return pruneRules(ctx, q, w)
}

// mostRules is how many rules a webhook may have that are in force at events that are kept.
const mostRules = 1000

// pruneRules forgets the rules that no event is left for. The one in force at the last that was purged
// stays, so that what is kept of a webhook never looks as if it began with it.
func pruneRules(ctx context.Context, q sql.Tx, w *hook.Webhook) error {
	if _, err := q.Exec(ctx, `
		DELETE FROM rules WHERE webhook = $1 AND from_offset < (
			SELECT max(x.from_offset) FROM rules x JOIN companies c ON c.key = $2 WHERE x.webhook = $1 AND x.from_offset <= c.purged_offset)`,
		int64(w.Key), int64(w.Company)); err != nil {
		return err
	}
	var n int
	err := sql.One(ctx, q, `SELECT count(*) FROM rules WHERE webhook = $1`, []any{int64(w.Key)}, &n)
	if err == nil && n > mostRules {
		return hook.Refuse(hook.KindConflict, "too_many_changes", "topics and filter were changed %d times among the events that are kept, which is the limit", mostRules)
	}
	return err
}

// mostFilters is how many webhooks of a company may have a filter: what all of them may cost together at
// an event is bounded by it.
const mostFilters = 1000

func refuseFilter(ctx context.Context, q sql.Tx, w *hook.Webhook) error {
	if w.Filter == "" {
		return nil
	}
	var n int
	err := sql.One(ctx, q, `SELECT count(*) FROM webhooks WHERE company = $1 AND deleted_at IS NULL AND filter <> '' AND key <> $2`,
		[]any{int64(w.Company), int64(w.Key)}, &n)
	if err == nil && n >= mostFilters {
		return hook.Refuse(hook.KindConflict, "too_many_filters", "%d webhooks of the company have a filter, which is the limit", n)
	}
	return err
}

// Resume says what becomes of the events that a webhook stood still for when it is ACTIVE again.
type Resume string

// What may become of them.
const (
	ResumeDefault Resume = ""        // backlog, but now where its owner had made it INACTIVE
	ResumeBacklog Resume = "backlog" // they are delivered
	ResumeNow     Resume = "now"     // they are skipped
)

// Skips reports whether the events that waited for a webhook, as it was, are skipped when it becomes
// ACTIVE. Without a wish only those of a webhook that its owner switched off are.
func (r Resume) Skips(was *hook.Webhook) bool {
	return was.Status != hook.Active && (r == ResumeNow || r == ResumeDefault && was.Status == hook.Inactive && was.StatusReason == "")
}

// reasonResumedNow is the reason of the deliveries that ResumeNow skips.
const reasonResumedNow = "resumed_now"

// Change is what to do to a webhook.
type Change struct {
	IfMatch *int64                    // the version that it must have; nil for any
	Apply   func(*hook.Webhook) error // sets settings and Status; may run more than once
	Resume  Resume                    // when Apply makes it ACTIVE
	Audit   Audit
}

// UpdateWebhook loads a company's webhook, applies a change to it and saves it as its next version.
// New topics or a new filter are a rule for the events accepted from now on. A change of what its
// endpoint is asked ([hook.Webhook.AsksOtherwise]), and becoming ACTIVE, start with a clean record of health.
func (s *Store) UpdateWebhook(ctx context.Context, company hook.CompanyKey, id string, c Change) (w *hook.Webhook, err error) {
	err = s.change(ctx, company, id, c.Audit, func(q sql.Tx, loaded *hook.Webhook, head hook.Offset) error {
		w = loaded
		if c.IfMatch != nil && *c.IfMatch != w.Version {
			return hook.Refuse(hook.KindPrecondition, "version_mismatch", "the webhook is at version %d", w.Version)
		}
		old := *w
		w.Topics, w.Headers, w.Metadata = slices.Clone(w.Topics), slices.Clone(w.Headers), slices.Clone(w.Metadata)
		if err := c.Apply(w); err != nil {
			return err
		}
		return s.afterApply(ctx, q, &old, w, head, c.Resume)
	})
	if err != nil {
		return nil, fmt.Errorf("update webhook: %w", err)
	}
	return w, nil
}

// afterApply does what a change of some settings means beyond their columns.
func (s *Store) afterApply(ctx context.Context, q sql.Tx, old, w *hook.Webhook, head hook.Offset, resume Resume) error {
	activated := w.Status == hook.Active && old.Status != hook.Active
	if w.Endpoint != old.Endpoint || !slices.Equal(w.Topics, old.Topics) || old.Status == hook.Inactive && w.Status != hook.Inactive {
		if err := s.refuseDuplicate(ctx, q, w); err != nil {
			return err
		}
	}
	if w.Status != old.Status {
		w.StatusReason = ""
	}
	if w.Filter != old.Filter {
		if err := refuseFilter(ctx, q, w); err != nil {
			return err
		}
	}
	if !slices.Equal(w.Topics, old.Topics) || w.Filter != old.Filter {
		if err := insertRule(ctx, q, w, head+1); err != nil {
			return err
		}
	}
	if activated && resume.Skips(old) {
		return skipTo(ctx, q, w, head, hook.Now(s.now()))
	}
	return nil
}

// beginAnew gives a webhook a clean record of health when it becomes ACTIVE, and when what its endpoint is
// asked changes, which it reports: that is how failures are repaired.
func (s *Store) beginAnew(ctx context.Context, q sql.Tx, old, w *hook.Webhook, now time.Time) (repaired bool, err error) {
	repaired = w.AsksOtherwise(old, now)
	activated := w.Status == hook.Active && old.Status != hook.Active
	if !repaired && !activated {
		return false, nil
	}
	w.EndpointVersion++
	if activated || w.Endpoint != old.Endpoint {
		w.EndpointSince = now
	}
	return repaired, forgetFailures(ctx, q, w.Key)
}

// repairedSteps are the transactions in which a repair makes due what is parked, at most. There are no more live
// rows than that; what a replay parked beyond it waits for its own time.
const repairedSteps = 10

// makeDue has what waits for a retry sent at once, after a repair of a time. The repair is committed: where a
// step fails, the rest waits for its own time.
func (s *Store) makeDue(ctx context.Context, w *hook.Webhook, repaired time.Time) {
	rows := int64(log.RepairRows)
	for step := 0; step < repairedSteps && rows == log.RepairRows; step++ {
		err := s.write(ctx, func(q sql.Tx) (err error) {
			rows, err = q.Exec(ctx, log.RepairParked, log.Repair{Webhook: w.Key}.Args(repaired)...)
			if err != nil || rows == 0 {
				return err
			}
			return touch(ctx, q, w.Partition, w.Key)
		})
		if err != nil {
			return
		}
	}
}

// forgetFailures: the past of another endpoint, or of another time, says nothing about this one.
func forgetFailures(ctx context.Context, q sql.Tx, key hook.WebhookKey) error {
	_, err := q.Exec(ctx, `
		UPDATE cursors SET failing_since = NULL, failing_hours = 0, last_failing_hour = 0, consecutive_failures = 0, probe_at = NULL, probe_step = 0,
			not_before = NULL, gate_wait_us = 0, gate_reason = '', gate_version = 0, throttles = 0
		WHERE webhook = $1`, int64(key))
	return err
}

// skipTo writes one range over everything from the place to the head. The cursor moves over it when
// the engine gets there; what has been settled or parked within it stays what it is.
func skipTo(ctx context.Context, q sql.Tx, w *hook.Webhook, head hook.Offset, now time.Time) error {
	_, place, err := cursorOf(ctx, q, w.Key)
	if err != nil || place >= head {
		return err
	}
	_, err = q.Exec(ctx, `
		INSERT INTO skips (webhook, from_offset, to_offset, reason, at) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (webhook, from_offset, to_offset) DO NOTHING`,
		int64(w.Key), int64(place+1), int64(head), reasonResumedNow, sql.Micros(now))
	return err
}

// DeleteWebhook makes a webhook a tombstone: its history answers like an unknown one's from now on,
// and is erased later in small steps.
func (s *Store) DeleteWebhook(ctx context.Context, company hook.CompanyKey, id string, ifMatch *int64, a Audit) error {
	err := s.change(ctx, company, id, a, func(q sql.Tx, w *hook.Webhook, _ hook.Offset) error {
		if ifMatch != nil && *ifMatch != w.Version {
			return hook.Refuse(hook.KindPrecondition, "version_mismatch", "the webhook is at version %d", w.Version)
		}
		_, err := q.Exec(ctx, `UPDATE webhooks SET deleted_at = $1 WHERE key = $2`, sql.Micros(s.now()), int64(w.Key))
		return err
	})
	if err != nil {
		return fmt.Errorf("delete webhook: %w", err)
	}
	return nil
}

// change is the frame of every mutation of a webhook. The partition's append lock comes first and
// its configuration count second, in every one of them: that is the order of locks, and two changes
// of one webhook cannot overlap.
func (s *Store) change(ctx context.Context, company hook.CompanyKey, id string, a Audit, fn func(q sql.Tx, w *hook.Webhook, head hook.Offset) error) error {
	var w *hook.Webhook
	var now time.Time
	var repaired bool
	err := s.write(ctx, func(q sql.Tx) error {
		var partition hook.Partition
		err := sql.One(ctx, q, `SELECT partition FROM webhooks WHERE id = $1 AND company = $2 AND deleted_at IS NULL`, []any{id, int64(company)}, &partition)
		if errors.Is(err, sql.ErrNoRow) {
			return hook.NotFound("webhook")
		}
		if err != nil {
			return err
		}
		head, err := s.lockLog(ctx, q, partition)
		if err != nil {
			return err
		}
		version, err := log.CountChange(ctx, q, partition)
		if err != nil {
			return err
		}
		if w, err = s.webhookOf(ctx, q, company, id); err != nil {
			return err
		}
		old := *w
		if err := fn(q, w, head); err != nil {
			return err
		}
		now = hook.Now(s.now())
		if repaired, err = s.beginAnew(ctx, q, &old, w, now); err != nil {
			return err
		}
		w.Version++
		w.UpdatedAt = now
		if err := s.saveWebhook(ctx, q, w, version); err != nil {
			return err
		}
		return writeAudit(ctx, q, company, id, a, now)
	})
	if err == nil && repaired {
		s.makeDue(context.WithoutCancel(ctx), w, now)
	}
	return err
}
