package httpapi

import (
	"context"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Store is what the API needs of the store, role by role. *store.Store has it all.
type Store interface {
	CompanyStore
	TopicStore
	KeyStore
	LinkStore
	SessionStore
	WebhookStore
	SecretStore
	DeliveryStore
	EventStore
	ReplayStore
	HistoryStore
	AnswerStore
	DeadLetterStore
	// Ping answers whether the store can be read.
	Ping(context.Context) error
}

// CompanyStore keeps companies.
type CompanyStore interface {
	EnsureCompany(ctx context.Context, id string) (*store.Company, error)
	Company(ctx context.Context, id string) (*store.Company, error)
	Companies(ctx context.Context, p store.Page) ([]*store.Company, string, error)
	PublicKeys(ctx context.Context, company hook.CompanyKey) ([]hook.SigningKey, error)
	RotateSigningKey(ctx context.Context, company hook.CompanyKey, a store.Audit) (hook.SigningKey, error)
	UpdateCompany(ctx context.Context, id string, change func(*store.Company) error, a store.Audit) (*store.Company, error)
}

// TopicStore keeps the topics of the platform's own.
type TopicStore interface {
	Catalogue() *hook.Catalogue
	PutTopic(ctx context.Context, t hook.Topic, a store.Audit) error
	DeleteTopic(ctx context.Context, name string, a store.Audit) error
	Checks(ctx context.Context, topic string) (map[string]*hook.Checks, error)
}

// KeyStore keeps API keys.
type KeyStore interface {
	KeyByHash(ctx context.Context, hash [32]byte) (*store.Key, error)
	TouchKey(ctx context.Context, id string, at time.Time) error
	CreateKey(ctx context.Context, n store.NewKey, a store.Audit) (*store.Key, error)
	Keys(ctx context.Context, company hook.CompanyKey, p store.Page) ([]*store.Key, string, error)
	RevokeKey(ctx context.Context, company hook.CompanyKey, id string, a store.Audit) error
}

// LinkStore keeps links to the console.
type LinkStore interface {
	CreateLink(ctx context.Context, n store.NewLink, a store.Audit) (*store.Link, error)
	Links(ctx context.Context, company hook.CompanyKey, p store.Page) ([]*store.Link, string, error)
	RevokeLink(ctx context.Context, company hook.CompanyKey, id string, a store.Audit) error
	UseLink(ctx context.Context, token, session string, expires time.Time) (*store.Link, error)
	LinkBySession(ctx context.Context, hash [32]byte) (*store.Link, error)
	LinkByToken(ctx context.Context, token string) (*store.Link, error)
}

// SessionStore keeps the console's sessions.
type SessionStore interface {
	BeginSession(ctx context.Context, text string, n store.Session) error
	SessionByHash(ctx context.Context, hash [32]byte) (*store.Session, error)
	EndSession(ctx context.Context, text string) error
}

// WebhookStore keeps webhooks.
type WebhookStore interface {
	CreateWebhook(ctx context.Context, settings hook.Webhook, startAt *time.Time, a store.Audit) (*hook.Webhook, error)
	Webhook(ctx context.Context, company hook.CompanyKey, id string) (*hook.Webhook, error)
	Webhooks(ctx context.Context, company hook.CompanyKey, f store.WebhookFilter, offset, limit int) ([]*hook.Webhook, int, error)
	Twins(ctx context.Context, w *hook.Webhook) ([]string, error)
	CountWebhooks(ctx context.Context, company hook.CompanyKey, t store.Trouble, limit int) (store.WebhookCounts, []string, error)
	UpdateWebhook(ctx context.Context, company hook.CompanyKey, id string, c store.Change) (*hook.Webhook, error)
	DeleteWebhook(ctx context.Context, company hook.CompanyKey, id string, ifMatch *int64, a store.Audit) error
	Standing(ctx context.Context, key hook.WebhookKey) (*store.Standing, error)
	Fares(ctx context.Context, list []*hook.Webhook) ([]store.Fare, error)
	Tally(ctx context.Context, w *hook.Webhook, c *hook.Cursor) (store.Tally, error)
	LastFailure(ctx context.Context, key hook.WebhookKey) (*hook.Attempt, error)
	RequestProbe(ctx context.Context, company hook.CompanyKey, id string, a store.Audit) error
	WebhookExists(ctx context.Context, company hook.CompanyKey, id string) (bool, error)
}

// SecretStore keeps what webhooks sign with.
type SecretStore interface {
	Secrets(ctx context.Context, company hook.CompanyKey, id string, a store.Audit) (hook.Secrets, error)
	RotateSecret(ctx context.Context, company hook.CompanyKey, id string, r store.Rotation, a store.Audit) (hook.Secrets, error)
	ActivateSecret(ctx context.Context, company hook.CompanyKey, id string, a store.Audit) (hook.Secrets, error)
	CancelRotation(ctx context.Context, company hook.CompanyKey, id string, a store.Audit) (hook.Secrets, error)
}

// DeliveryStore derives deliveries.
type DeliveryStore interface {
	Deliveries(ctx context.Context, key hook.WebhookKey, query store.DeliveryQuery) ([]store.Delivery, hook.Offset, error)
	Delivery(ctx context.Context, key hook.WebhookKey, eventID string) (*store.DeliveryDetail, error)
	RequestRetry(ctx context.Context, key hook.WebhookKey, eventID string, a store.Audit) (*store.Delivery, error)
	SaveTest(ctx context.Context, t *store.TestDelivery) error
	Feed(ctx context.Context, key hook.WebhookKey, after int64, limit int) ([]store.FedEvent, error)
}

// EventStore reads events and what became of them.
type EventStore interface {
	Event(ctx context.Context, company hook.CompanyKey, id string) (*hook.Event, error)
	Scheduled(ctx context.Context, company hook.CompanyKey, f store.EventFilter, cancelled bool, after store.ScheduledAt, limit int) ([]*hook.Event, bool, error)
	CountScheduled(ctx context.Context, company hook.CompanyKey, most int) (int, error)
	CancelScheduled(ctx context.Context, company hook.CompanyKey, id string, a store.Audit) (bool, error)
	CancelEvent(ctx context.Context, node string, company hook.CompanyKey, id string, a store.Audit) error
	EventsPage(ctx context.Context, company hook.CompanyKey, f store.EventFilter, before hook.Offset, limit int) ([]*hook.Event, hook.Offset, error)
	Matches(ctx context.Context, company hook.CompanyKey, eventID string, p store.Page) ([]store.Match, string, error)
	RuleReport(ctx context.Context, key hook.WebhookKey, since time.Time) (store.RuleReport, error)
	MatchCount(ctx context.Context, company hook.CompanyKey, e *hook.Event) (int, error)
}

// ReplayStore keeps replays.
type ReplayStore interface {
	CreateReplay(ctx context.Context, key hook.WebhookKey, n store.NewReplay, a store.Audit) (*store.Replay, error)
	ReplayExtent(ctx context.Context, key hook.WebhookKey, n store.NewReplay) (count, bytes int64, exact bool, err error)
	Replay(ctx context.Context, key hook.WebhookKey, id string) (*store.Replay, error)
	ReplayByKey(ctx context.Context, key int64) (*store.Replay, error)
	Replays(ctx context.Context, key hook.WebhookKey, p store.Page) ([]*store.Replay, string, error)
	CancelReplay(ctx context.Context, key hook.WebhookKey, id string, a store.Audit) error
}

// HistoryStore reads what happened.
type HistoryStore interface {
	AuditLog(ctx context.Context, company hook.CompanyKey, p store.Page) ([]store.AuditEntry, string, error)
	Notices(ctx context.Context, company hook.CompanyKey, p store.Page) ([]store.NoticeEntry, string, error)
	Conservation(ctx context.Context, company hook.CompanyKey, p store.Page) ([]store.Balance, string, error)
	Eras(ctx context.Context, p store.Page) ([]store.Era, string, error)
	Recount(ctx context.Context, key hook.WebhookKey) (*store.Recount, error)
	Stats(ctx context.Context, query store.StatsQuery) ([]store.Stat, error)
}

// AnswerStore keeps the answers to requests that carried an Idempotency-Key.
type AnswerStore interface {
	ReserveAnswer(ctx context.Context, want store.SavedAnswer, since time.Time) (*store.SavedAnswer, error)
	SaveAnswer(ctx context.Context, a store.SavedAnswer) error
	ForgetAnswer(ctx context.Context, company hook.CompanyKey, key string) error
}

// DeadLetterStore keeps the messages of sources that cannot be accepted as they are.
type DeadLetterStore interface {
	DeadLetters(ctx context.Context, source string, p store.Page) ([]store.DeadLetter, string, error)
	DeadLetter(ctx context.Context, id string) (*store.DeadLetter, error)
	CountDeadLetters(ctx context.Context) (map[string]int64, error)
	KeepDeadLetter(ctx context.Context, id, code, reason string) error
	DropDeadLetter(ctx context.Context, id string, a store.Audit) error
}
