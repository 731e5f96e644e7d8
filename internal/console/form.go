package console

import (
	"cmp"
	"crypto/rand"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// webhookForm is the form of a new webhook and of one that is changed. Its values are texts as
// somebody typed them, so that a refused form comes back as it was.
type webhookForm struct {
	ID       string // "" for a new one
	Values   map[string]string
	Events   []string
	Wrong    map[string]string // what is wrong, by field
	Problem  *client.Problem   // what is wrong with none of them
	Refused  *client.Problem   // the answer that blames fields
	Advanced bool              // the advanced part is open
	Once     string            // makes a form that is sent twice one webhook
	Groups   []topicGroup
	Version  string // the version that is changed (ETag)
}

// topicGroup is a category of the catalogue with its wildcards.
type topicGroup struct {
	Category string
	Wildcard string // "" where none would match
	Prefix   string
	Topics   []client.Topic
}

// advancedFields are folded away until somebody needs them.
var advancedFields = []string{
	"headers", "ordering", "rate_limit_per_second", "timeout_ms", "retry_schedule_seconds", "signature_scheme", "data_format", "max_concurrency", "http_version", "tls_compat", "include_changes", "signature_ed25519", "http_signature", "signing_secret",
	"start_at", "metadata",
}

func (c *Console) formRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/webhooks/new", func(v *visit) error {
		if !v.who.MayWrite {
			return errReadOnly
		}
		f := &webhookForm{Values: map[string]string{"endpoint": v.query("endpoint"), "retry_schedule_seconds": ""}, Once: rand.Text()}
		if topic := v.query("topic"); topic != "" {
			f.Events = []string{topic}
		}
		return v.showForm(f)
	})
	c.page(mux, "POST /console/webhooks", func(v *visit) error { return v.create() })
	c.page(mux, "GET /console/webhooks/{id}/settings", func(v *visit) error { return v.settingsNow(nil) })
	c.page(mux, "POST /console/webhooks/{id}/settings", func(v *visit) error { return v.change() })
	c.page(mux, "POST /console/webhooks/check", func(v *visit) error { return v.check() })
	c.page(mux, "POST /console/webhooks/filter", func(v *visit) error { return v.previewFilter() })
}

func (v *visit) showForm(f *webhookForm) error {
	if err := v.fillForm(f); err != nil {
		return err
	}
	return v.show("webhook-new", page{Title: "New webhook", Nav: "webhooks"}, f)
}

func (v *visit) showSettings(w *client.Webhook, f *webhookForm) error {
	if err := v.fillForm(f); err != nil {
		return err
	}
	return v.show("webhook-settings", page{Title: "Settings · " + w.Endpoint, Nav: "webhooks"}, &webhookView{webhookRow: webhookRow{Webhook: *w}, Tab: "settings", D: f})
}

func (v *visit) fillForm(f *webhookForm) error {
	topics, err := v.topics()
	if err != nil {
		return err
	}
	f.Groups = groups(topics)
	for field := range f.Wrong {
		f.Advanced = f.Advanced || slices.Contains(advancedFields, field)
	}
	return nil
}

// groups sorts the catalogue by category. A wildcard stands for all topics that begin with what the
// names of its category have in common.
func groups(topics []client.Topic) (list []topicGroup) {
	for _, t := range topics {
		i := slices.IndexFunc(list, func(g topicGroup) bool { return g.Category == t.Category })
		if i < 0 {
			prefix, _, _ := strings.Cut(t.Topic, ".")
			list = append(list, topicGroup{Category: t.Category, Prefix: prefix + "."})
			i = len(list) - 1
		}
		list[i].Topics = append(list[i].Topics, t)
		if strings.HasPrefix(t.Topic, list[i].Prefix) {
			list[i].Wildcard = list[i].Prefix + "*"
		}
	}
	return list
}

// formOf is the form that shows a webhook's settings.
func formOf(w *client.Webhook) *webhookForm {
	f := &webhookForm{ID: w.ID, Events: w.Events, Values: map[string]string{
		"endpoint": w.Endpoint, "description": w.Description, "ordering": string(w.Ordering), "signature_scheme": string(w.SignatureScheme), "data_format": string(w.DataFormat),
		"timeout_ms": strconv.FormatInt(w.TimeoutMS, 10), "max_concurrency": strconv.Itoa(w.MaxConcurrency), "http_version": string(w.HTTPVersion),
		"tls_compat": strconv.FormatBool(w.TLSCompat), "include_changes": strconv.FormatBool(w.IncludeChanges), "signature_ed25519": strconv.FormatBool(w.SignatureEd25519), "http_signature": strconv.FormatBool(w.HTTPSignature),
	}}
	if w.Filter != nil {
		f.Values["filter"] = *w.Filter
	}
	if w.RateLimitPerSecond != nil {
		f.Values["rate_limit_per_second"] = strconv.FormatFloat(*w.RateLimitPerSecond, 'f', -1, 64)
	}
	var lines, steps []string
	for _, name := range slices.Sorted(maps.Keys(w.Headers)) {
		lines = append(lines, name+": "+w.Headers[name])
	}
	for _, s := range w.RetryScheduleSeconds {
		steps = append(steps, strings.ReplaceAll(seconds(s), " ", ""))
	}
	if len(w.Metadata) > 0 && string(w.Metadata) != "{}" {
		f.Values["metadata"] = pretty([]byte(w.Metadata))
	}
	f.Values["headers"], f.Values["retry_schedule_seconds"] = strings.Join(lines, "\n"), strings.Join(steps, ", ")
	return f
}

// formFields are the texts of the form.
var formFields = []string{
	"endpoint", "description", "filter", "headers", "ordering", "rate_limit_per_second", "timeout_ms", "max_concurrency",
	"retry_schedule_seconds", "signature_scheme", "data_format", "http_version", "tls_compat", "include_changes", "signature_ed25519", "http_signature", "signing_secret", "start_at", "metadata",
}

// readForm reads what was posted.
func (v *visit) readForm() *webhookForm {
	f := &webhookForm{Values: map[string]string{}, Wrong: map[string]string{}, Events: v.forms("events"), Once: rand.Text()}
	for _, name := range formFields {
		f.Values[name] = v.form(name)
	}
	return f
}

// settings turns the form into what the API takes. Fields that are empty are left out for a new
// webhook, and set back for one that is changed.
func (f *webhookForm) settings(change bool) map[string]any {
	in := map[string]any{"endpoint": f.Values["endpoint"], "events": f.Events}
	if len(f.Events) == 0 {
		f.Wrong["events"] = "Choose at least one topic."
	}
	text := func(name string) {
		if f.Values[name] != "" || change && name == "description" {
			in[name] = f.Values[name]
		}
	}
	for _, name := range []string{"description", "ordering", "signature_scheme", "data_format", "http_version"} {
		text(name)
	}
	for _, name := range []string{"tls_compat", "include_changes", "signature_ed25519", "http_signature"} {
		if value := f.Values[name]; value != "" {
			in[name] = value == "true"
		}
	}
	if !change {
		text("signing_secret")
		if at := f.Values["start_at"]; at != "" {
			in["start_at"] = rfc3339(at)
		}
	}
	for _, name := range []string{"rate_limit_per_second", "timeout_ms", "max_concurrency"} {
		f.number(in, name, change && name == "rate_limit_per_second")
	}
	if f.Values["filter"] != "" {
		in["filter"] = f.Values["filter"]
	} else if change {
		in["filter"] = nil
	}
	f.headers(in, change)
	f.schedule(in)
	f.metadata(in, change)
	return in
}

func (f *webhookForm) number(in map[string]any, name string, emptyIsNull bool) {
	text := f.Values[name]
	if text == "" {
		if emptyIsNull {
			in[name] = nil
		}
		return
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(text, ",", "."), 64)
	if err != nil {
		f.Wrong[name] = "Give a number."
		return
	}
	in[name] = jsontext.Value(strconv.FormatFloat(n, 'f', -1, 64))
}

func (f *webhookForm) headers(in map[string]any, change bool) {
	headers := map[string]string{}
	for line := range strings.Lines(f.Values["headers"]) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		switch name = strings.TrimSpace(name); {
		case name == "" && !ok:
		case !ok:
			f.Wrong["headers"] = "Write one header a line, as Name: value."
		case headers[name] != "":
			f.Wrong["headers"] = name + " stands there twice."
		default:
			headers[name] = strings.TrimSpace(value)
		}
	}
	if change || len(headers) > 0 {
		in["headers"] = headers
	}
}

// metadata is an object of whoever's notes they are; its own text is kept.
func (f *webhookForm) metadata(in map[string]any, change bool) {
	text := f.Values["metadata"]
	switch {
	case text == "" && change:
		in["metadata"] = jsontext.Value("{}")
	case text == "":
	case !jsontext.Value(text).IsValid() || jsontext.Value(text).Kind() != '{':
		f.Wrong["metadata"] = `Write a JSON object, as {"team": "blue"}.`
	default:
		in["metadata"] = jsontext.Value(text)
	}
}

// schedule reads delays as people write them: 5s, 5 min, 2h, or plain seconds.
func (f *webhookForm) schedule(in map[string]any) {
	text := strings.TrimSpace(f.Values["retry_schedule_seconds"])
	switch text {
	case "":
		return
	case "none":
		in["retry_schedule_seconds"] = []float64{}
		return
	}
	var steps []float64
	for part := range strings.SplitSeq(text, ",") {
		part = strings.NewReplacer(" ", "", "min", "m", "hours", "h", "hour", "h", "d", "*24h").Replace(strings.TrimSpace(part))
		if n, err := strconv.ParseFloat(strings.TrimSuffix(part, "s"), 64); err == nil {
			steps = append(steps, n)
			continue
		}
		days, isDays := strings.CutSuffix(part, "*24h")
		if n, err := strconv.ParseFloat(days, 64); isDays && err == nil {
			steps = append(steps, n*86400)
			continue
		}
		d, err := time.ParseDuration(part)
		if err != nil {
			f.Wrong["retry_schedule_seconds"] = "Write delays with commas between them, as 5s, 5min, 2h."
			return
		}
		steps = append(steps, d.Seconds())
	}
	in["retry_schedule_seconds"] = steps
}

// blame puts what the API refused beside its fields.
func (f *webhookForm) blame(p *client.Problem) {
	f.Refused = p
	for _, e := range p.Errors {
		name, _, _ := strings.Cut(strings.TrimPrefix(e.Field, "body."), "[")
		name, _, _ = strings.Cut(name, ".")
		if name == "event" {
			name = "events"
		}
		if _, known := f.Values[name]; !known && name != "events" {
			f.Problem = p
			continue
		}
		f.Wrong[name] = strings.TrimPrefix(f.Wrong[name]+"; "+sentence(e.Detail), "; ")
	}
	if len(p.Errors) == 0 {
		f.Problem = p
	}
}

// sentence makes a detail of the API one.
func sentence(s string) string {
	if s == "" {
		return s
	}
	first, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[n:]
}

// created is the page after a webhook was created: its secret, code that verifies, a test.
type created struct {
	webhookRow
	Snippets []snippet
}

func (v *visit) create() error {
	f := v.readForm()
	in := f.settings(false)
	if len(f.Wrong) == 0 {
		var w client.Webhook
		v.once = cmp.Or(v.form("once"), f.Once)
		err := v.post("/v1/webhooks", in, &w)
		if err == nil {
			page := page{Title: "Created · " + w.Endpoint, Nav: "webhooks"}
			return v.show("webhook-created", page, created{webhookRow{Webhook: w}, snippets(&w, w.SigningSecret)})
		}
		if err := v.refused(f, err); err != nil {
			return err
		}
	}
	v.w.WriteHeader(http.StatusUnprocessableEntity)
	return v.showForm(f)
}

// refused shows in the form what the API did not want; everything else is not the form's fault.
func (v *visit) refused(f *webhookForm, err error) error {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError || p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden {
		return err
	}
	f.blame(p)
	return nil
}

func (v *visit) change() error {
	f := v.readForm()
	id := v.r.PathValue("id")
	f.ID, f.Version = id, v.r.PostFormValue("version")
	in := f.settings(true)
	if len(f.Wrong) == 0 {
		v.ifMatch = f.Version
		var saved client.Webhook
		err := v.post(webhookPath(id), in, &saved)
		v.ifMatch = ""
		switch {
		case err == nil && len(saved.Warnings) == 0:
			return v.redirect(webhookPage(id))
		case err == nil:
			return v.settingsNow(saved.Warnings)
		}
		if err := v.refused(f, err); err != nil {
			return err
		}
	}
	var w client.Webhook
	if err := v.get(webhookPath(id), nil, &w); err != nil {
		return err
	}
	v.w.WriteHeader(http.StatusUnprocessableEntity)
	return v.showSettings(&w, f)
}

// settingsNow shows the settings as they are, and what was odd about those that were just saved.
func (v *visit) settingsNow(warnings []client.Warning) error {
	var w client.Webhook
	header, err := v.ask(http.MethodGet, webhookPath(v.r.PathValue("id")), nil, &w)
	if err != nil {
		return err
	}
	w.Warnings = warnings
	f := formOf(&w)
	f.Version = header.Get("ETag")
	return v.showSettings(&w, f)
}

// check is the live check of the endpoint while somebody types it.
func (v *visit) check() error {
	endpoint := v.form("endpoint")
	if endpoint == "" {
		return v.shownPart("webhook-new", "check", nil)
	}
	var p client.Preflight
	if err := v.post("/v1/webhooks/preflight", map[string]any{"endpoint": endpoint, "tls_compat": v.form("tls_compat") == "true"}, &p); err != nil {
		return err
	}
	return v.shownPart("webhook-new", "check", &p)
}

// filterPreview is what a filter makes of the latest events.
type filterPreview struct {
	client.FilterVerdict
	Matched int
}

func (v *visit) previewFilter() error {
	source := v.form("filter")
	if source == "" {
		return v.shownPart("webhook-new", "filter-preview", nil)
	}
	p := &filterPreview{}
	if err := v.try(p, &source, v.forms("events")); err != nil {
		return err
	}
	return v.shownPart("webhook-new", "filter-preview", p)
}

// try asks what a filter makes of the latest events, of some topics or of all.
func (v *visit) try(p *filterPreview, filter *string, events []string) error {
	in := map[string]any{"filter": "true"}
	if filter != nil {
		in["filter"] = *filter
	}
	if len(events) > 0 {
		in["events"] = events
	}
	*p = filterPreview{}
	if err := v.post("/v1/filters/preview", in, &p.FilterVerdict); err != nil {
		return err
	}
	for _, item := range p.Data {
		if item.Matched {
			p.Matched++
		}
	}
	return nil
}
