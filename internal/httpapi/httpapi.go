// Package httpapi is the API over HTTP: routes, keys, errors, paging, and the document that
// describes them.
//
// A route is a function from a typed input to a typed output or an error; what is the same for all
// of them stands around it, in this order: the exchange (request id, log line, panic), the key and
// what it may do, the rate, the Idempotency-Key, the input by its schema. The same declarations
// make the OpenAPI document, so that it cannot say anything else than what is done.
//
// Errors are problems (RFC 9457) with a stable code; one table maps the kinds of [hook.Error] to a
// status. Everything that is not such an error is a 500 without details, and a line in the log.
//
// The two publish routes are the hot path: plain handlers around package intake, described by hand.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/ingress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
)

// Engine is what the API needs of the running deliveries. Without one (nil) the routes that need it
// answer 503.
type Engine interface {
	// Kick says that a wish for a webhook was committed (a retry, a replay, a change).
	Kick(w hook.WebhookKey)
	// Probe makes the next attempt at an endpoint that is down, or that asked to wait, now.
	Probe(w hook.WebhookKey)
	// Cancel lets do write down that an event of the log is called off, unless an attempt of it was begun: none
	// begins meanwhile, nor afterwards. do is given the node that decides.
	Cancel(ctx context.Context, company hook.CompanyKey, p hook.Partition, o hook.Offset, do func(ctx context.Context, node string) error) error
	// Health is what the lane of a webhook knows now. Live is false where this node does not run the
	// webhook; State is "" where it does and no lane is there, because there is nothing to do. What
	// the store knows stands then.
	Health(ctx context.Context, w *hook.Webhook) (client.Health, error)
	// Test makes one attempt beside the lane: in any status, never retried, held, ordered or
	// counted. The event has an id, a topic and data, and no offset. An endpoint that fails is an
	// outcome of the attempt; the error is that the attempt could not be made.
	Test(ctx context.Context, w *hook.Webhook, e *hook.Event) (*hook.Attempt, error)
}

// Prober tries an endpoint out without sending anything.
type Prober interface {
	Preflight(ctx context.Context, endpoint string, company Networks, tlsCompat bool) egress.Report
}

// Meter counts requests; route is a pattern, never a path.
type Meter interface {
	Request(route, method string, status int, took time.Duration)
}

// Options are what the API is made of. Store, Intake, Policy and Judge are required.
type Options struct {
	Config  config.Config // with defaults
	Version string
	Store   Store
	Intake  *intake.Intake
	Policy  *egress.Policy // which endpoints may be saved
	Judge   hook.Judge     // asks filters, for a preview
	Prober  Prober         // nil: preflight goes by the rules alone
	Engine  Engine
	Meter   Meter
	Log     *slog.Logger
	Now     func() time.Time // nil means time.Now
	// Nodes tells of the installation's processes; nil: the route answers 503.
	Nodes func(context.Context) ([]client.Node, error)
	// Sources tells what this node's sources do; nil: there are none.
	Sources func() []client.Source
	// Backup makes a backup of the store; nil: the route answers 503.
	Backup func(context.Context) (*os.File, error)
	// Owner is the base URL of the node that runs a partition, "" where that is this one or nobody
	// knows; nil: there is no other.
	Owner func(p hook.Partition) string
	// Ready answers whether this node serves (store, leases); nil asks the store.
	Ready func(context.Context) error
	// Publishing hears of requests that may publish, with a key that is valid, before they are read, and of their
	// end; nil: nobody does.
	Publishing func(*http.Request) (ctx context.Context, end func())
}

// API is the http.Handler. It has no goroutines of its own.
type API struct {
	backing sync.Mutex // held while a backup is made: one at a time

	opt      Options
	mux      *http.ServeMux
	huma     huma.API
	keys     *keyring
	limits   limits
	document func() *document // rendered when it is first asked for
	tests    pacer
	searches *turns
	hub      *hub
	recheck  time.Duration
	answers  *ingress.Budget // nil: without limit

	forwarder *forwarder
	published publicKeys // answered to whoever asks
}

// New returns the API. It panics where a declaration of ours is wrong, which a test finds.
func New(opt Options) *API {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Ready == nil {
		opt.Ready = opt.Store.Ping
	}
	a := &API{opt: opt, mux: http.NewServeMux(), forwarder: newForwarder(), recheck: recheck, searches: newTurns()}
	a.keys = newKeyring(opt.Store, opt.Config, opt.Now)
	a.limits.perSecond = opt.Config.RateLimitCompanyKey
	if total := opt.Config.MaxAnswerBytes; total > 0 {
		a.answers = &ingress.Budget{Total: total, OfOne: min(total, opt.Config.MaxAnswerBytesPerCompany), Wait: answerWait}
	}
	a.hub = newHub(opt.Now(), opt.Config.MaxStreams, opt.Config.MaxStreamsPerCompany)
	a.huma = a.newHuma()
	a.publishRoutes()
	a.topicRoutes()
	a.webhookRoutes()
	a.secretRoutes()
	a.deliveryRoutes()
	a.eventRoutes()
	a.companyRoutes()
	a.signingRoutes()
	a.keyRoutes()
	a.nodeRoutes()
	a.sourceRoutes()
	a.backupRoutes()
	a.linkRoutes()
	a.historyRoutes()
	a.preflightRoutes()
	a.filterRoutes()
	a.replayRoutes()
	a.feedRoutes()
	a.exportRoutes()
	a.statsRoutes()
	a.streamRoutes()
	a.openRoutes()
	a.document = sync.OnceValue(a.render)
	return a
}

func (a *API) now() time.Time { return hook.Now(a.opt.Now()) }
