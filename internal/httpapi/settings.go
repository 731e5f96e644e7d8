package httpapi

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/filter"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// Networks are what a company may reach although it is private.
type Networks = []netip.Prefix

// Settings are what an owner can set, at creation and later. A field left out keeps its value, or
// gets its default.
type Settings struct {
	Endpoint        *string            `json:"endpoint,omitempty" maxLength:"2048" example:"https://example.com/hooks" doc:"Where to deliver: an https URL."`
	Event           *string            `json:"event,omitempty" example:"conversation.status" doc:"The topic; or use events."`
	Events          []string           `json:"events,omitempty" minItems:"1" maxItems:"64" doc:"Topics, as conversation.status, conversation.* or *; not together with event."`
	Description     *string            `json:"description,omitempty" maxLength:"1024"`
	Metadata        client.Object      `json:"metadata,omitempty" maxProperties:"50" doc:"Your own notes, an object of at most 4 KiB."`
	Status          *hook.Status       `json:"status,omitempty" enum:"ACTIVE,PAUSED,INACTIVE"`
	SigningSecret   *string            `json:"signing_secret,omitempty" doc:"16–256 visible ASCII characters. One is made when left out."`
	SignatureScheme *string            `json:"signature_scheme,omitempty" enum:"hex,base64,base64-dotted,python-dict"`
	DataFormat      *string            `json:"data_format,omitempty" enum:"string,object"`
	Headers         *map[string]string `json:"headers,omitempty" doc:"Headers of your own, at most 32 and 4 KiB; they replace those before. The value •••• keeps what it was."`
	Ordering        *string            `json:"ordering,omitempty" enum:"relaxed,object,webhook"`
	MaxConcurrency  *int               `json:"max_concurrency,omitempty" minimum:"1" maximum:"1024"`
	RateLimit       nullable[float64]  `json:"rate_limit_per_second,omitzero" minimum:"0.01" maximum:"100000" doc:"null: no limit."`
	TimeoutMS       *int64             `json:"timeout_ms,omitempty" minimum:"1000" maximum:"60000"`
	RetrySchedule   *[]float64         `json:"retry_schedule_seconds,omitempty" maxItems:"50" doc:"Delays after the first attempt. An empty list: no retry."`
	IncludeChanges  *bool              `json:"include_changes,omitempty" doc:"Bodies say what changed, where the event was published by POST /v1/changes: as a member changes behind data, or at the end of the document in string format."`
	TLSCompat       *bool              `json:"tls_compat,omitempty" doc:"TLS without post-quantum key shares, for old middleboxes that swallow a first message of two packets."`
	Ed25519         *bool              `json:"signature_ed25519,omitempty" doc:"webhook-signature carries v1a besides, an ed25519 signature by the company's key, which /.well-known/atlas-webhooks/jwks.json publishes: receivers need no secret for it."`
	HTTPSignature   *bool              `json:"http_signature,omitempty" doc:"Requests are signed by RFC 9421 besides, by the same key."`
	HTTPVersion     *string            `json:"http_version,omitempty" enum:"auto,1.1" doc:"auto: HTTP/2 where the receiver chooses it; 1.1: never."`
	Filter          nullable[string]   `json:"filter,omitzero" doc:"An expression over event and data; null: none."`
}

// WebhookCreate is the body of POST /v1/webhooks.
type WebhookCreate struct {
	Settings
	StartAt *time.Time `json:"start_at,omitempty" doc:"Begin with the events accepted from then on, as far as they are kept."`
}

// WebhookUpdate is the body of POST and PATCH /v1/webhooks/{id}.
type WebhookUpdate struct {
	Settings
	ReadBack
	Resume *string `json:"resume,omitempty" enum:"now,backlog" doc:"With status ACTIVE: what becomes of the events that waited."`
}

// checked is a set of settings that was found sound, as far as that does not depend on the webhook.
type checked struct {
	Settings
	endpoint string
	topics   []string
	headers  []hook.Header
}

// check refuses everything at once that is wrong with settings.
func (a *API) check(s Settings, company *store.Company, by caller) (*checked, error) {
	c := &checked{Settings: s}
	var wrong []hook.FieldError
	refuse := func(field, code, detail string) {
		wrong = append(wrong, hook.FieldError{Field: field, Code: code, Detail: detail})
	}
	if s.Endpoint != nil {
		networks, err := egress.ParseNetworks(company.AllowNetworks)
		if err != nil {
			return nil, err
		}
		var fields []hook.FieldError
		c.endpoint, fields = egress.CheckEndpoint(*s.Endpoint, a.opt.Policy.With(networks))
		wrong = append(wrong, hints(fields, by.operator())...)
	}
	c.topics = checkTopics(a.catalogue(), s, refuse)
	if len(s.Metadata) > 4<<10 {
		refuse("metadata", "metadata_too_large", "at most 4 KiB")
	}
	if s.SigningSecret != nil && !hook.ValidSecret(*s.SigningSecret) {
		refuse("signing_secret", "invalid_secret", "must be 16–256 visible ASCII characters without spaces")
	}
	if s.Headers != nil {
		for _, name := range slices.Sorted(maps.Keys(*s.Headers)) {
			c.headers = append(c.headers, hook.Header{Name: name, Value: (*s.Headers)[name]})
		}
		wrong = append(wrong, checkHeaders(c.headers)...)
	}
	if s.RetrySchedule != nil {
		a.checkSchedule(*s.RetrySchedule, refuse)
	}
	if s.Filter.Value != nil {
		if _, err := filter.Compile(*s.Filter.Value); err != nil {
			refuse("filter", "invalid_filter", err.Error())
		}
	}
	if wrong != nil {
		return nil, hook.InvalidFields(wrong...)
	}
	return c, nil
}

func checkTopics(topics *hook.Catalogue, s Settings, refuse func(field, code, detail string)) []string {
	if s.Event != nil && s.Events != nil {
		refuse("events", "event_and_events", "use event or events, not both")
		return nil
	}
	if s.Event != nil {
		if !topics.Known(*s.Event) {
			refuse("event", "unknown_topic", unknownTopic(topics, *s.Event))
		}
		return []string{*s.Event}
	}
	var list []string
	for i, pattern := range s.Events {
		if !topics.Known(pattern) {
			refuse("events["+strconv.Itoa(i)+"]", "unknown_topic", unknownTopic(topics, pattern))
		}
		if !slices.Contains(list, pattern) {
			list = append(list, pattern)
		}
	}
	return list
}

func unknownTopic(topics *hook.Catalogue, name string) string {
	if near := topics.Nearest(name[:min(len(name), 80)]); near != "" {
		return "there is no such topic; did you mean " + near + "?"
	}
	return "there is no such topic; GET /v1/topics lists them"
}

// checkHeaders leaves out those that keep their value, which stands nowhere yet.
func checkHeaders(headers []hook.Header) []hook.FieldError {
	given := slices.Clone(headers)
	for i := range given {
		if given[i].Value == hidden {
			given[i].Value = "x"
		}
	}
	return wire.ValidateHeaders(given)
}

// Bounds of a retry schedule's steps.
const (
	shortestStep = 10 * time.Millisecond
	longestStep  = 7 * 24 * time.Hour
)

func (a *API) checkSchedule(seconds []float64, refuse func(field, code, detail string)) {
	var total time.Duration
	for i, s := range seconds {
		if s < shortestStep.Seconds() || s > longestStep.Seconds() {
			refuse("retry_schedule_seconds["+strconv.Itoa(i)+"]", "invalid_value", "must be between 0.01 and 604800")
			return
		}
		total += asDuration(s)
	}
	if days := a.opt.Config.RetentionDays; days > 0 && total > time.Duration(days)*24*time.Hour {
		refuse("retry_schedule_seconds", "schedule_too_long", "the delays add up to more than the "+strconv.Itoa(days)+" days for which events are kept")
	}
}

func asDuration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Millisecond)
}

// apply sets the settings that were given. It refuses what does not go together.
func (c *checked) apply(w *hook.Webhook) error {
	if c.endpoint != "" {
		w.Endpoint = c.endpoint
	}
	if c.topics != nil {
		w.Topics = c.topics
	}
	set(&w.Description, c.Description)
	if c.Metadata != nil {
		w.Metadata = []byte(c.Metadata)
	}
	set(&w.Status, c.Status)
	if c.SignatureScheme != nil {
		w.Scheme = hook.SignatureScheme(*c.SignatureScheme)
	}
	if c.DataFormat != nil {
		w.Format = hook.DataFormat(*c.DataFormat)
	}
	if c.Ordering != nil {
		w.Ordering = hook.Ordering(*c.Ordering)
	}
	set(&w.MaxConcurrency, c.MaxConcurrency)
	if c.RateLimit.Given {
		w.RateLimit = 0
		set(&w.RateLimit, c.RateLimit.Value)
	}
	if c.TimeoutMS != nil {
		w.Timeout = time.Duration(*c.TimeoutMS) * time.Millisecond
	}
	set(&w.TLSCompat, c.TLSCompat)
	set(&w.IncludeChanges, c.IncludeChanges)
	set(&w.Ed25519, c.Ed25519)
	set(&w.HTTPSignature, c.HTTPSignature)
	if c.HTTPVersion != nil {
		w.HTTPVersion = hook.HTTPVersion(*c.HTTPVersion)
	}
	if c.RetrySchedule != nil {
		w.RetrySchedule = []time.Duration{}
		for _, s := range *c.RetrySchedule {
			w.RetrySchedule = append(w.RetrySchedule, asDuration(s))
		}
	}
	if c.Filter.Given {
		w.Filter = ""
		set(&w.Filter, c.Filter.Value)
	}
	if w.Scheme == hook.SchemePythonDict && w.Format == hook.DataObject {
		return hook.Invalid("signature_scheme", "scheme_needs_string", "python-dict signs a body whose data is a string: it needs data_format string")
	}
	if err := c.applyHeaders(w); err != nil {
		return err
	}
	if i := slices.IndexFunc(w.Headers, func(h hook.Header) bool { return ofMessageSignature(h.Name) }); w.HTTPSignature && i >= 0 {
		return hook.Invalid("headers."+w.Headers[i].Name, "reserved_header", "is a header of http_signature")
	}
	return nil
}

// ofMessageSignature names the headers that http_signature needs, and only it.
func ofMessageSignature(name string) bool {
	return strings.EqualFold(name, wire.HeaderSignatureInput) || strings.EqualFold(name, wire.HeaderMessageSignature)
}

// applyHeaders replaces the headers; a masked value stands for the one that is there.
func (c *checked) applyHeaders(w *hook.Webhook) error {
	if c.Headers == nil {
		return nil
	}
	headers := slices.Clone(c.headers)
	for i, h := range headers {
		if h.Value != hidden {
			continue
		}
		kept := slices.IndexFunc(w.Headers, func(old hook.Header) bool { return strings.EqualFold(old.Name, h.Name) })
		if kept < 0 {
			return hook.Invalid("headers."+h.Name, "invalid_header_value", "%s keeps a value, and there is none", hidden)
		}
		headers[i].Value = w.Headers[kept].Value
	}
	if wrong := wire.ValidateHeaders(headers); wrong != nil {
		return hook.InvalidFields(wrong...)
	}
	w.Headers = headers
	return nil
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}
