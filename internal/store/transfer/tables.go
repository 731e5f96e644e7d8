package transfer

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
)

// copied is a table that a copy takes along. What is particular to one database stays there: nodes,
// owners, append locks, what meta counts, and who is signed in.
type copied struct {
	name  string
	key   []string // columns in whose order it is read
	scope string   // column that says whose a row is
	cols  []copiedColumn
	// mend, if set, changes a row further, after the roles.
	mend func(c *copying, t *copied, row, original []any) error
}

type copiedColumn struct{ name, role string }

// Roles of columns: what becomes of a value on its way.
const (
	roleCompany   = "company"   // a company's key
	roleWebhook   = "webhook"   // a webhook's key
	roleReplay    = "replay"    // a replay's key
	rolePartition = "partition" // where the company lives
	roleOffset    = "offset"    // a place in its log
	roleZero      = "zero"      // begins anew
)

// tables are in the order in which they are copied. A column is its name, and its role after "=".
var tables = []copied{
	table("companies", "key", "key", `key=company id partition=partition signature_scheme data_format allow_networks max_webhooks validate purged_offset=offset created_at updated_at`, nil),
	table("api_keys", "company", "id", `id company=company name scope topic_prefix hash hint created_by created_at expires_at last_used_at revoked_at maker`, nil),
	table("links", "company", "id", `id company=company scope maker token_hash created_by created_at expires_at used_at session_hash session_expires_at revoked_at`, nil),
	table("audit", "company", "id", `id company=company at actor action object request_id detail address`, nil),
	table("idempotency", "company", "company key", `company=company key route digest status answer created_at`, (*copying).mendAnswer),
	table("webhooks", "company", "key", `key=webhook id company=company partition=partition endpoint endpoint_version endpoint_since status status_reason topics filter
		description metadata signature_scheme data_format headers ordering max_concurrency rate_limit timeout_ms retry_schedule http_version tls_compat include_changes signature_ed25519 http_signature secret previous_secret
		previous_expires_at secret_activated version changed=zero created_at updated_at deleted_at`, nil),
	table("signing_keys", "company", "id", `id company=company public private active_from created_at`, nil),
	table("rules", "webhook", "webhook from_offset", `webhook=webhook from_offset=offset topics filter leap`, nil),
	table("cursors", "webhook", "webhook", roled(log.Cursors.List(), log.Gates.List()[1:]), (*copying).mendCursor),
	table("events", "company", "partition offset", `partition=partition `+roled(log.Events.List()), nil),
	table("scheduled", "company", "company id", `company=company id partition=partition topic object_key data digest occurred_at expires_at deliver_at accepted_at cancelled_at`, nil),
	table("cancellations", "company", "company offset", `company=company offset=offset at`, nil),
	table("attempts", "webhook", "webhook offset number", roled(log.Attempts.List()), nil),
	table("answers", "webhook", "webhook slot", roled(log.Answers.List()), nil),
	table("parked", "webhook", "webhook kind offset", roled(log.Parked.List()), nil),
	table("skips", "webhook", "webhook from_offset to_offset", `webhook=webhook from_offset=offset to_offset=offset reason at`, nil),
	table("unrecordable", "webhook", "webhook offset number", `webhook=webhook offset=offset number at error`, nil),
	table("stats", "webhook", "webhook bucket", roled(log.Stats.List()), nil),
	table("replays", "webhook", "key", `key=replay id webhook=webhook status from_at to_at from_offset=offset to_offset=offset place=offset covers rule_topics rule_filter topic rate
		started delivered failed created_at finished_at`, nil),
	table("tests", "webhook", "id", `id webhook=webhook at topic data attempt`, (*copying).mendTest),
	table("notices", "company", "id", `id company=company webhook=webhook at kind detail`, nil),
}

// roled gives columns the roles that their names tell.
func roled(columns ...[]string) string {
	list := slices.Concat(columns...)
	for i, name := range list {
		switch name {
		case roleCompany, roleWebhook, roleReplay, rolePartition, roleOffset:
			list[i] = name + "=" + name
		}
	}
	return strings.Join(list, " ")
}

func table(name, scope, key, columns string, mend func(*copying, *copied, []any, []any) error) copied {
	t := copied{name: name, scope: scope, key: strings.Fields(key), mend: mend}
	for word := range strings.FieldsSeq(columns) {
		column, role, _ := strings.Cut(word, "=")
		t.cols = append(t.cols, copiedColumn{column, role})
	}
	return t
}

// at is the place of a column in a row.
func (t *copied) at(column string) int {
	for i, c := range t.cols {
		if c.name == column {
			return i
		}
	}
	return -1
}

// without leaves a column out: the embedded store's events have no partition.
func (t copied) without(column string) *copied {
	var cols []copiedColumn
	for _, c := range t.cols {
		if c.name != column {
			cols = append(cols, c)
		}
	}
	t.cols = cols
	return &t
}

// names lists columns for a statement; one of them is a word of the language.
func names(columns []string) string { return `"` + strings.Join(columns, `", "`) + `"` }

func (t *copied) columns() (list []string) {
	for _, c := range t.cols {
		list = append(list, c.name)
	}
	return list
}

// translate turns a row of the source into one of the target.
func (c *copying) translate(t *copied, row []any) error {
	original := append([]any(nil), row...)
	p, err := c.partitionOf(t, original)
	if err != nil {
		return err
	}
	for i, col := range t.cols {
		n, whole := row[i].(int64)
		if col.role == "" || row[i] == nil {
			continue
		}
		if !whole {
			return fmt.Errorf("%s.%s is %T", t.name, col.name, row[i])
		}
		switch {
		case col.role == roleOffset:
			row[i] = c.offset(p, n)
		case col.role == rolePartition:
			row[i] = int64(c.place(p, c.companyOf(t, original)))
		case col.role == roleZero || n == 0: // 0 is nobody
			row[i] = int64(0)
		case col.role == roleCompany:
			row[i] = n + c.base.company
		case col.role == roleWebhook:
			row[i] = n + c.base.webhook
		case col.role == roleReplay:
			row[i] = n + c.base.replay
		}
	}
	if t.mend == nil {
		return nil
	}
	return t.mend(c, t, row, original)
}

// offset is where an offset of a source's partition lies in the target. What lies after every event
// still does.
func (c *copying) offset(p hook.Partition, o int64) int64 {
	if o > math.MaxInt64-c.shift[p] {
		return math.MaxInt64
	}
	return o + c.shift[p]
}

// companyOf is the key, in the source, of the company that a row belongs to.
func (c *copying) companyOf(t *copied, row []any) int64 {
	if t.name == "companies" {
		return row[t.at("key")].(int64)
	}
	if i := t.at("company"); i >= 0 {
		return row[i].(int64)
	}
	key, _ := row[t.at("webhook")].(int64)
	return c.webhooks[key]
}

// partitionOf is where a row's company lives in the source.
func (c *copying) partitionOf(t *copied, row []any) (hook.Partition, error) {
	company := c.companyOf(t, row)
	if company == 0 {
		return 0, nil // an operator's; it has no offsets
	}
	p, ok := c.companies[company]
	if !ok {
		return 0, fmt.Errorf("%s: a row belongs to company %d, which does not exist", t.name, company)
	}
	return p.partition, nil
}

// mendCursor writes a webhook's own place down. Beside others the swept mark of its partition does
// that; the target's is another one.
func (c *copying) mendCursor(t *copied, row, original []any) error {
	p, err := c.partitionOf(t, original)
	if err != nil {
		return err
	}
	place := original[t.at("offset")].(int64)
	if original[t.at("detached")].(int64) == 0 {
		place = max(place, int64(c.swept[p]))
	}
	row[t.at("detached")], row[t.at("offset")] = int64(1), c.offset(p, place)
	return nil
}

// mendAnswer seals a saved answer for its company's new key.
func (c *copying) mendAnswer(t *copied, row, original []any) error {
	company, answer := t.at("company"), t.at("answer")
	if row[company] == original[company] {
		return nil
	}
	of := func(r []any) store.SavedAnswer {
		return store.SavedAnswer{Company: hook.CompanyKey(r[company].(int64)), Key: r[t.at("key")].(string)}
	}
	sealed, err := c.to.Reseal(c.from, original[answer].([]byte), of(original), of(row))
	row[answer] = sealed
	return err
}

// mendTest writes the webhook's new key into what is kept of an attempt.
func (c *copying) mendTest(t *copied, row, original []any) error {
	webhook, attempt := t.at("webhook"), t.at("attempt")
	if row[webhook] == original[webhook] {
		return nil
	}
	var a hook.Attempt
	if err := json.Unmarshal(original[attempt].([]byte), &a); err != nil {
		return fmt.Errorf("tests: %w", err)
	}
	a.Webhook = hook.WebhookKey(row[webhook].(int64))
	text, err := json.Marshal(a)
	row[attempt] = text
	return err
}
