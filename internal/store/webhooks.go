package store

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Webhook reads a company's webhook with its secrets and headers; [hook.NotFound] when there is
// none, or it is another company's, or it was deleted.
func (s *Store) Webhook(ctx context.Context, company hook.CompanyKey, id string) (w *hook.Webhook, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		w, err = s.webhookOf(ctx, q, company, id)
		return err
	})
	return w, err
}

// WebhookExists reports whether a company has a webhook, without reading it.
func (s *Store) WebhookExists(ctx context.Context, company hook.CompanyKey, id string) (bool, error) {
	n := 0
	err := s.look(ctx, func(q sql.Tx) error {
		return sql.One(ctx, q, `SELECT count(*) FROM webhooks WHERE id = $1 AND company = $2 AND deleted_at IS NULL`, []any{id, int64(company)}, &n)
	})
	if err != nil {
		return false, fmt.Errorf("look for webhook: %w", err)
	}
	return n > 0, nil
}

// WebhookForSend reads a webhook by its key, as the next attempt must know it.
func (s *Store) WebhookForSend(ctx context.Context, key hook.WebhookKey) (w *hook.Webhook, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		w, err = s.webhookByKey(ctx, q, key)
		return err
	})
	return w, err
}

// WebhookFilter narrows a list of webhooks; zero fields do not.
type WebhookFilter struct {
	Status hook.Status
	Topic  string // subscribed to this topic
}

// Webhooks lists a company's webhooks, newest first, from a position on, and their number.
func (s *Store) Webhooks(ctx context.Context, company hook.CompanyKey, f WebhookFilter, offset, limit int) (list []*hook.Webhook, total int, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		list = list[:0]
		keys, err := webhookKeys(ctx, q, company, f)
		if err != nil {
			return err
		}
		total = len(keys)
		keys = keys[min(offset, total):]
		for _, key := range keys[:min(limit, len(keys))] {
			w, err := s.webhookByKey(ctx, q, key)
			if err != nil {
				return err
			}
			list = append(list, w)
		}
		return nil
	})
	if err != nil {
		return nil, 0, fmt.Errorf("list webhooks: %w", err)
	}
	return list, total, nil
}

// WebhookCounts says how many of a company's webhooks are in which state. Failing and down are Active
// ones, Disabled are those Inactive ones that their owner did not set so.
type WebhookCounts struct {
	Active, Failing, Down, Refusing, Paused, Inactive, Disabled int
}

// Trouble says from when on a webhook is in trouble.
type Trouble struct {
	Failing int   // failures in a row make one failing
	Refuses int64 // attempts without a success make it one that refuses everything, though its endpoint answers
}

// mostTallied is for how many webhooks whose last attempt failed the attempts are counted.
const mostTallied = 1000

// CountWebhooks counts a company's webhooks by what is stored of their health, and names those that need
// somebody, newest first, at most limit.
func (s *Store) CountWebhooks(ctx context.Context, company hook.CompanyKey, t Trouble, limit int) (c WebhookCounts, troubled []string, err error) {
	const of = ` FROM webhooks w JOIN cursors u ON u.webhook = w.key WHERE w.company = $1 AND w.deleted_at IS NULL`
	const trouble = `CASE WHEN u.probe_at IS NOT NULL THEN 2 WHEN u.consecutive_failures >= $2 THEN 1 ELSE 0 END`
	args := []any{int64(company), int64(t.Failing)}
	type suspect struct {
		w     hook.Webhook
		c     hook.Cursor
		known bool
	}
	var list []suspect
	err = s.read(ctx, func(q sql.Tx) error {
		c, list = WebhookCounts{}, nil
		err := sql.Each(ctx, q, `
			SELECT w.status, CASE WHEN w.status_reason <> '' THEN 1 ELSE 0 END, `+trouble+`, count(*)`+
			of+` GROUP BY 1, 2, 3`, args, func(r sql.Rows) error {
			var status hook.Status
			var disabled, trouble, n int
			err := r.Scan(&status, &disabled, &trouble, &n)
			c.add(status, disabled == 1, trouble, n)
			return err
		})
		if err != nil {
			return err
		}
		return sql.Each(ctx, q, `SELECT w.id, w.key, w.endpoint_since, u.last_success_at, CASE WHEN w.status = 'INACTIVE' THEN 1 ELSE `+trouble+` END`+of+`
			AND (w.status = 'INACTIVE' AND w.status_reason <> '' OR w.status = 'ACTIVE' AND (u.probe_at IS NOT NULL OR u.consecutive_failures >= $2
				OR u.last_failure_at >= w.endpoint_since AND (u.last_success_at IS NULL OR u.last_success_at < u.last_failure_at)))
			ORDER BY w.id DESC`, args, func(r sql.Rows) error {
			var x suspect
			var since int64
			var success *int64
			var trouble int
			err := r.Scan(&x.w.ID, &x.w.Key, &since, &success, &trouble)
			x.w.EndpointSince, x.c.LastSuccessAt, x.known = sql.FromMicros(since), sql.FromMicrosOrNull(success), trouble > 0
			list = append(list, x)
			return err
		})
	})
	if err != nil {
		return WebhookCounts{}, nil, fmt.Errorf("count webhooks: %w", err)
	}
	for i, x := range list {
		if !x.known && i < mostTallied { // each by itself: there may be many
			tally, err := s.Tally(ctx, &x.w, &x.c)
			if err != nil {
				return WebhookCounts{}, nil, err
			}
			if x.known = tally.Refused >= t.Refuses; x.known {
				c.Refusing++
			}
		}
		if x.known && len(troubled) < limit {
			troubled = append(troubled, x.w.ID)
		}
	}
	return c, troubled, nil
}

// add counts n webhooks: trouble is 1 for failing, 2 for down.
func (c *WebhookCounts) add(status hook.Status, disabled bool, trouble, n int) {
	switch status {
	case hook.Active:
		c.Active += n
		switch trouble {
		case 1:
			c.Failing += n
		case 2:
			c.Down += n
		}
	case hook.Paused:
		c.Paused += n
	case hook.Inactive:
		c.Inactive += n
		if disabled {
			c.Disabled += n
		}
	}
}

// webhookKeys reads the keys of a company's webhooks, newest first. A company has thousands of
// them at most, and what they subscribe to is resolved here rather than in SQL.
func webhookKeys(ctx context.Context, q sql.Tx, company hook.CompanyKey, f WebhookFilter) (keys []hook.WebhookKey, err error) {
	err = sql.Each(ctx, q, `
		SELECT key, topics FROM webhooks WHERE company = $1 AND deleted_at IS NULL AND (status = $2 OR $2 = '') ORDER BY id DESC`,
		[]any{int64(company), string(f.Status)}, func(r sql.Rows) error {
			var key hook.WebhookKey
			var topics string
			if err := r.Scan(&key, &topics); err != nil {
				return err
			}
			if f.Topic != "" {
				set, err := topicSet(topics)
				if err != nil || !set.Has(f.Topic) {
					return err
				}
			}
			keys = append(keys, key)
			return nil
		})
	return keys, err
}

const webhookColumns = `w.key, w.id, w.company, c.id, w.partition, w.endpoint, w.endpoint_version, w.endpoint_since, w.status, w.status_reason,
	w.topics, w.filter, w.description, w.metadata, w.signature_scheme, w.data_format, w.headers, w.ordering, w.max_concurrency, w.rate_limit,
	w.timeout_ms, w.retry_schedule, w.http_version, w.tls_compat, w.include_changes, w.secret, w.previous_secret, w.previous_expires_at, w.secret_activated, w.version, w.created_at, w.updated_at, c.allow_networks, w.signature_ed25519, w.http_signature`

func (s *Store) webhookByKey(ctx context.Context, q sql.Tx, key hook.WebhookKey) (*hook.Webhook, error) {
	return s.webhookWhere(ctx, q, `w.key = $1`, int64(key))
}

func (s *Store) webhookOf(ctx context.Context, q sql.Tx, company hook.CompanyKey, id string) (*hook.Webhook, error) {
	return s.webhookWhere(ctx, q, `w.id = $1 AND w.company = $2`, id, int64(company))
}

func (s *Store) webhookWhere(ctx context.Context, q sql.Tx, condition string, args ...any) (w *hook.Webhook, err error) {
	err = sql.Each(ctx, q, `SELECT `+webhookColumns+` FROM webhooks w JOIN companies c ON c.key = w.company WHERE w.deleted_at IS NULL AND `+condition, args,
		func(r sql.Rows) error {
			w, err = s.scanWebhook(r)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("read webhook: %w", err)
	}
	if w == nil {
		return nil, hook.NotFound("webhook")
	}
	if err := s.addSigningKeys(ctx, q, w); err != nil {
		return nil, fmt.Errorf("read webhook: %w", err)
	}
	return w, nil
}

// Sealed fields of a webhook's row.
const (
	fieldSecret   = "secret"
	fieldPrevious = "previous_secret"
	fieldHeaders  = "headers"
)

func (s *Store) scanWebhook(r sql.Rows) (*hook.Webhook, error) {
	w := &hook.Webhook{}
	var since, timeout, compat, changes, activated, created, updated int64
	var topics, metadata, schedule, networks string
	var headers, secret, previous []byte
	var expires *int64
	if err := r.Scan(&w.Key, &w.ID, &w.Company, &w.CompanyID, &w.Partition, &w.Endpoint, &w.EndpointVersion, &since, &w.Status, &w.StatusReason,
		&topics, &w.Filter, &w.Description, &metadata, &w.Scheme, &w.Format, &headers, &w.Ordering, &w.MaxConcurrency, &w.RateLimit,
		&timeout, &schedule, &w.HTTPVersion, &compat, &changes, &secret, &previous, &expires, &activated, &w.Version, &created, &updated, &networks, &w.Ed25519, &w.HTTPSignature); err != nil {
		return nil, err
	}
	w.EndpointSince, w.CreatedAt, w.UpdatedAt = sql.FromMicros(since), sql.FromMicros(created), sql.FromMicros(updated)
	w.TLSCompat, w.IncludeChanges = compat != 0, changes != 0
	w.Metadata, w.Timeout = json.RawMessage(metadata), time.Duration(timeout)*time.Millisecond
	if err := json.Unmarshal([]byte(topics), &w.Topics); err != nil {
		return nil, fmt.Errorf("topics of %s: %w", w.ID, err)
	}
	var err error
	if w.RetrySchedule, err = parseSchedule(schedule); err != nil {
		return nil, fmt.Errorf("retry schedule of %s: %w", w.ID, err)
	}
	for _, text := range splitNetworks(networks) {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("networks of company %s: %w", w.CompanyID, err)
		}
		w.AllowNetworks = append(w.AllowNetworks, prefix)
	}
	if headers, err = s.unseal(headers, w.ID, fieldHeaders); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(headers, &w.Headers); err != nil {
		return nil, fmt.Errorf("headers of %s: %w", w.ID, err)
	}
	return w, s.unsealSecrets(w, secret, previous, expires, activated)
}

func (s *Store) unsealSecrets(w *hook.Webhook, secret, previous []byte, expires *int64, activated int64) error {
	current, err := s.unseal(secret, w.ID, fieldSecret)
	if err != nil {
		return err
	}
	w.Secrets.Current = string(current)
	if previous == nil || expires == nil {
		return nil
	}
	old, err := s.unseal(previous, w.ID, fieldPrevious)
	if err != nil {
		return err
	}
	w.Secrets.Previous, w.Secrets.PreviousExpires, w.Secrets.Activated = string(old), sql.FromMicros(*expires), activated != 0
	return nil
}

func formatSchedule(delays []time.Duration) string {
	seconds := make([]float64, len(delays))
	for i, d := range delays {
		seconds[i] = d.Seconds()
	}
	text, _ := json.Marshal(seconds) // finite numbers only
	return string(text)
}

func parseSchedule(text string) ([]time.Duration, error) {
	var seconds []float64
	if err := json.Unmarshal([]byte(text), &seconds); err != nil {
		return nil, err
	}
	delays := make([]time.Duration, len(seconds))
	for i, s := range seconds {
		delays[i] = time.Duration(s * float64(time.Second)).Round(time.Millisecond)
	}
	return delays, nil
}

// topicSet resolves the patterns of a row, which are kept as they were written.
func topicSet(patterns string) (hook.TopicSet, error) {
	var list []string
	if err := json.Unmarshal([]byte(patterns), &list); err != nil {
		return hook.TopicSet{}, fmt.Errorf("topics %q: %w", patterns, err)
	}
	return hook.MatchTopics(list), nil
}

func scanRule(r sql.Rows) (hook.Rule, error) {
	var rule hook.Rule
	var topics string
	err := r.Scan(&rule.Webhook, &rule.From, &topics, &rule.Filter, &rule.Leap)
	if err == nil {
		rule.Topics, err = topicSet(topics)
	}
	return rule, err
}

func splitNetworks(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}
