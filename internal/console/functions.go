package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
)

// functions are what templates may call.
var functions = template.FuncMap{
	"asset": assetAddress, "icon": icon, "ago": ago, "ahead": ahead, "exact": exact, "iso": iso, "deref": deref,
	"count": count, "ms": ms, "percent": percent, "bytes": byteSize, "seconds": seconds, "spark": sparkOf, "bars": bars,
	"json": func(text any) template.HTML { return highlight(readable(pretty(text))) }, "pretty": pretty, "splitEndpoint": splitEndpoint, "first": first, "rest": rest, "join": strings.Join, "begins": strings.HasPrefix, "list": list,
	"dict": dict, "lower": strings.ToLower, "tone": tone, "word": word, "waits": func(c client.Cause) string { return waits[c] }, "sentence": sentence, "statusTone": statusTone, "has": slices.Contains[[]string, string],
	"attempts": attempts, "escape": url.PathEscape, "category": categoryName, "shortid": shortID,
	"per": per, "details": details, "giveUp": giveUp, "rate": successRate, "kind": idKind, "field": fieldTime, "rfc3339": rfc3339, "vals": vals, "violated": violated, "documented": func(topic string) bool { _, ok := hook.LookupTopic(topic); return ok }, "schema": func(text any) string { return schema(textOf(text)) },
}

// when renders an instant: the relative text is the page's own until its script keeps it current.
func iso(t any) string {
	at := instant(t)
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

func exact(t any) string {
	at := instant(t)
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

func instant(t any) time.Time {
	switch t := t.(type) {
	case time.Time:
		return t
	case *time.Time:
		if t != nil {
			return *t
		}
	}
	return time.Time{}
}

// ago is how long something is past, or still ahead.
func ago(t any) string {
	at := instant(t)
	if at.IsZero() {
		return ""
	}
	d := time.Since(at)
	if d < 0 {
		return "in " + span(-d)
	}
	if d < 5*time.Second {
		return "just now"
	}
	return span(d) + " ago"
}

// ahead is an instant that is still to come, else nil: nothing is announced that is past.
func ahead(t any) *time.Time {
	if at := instant(t); at.After(time.Now()) {
		return &at
	}
	return nil
}

// per is what one point of a chart counts.
func per(s *client.Stats) string {
	switch {
	case s == nil || s.BucketSeconds <= 0:
		return ""
	case s.BucketSeconds == 60:
		return "per minute"
	case s.BucketSeconds == 3600:
		return "per hour"
	}
	return "per " + seconds(float64(s.BucketSeconds))
}

// fieldTime is an instant as a field for it takes it, in UTC; what is none is left out.
func fieldTime(v any) string {
	s, _ := v.(string) // nothing is in the map for what was not given
	at, err := time.Parse(time.RFC3339, rfc3339(s))
	if err != nil {
		return ""
	}
	return at.UTC().Format("2006-01-02T15:04:05")
}

// vals are fields that a button adds to a form, as htmx takes them.
func vals(fields map[string]string) (string, error) {
	text, err := json.Marshal(fields)
	return string(text), err
}

func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return strconv.Itoa(int(d.Minutes())) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " h"
	}
	return strconv.Itoa(int(d.Hours()/24)) + " d"
}

// seconds renders a length of the retry schedule: 5 s, 30 min, 2 h.
func seconds(s float64) string {
	switch {
	case s >= 3600 && math.Mod(s, 1800) == 0:
		return strconv.FormatFloat(s/3600, 'f', -1, 64) + " h"
	case s >= 60 && math.Mod(s, 60) == 0:
		return strconv.FormatFloat(s/60, 'f', -1, 64) + " min"
	}
	return strconv.FormatFloat(s, 'f', -1, 64) + " s"
}

// deref is what a pointer points to, or "".
func deref(v any) any {
	switch p := v.(type) {
	case *string:
		if p != nil {
			return *p
		}
	case *int:
		if p != nil {
			return *p
		}
	case *int64:
		if p != nil {
			return *p
		}
	case *float64:
		if p != nil {
			return *p
		}
	default:
		return v
	}
	return ""
}

// count renders a number with thin spaces between thousands.
func count(v any) string {
	var n int64
	switch v := v.(type) {
	case int:
		n = int64(v)
	case int64:
		n = v
	case *int64:
		if v == nil {
			return ""
		}
		n = *v
	}
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteString("\u202f")
		}
		b.WriteRune(c)
	}
	return b.String()
}

// ms renders milliseconds with three significant digits.
func ms(v any) string {
	var f float64
	switch v := v.(type) {
	case float64:
		f = v
	case int64:
		f = float64(v)
	case *float64:
		if v == nil {
			return "–"
		}
		f = *v
	}
	switch {
	case f >= 10_000:
		return strconv.FormatFloat(f/1000, 'f', 1, 64) + "\u202fs"
	case f >= 1000:
		return strconv.FormatFloat(f/1000, 'f', 2, 64) + "\u202fs"
	case f >= 100:
		return strconv.FormatFloat(f, 'f', 0, 64) + "\u202fms"
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64) + "\u202fms"
	}
	return strconv.FormatFloat(f, 'f', 2, 64) + "\u202fms"
}

func byteSize(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// percent is a rate that never rounds up to a perfect hundred.
func percent(part, whole int64) string {
	if whole == 0 {
		return "–"
	}
	p := math.Floor(1000*float64(part)/float64(whole)) / 10
	if p == math.Trunc(p) {
		return strconv.FormatFloat(p, 'f', 0, 64) + "\u202f%"
	}
	return strconv.FormatFloat(p, 'f', 1, 64) + "\u202f%"
}

// successRate is which part of the attempts delivered.
func successRate(f client.Figures) string { return percent(f.Delivered, attempts(f)) }

// attempts are all that were made.
func attempts(f client.Figures) int64 { return f.Delivered + f.Retried + f.Failed }

// splitEndpoint is a URL in two parts, of which the second is the less important one.
func splitEndpoint(endpoint string) []string {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" {
		return []string{endpoint, ""}
	}
	head, _, _ := strings.Cut(endpoint, "?")
	i := strings.Index(head, u.Host)
	if i < 0 {
		return []string{endpoint, ""}
	}
	return []string{endpoint[i : i+len(u.Host)], endpoint[i+len(u.Host):]}
}

// shortID is an id as a table shows it: its kind and its end, which is what differs.
func shortID(id string) string {
	kind, rest, ok := strings.Cut(id, "_")
	if !ok || len(rest) < 16 {
		return id
	}
	return kind + "_…" + rest[len(rest)-6:]
}

// idKind is what an id is of.
func idKind(id string) string {
	kind, _, _ := strings.Cut(id, "_")
	return kind
}

// details are the fields of a JSON object in their own order, as a list reads them.
func details(object any) (list []headerLine) {
	d := jsontext.NewDecoder(strings.NewReader(textOf(object)), incoming)
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return nil
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return list
		}
		line := headerLine{Name: name.String()}
		value, err := d.ReadValue()
		if err != nil {
			return list
		}
		if line.Value = string(value); value.Kind() == '"' {
			text, _ := jsontext.AppendUnquote(nil, value) // a text of the decoder's
			line.Value = string(text)
		}
		list = append(list, line)
	}
	return list
}

func first(n int, list []string) []string { return list[:min(n, len(list))] }

func rest(n int, list []string) []string { return list[min(n, len(list)):] }

func list(items ...any) []any { return items }

// dict makes the argument of a template that takes several.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict: %d arguments", len(pairs))
	}
	m := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict: %v is no name", pairs[i])
		}
		m[name] = pairs[i+1]
	}
	return m, nil
}

// tone is the colour of a state.
func tone(state any) string {
	switch fmt.Sprint(state) {
	case "ACTIVE", "healthy", "delivered", "done", "matched":
		return "good"
	case "retrying", "retry", "throttled", "failing", "refuses", "held", "PAUSED", "expiring":
		return "warn"
	case "failed", "gone", "down", "INACTIVE", "disabled", "expired", "unrecordable":
		return "bad"
	case "running", "pending", "recovered":
		return "info"
	}
	return "calm"
}

// waits are the things that deliveries wait for.
var waits = map[client.Cause]string{
	client.CausePending: "Waiting their turn", client.CauseThrottled: "Waiting as the endpoint asked", client.CauseDown: "Waiting for the endpoint",
	client.CauseOwnFault: "Waiting for this server", client.CausePaused: "Waiting to be set active", client.CauseParked: "Waiting for a retry",
	client.CauseHeld: "Held behind an earlier one",
}

// words are states as people read them.
var words = map[string]string{
	"ACTIVE": "active", "PAUSED": "paused", "INACTIVE": "inactive", "filter_failed": "filter said no", "created_after": "created later",
	"refuses": "refuses everything", "retry": "failed, to be retried", "undelivered": "what did not arrive",
}

// word is a state or a cause in the middle of a sentence.
func word(state any) string {
	s := fmt.Sprint(state)
	if w, ok := words[s]; ok {
		return w
	}
	return httpapi.InWords(s)
}

// statusTone is the colour of a status code.
func statusTone(code any) string {
	n, _ := deref(code).(int)
	switch {
	case n >= 200 && n < 300:
		return "good"
	case n == 429 || n == 503:
		return "warn"
	case n == 0:
		return "calm"
	}
	return "bad"
}

func categoryName(c string) string {
	if c == "" {
		return ""
	}
	return c[:1] + strings.ToLower(c[1:])
}

// pretty indents a JSON document and keeps its own text otherwise; what is none stays as it is.
func pretty(text any) string {
	var b bytes.Buffer
	s := textOf(text)
	if err := json.Indent(&b, []byte(s), "", "  "); err != nil {
		return s
	}
	return b.String()
}

func textOf(text any) string {
	switch t := text.(type) {
	case string:
		return t
	case []byte:
		return string(t)
	}
	return fmt.Sprintf("%s", text)
}

// violated says what is wrong at a place of a document, by the keyword of the schema that forbids it.
func violated(keyword string) string {
	words := map[string]string{
		"required": "is missing", "dependentRequired": "is missing beside what is there", "type": "is of another type", "enum": "is none of the values that there may be", "const": "is not the one value that there may be",
		"format": "is not written as its format says", "pattern": "does not match its pattern", "additionalProperties": "has no place there", "false": "has no place there",
		"minimum": "is too small", "exclusiveMinimum": "is too small", "maximum": "is too large", "exclusiveMaximum": "is too large", "minLength": "is too short", "maxLength": "is too long",
		"minItems": "has too few elements", "maxItems": "has too many elements", "uniqueItems": "has an element twice", "multipleOf": "is no multiple of what it must be",
		"steps": "was not checked: that would take too many steps", "number": "was not checked: the number is too long",
	}
	if text := words[keyword]; text != "" {
		return text
	}
	return "is against " + keyword
}
