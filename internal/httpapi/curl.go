package httpapi

import (
	"context"
	"slices"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// nextAttempt is what a request sent now would be: it stands behind the attempts there were.
func nextAttempt(w *hook.Webhook, d *store.DeliveryDetail) *hook.Attempt {
	next := hook.Attempt{Number: 1, Kind: hook.Manual, Format: w.Format, Changes: w.IncludeChanges, TimestampText: "<timestamp>"}
	if d.Sequence != nil {
		next.Sequence = *d.Sequence
	}
	if n := len(d.History); n > 0 {
		next.Number = max(d.History[n-1].Number, 1)
		next.TimestampText, next.StartedAt = d.History[n-1].TimestampText, d.History[n-1].StartedAt
	}
	return &next
}

// curl is the request as a command for a POSIX shell. Strangers' bytes stand in single quotes, in
// which a shell reads nothing but their end; --globoff keeps curl from reading the URL as a
// pattern, --path-as-is from resolving dots in its path, --data-raw from reading the body as a file's name. The values of custom headers are
// variables of the caller's shell. signature replaces the signatures; "" leaves them real.
func (s *sentRequest) curl(signature string) string {
	r := s.request()
	h, err := r.Header()
	if err != nil {
		return ""
	}
	if signature != "" {
		h.Set(wire.HeaderSignature, signature)
		if h[wire.HeaderStandardSignature] != nil {
			h.Set(wire.HeaderStandardSignature, signature)
		}
	}
	var b strings.Builder
	b.WriteString("curl --globoff --path-as-is --request POST ")
	b.WriteString(quote(s.webhook.Endpoint))
	for _, name := range headerOrder(h) {
		b.WriteString(" \\\n  --header ")
		if isCustom(s.webhook, name) {
			b.WriteString(quote(name+": ") + `"$` + variable(name) + `"`)
		} else {
			b.WriteString(quote(name + ": " + strings.Join(h[name], ", ")))
		}
	}
	b.WriteString(" \\\n  --data-raw ")
	b.WriteString(quote(string(r.Body)))
	return b.String()
}

// quote is POSIX quoting: everything between single quotes is itself.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func headerOrder(h map[string][]string) []string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func isCustom(w *hook.Webhook, name string) bool {
	return slices.ContainsFunc(w.Headers, func(h hook.Header) bool { return strings.EqualFold(h.Name, name) })
}

// variable is the name of the shell variable that holds a custom header's value.
func variable(header string) string {
	name := []byte("HEADER_" + strings.ToUpper(header))
	for i, c := range name {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			name[i] = '_'
		}
	}
	return string(name)
}

func (a *API) signedCurl(ctx context.Context, x *exchange, in *DeliveryPath) (*struct{ Body client.SignedCurl }, error) {
	w, d, err := a.delivery(ctx, x, in)
	if err != nil {
		return nil, err
	}
	// Reading the secret is what is written down.
	audit := x.audit("delivery.curl_signed", map[string]any{"event_id": in.EventID})
	if w.Secrets, err = a.opt.Store.Secrets(ctx, x.company.Key, in.ID, audit); err != nil {
		return nil, err
	}
	next := nextAttempt(w, d)
	next.StartedAt = a.now()
	next.TimestampText = wire.Timestamp(next.StartedAt)
	sent := sentRequest{webhook: w, event: d.Event, attempt: next, agent: a.opt.Version}
	out := &struct{ Body client.SignedCurl }{}
	out.Body.Curl = sent.curl("")
	for _, h := range w.Headers {
		out.Body.Variables = append(out.Body.Variables, variable(h.Name))
	}
	if out.Body.Curl == "" {
		return nil, hook.Refuse(hook.KindConflict, "cannot_sign", "this body cannot be signed by scheme %s", w.Scheme)
	}
	return out, nil
}
