package console

import (
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// attemptView is an attempt as a page shows it.
type attemptView struct {
	client.Attempt
	Open     bool // its request and answer are shown at once
	Headers  []headerLine
	Phases   []phase
	Signed   string // the text that was signed
	Document string // the event's document, taken out of the body
}

type headerLine struct{ Name, Value string }

// phase is one stretch of an attempt.
type phase struct {
	Name, Class string
	MS, From    float64 // From in percent of the whole
	Part        float64
}

func viewAttempt(a client.Attempt, open bool) attemptView {
	view := attemptView{Attempt: a, Open: open, Phases: phases(a.Timing), Document: document(a.Request.Body)}
	for _, name := range slices.Sorted(maps.Keys(a.Request.Headers)) {
		view.Headers = append(view.Headers, headerLine{name, a.Request.Headers[name]})
	}
	if at := a.Request.Headers[wire.HeaderTimestamp]; at != "" {
		view.Signed = at + "." + a.Request.Body
	}
	return view
}

// Tone is the colour of what came of it.
func (a attemptView) Tone() string {
	switch {
	case a.Outcome == hook.OutcomeDelivered:
		return "good"
	case a.Outcome == hook.OutcomeThrottled, a.Lost():
		return "warn"
	default:
		return "bad"
	}
}

// Lost says that a kept connection ended under it: nothing to worry about.
func (a attemptView) Lost() bool {
	return a.Reused && !a.Counted && a.Outcome == hook.OutcomeRetry && a.ErrorClass != nil && *a.ErrorClass == string(hook.ErrReset)
}

// Said is what came of it in a few words.
func (a attemptView) Said() string {
	switch {
	case a.Lost():
		return "The endpoint had closed the kept connection; sent again at once"
	case a.StatusCode != nil:
		return fmt.Sprintf("The endpoint answered %d", *a.StatusCode)
	case a.ErrorDetail != nil:
		return *a.ErrorDetail
	case a.ErrorClass != nil:
		return *a.ErrorClass
	}
	return string(a.Outcome)
}

// phases puts the timing one after the other. The first byte is counted from the attempt's start
// where a connection had to be made, so that what went before is taken off.
func phases(t client.Timing) []phase {
	value := func(p *float64) float64 {
		if p == nil {
			return 0
		}
		return *p
	}
	before := value(t.DNSMS) + value(t.ConnectMS) + value(t.TLSMS)
	wait := value(t.FirstByteMS)
	if wait >= before {
		wait -= before
	}
	all := []phase{
		{Name: "DNS", Class: "p-dns", MS: value(t.DNSMS)},
		{Name: "Connect", Class: "p-connect", MS: value(t.ConnectMS)},
		{Name: "TLS", Class: "p-tls", MS: value(t.TLSMS)},
		{Name: "Waiting", Class: "p-wait", MS: wait},
		{Name: "Reading", Class: "p-read", MS: max(0, t.TotalMS-before-wait)},
	}
	var shown []phase
	from := 0.0
	for _, p := range all {
		if p.MS <= 0 || t.TotalMS <= 0 {
			continue
		}
		p.From, p.Part = from, min(100*p.MS/t.TotalMS, 100-from)
		from += p.Part
		shown = append(shown, p)
	}
	return shown
}

// Bar draws the phases to scale.
func (a attemptView) Bar() template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="%s in all"><rect class="track" width="100" height="8"/>`, ms(a.Timing.TotalMS))
	for _, p := range a.Phases {
		fmt.Fprintf(&b, `<rect class="%s" x="%.2f" width="%.2f" height="8"/>`, p.Class, p.From, max(p.Part, 0.3))
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers and names of ours
}

// document takes the published document out of a body, in either data format.
func document(body string) string {
	var envelope struct {
		Data jsontext.Value `json:"data"`
	}
	if err := json.Unmarshal([]byte(body), &envelope, incoming); err != nil {
		return ""
	}
	if envelope.Data.Kind() != '"' {
		return string(envelope.Data)
	}
	var text string
	if err := json.Unmarshal(envelope.Data, &text, incoming); err != nil {
		return ""
	}
	return text
}
