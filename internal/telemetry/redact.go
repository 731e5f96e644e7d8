package telemetry

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

const mask = "••••"

var (
	// A URL ends where Go's own error texts end it: at a blank or a quote.
	urls = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*)://(?:[^\s"'/?#@]*@)?([^\s"'/?#@]*)[^\s"']*`)
	// Our own secrets: signing secrets, operator, company and publish keys.
	secrets = regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+|aw[ocp]_[A-Za-z0-9]{8,}`)
)

// Redact returns a text in which every URL is cut to its scheme and host, and every signing secret
// and key of ours is masked. Paths and queries of endpoints carry tokens; so do user infos.
func Redact(s string) string {
	if strings.Contains(s, "://") {
		s = urls.ReplaceAllString(s, "$1://$2")
	}
	if strings.Contains(s, "whsec_") || strings.Contains(s, "awo_") || strings.Contains(s, "awc_") || strings.Contains(s, "awp_") {
		s = secrets.ReplaceAllString(s, mask)
	}
	return s
}

// redactAttr is Redact for everything that a record holds: its message, its texts, its errors. An
// attribute whose name says that it is a secret is masked whatever its value.
func redactAttr(_ []string, a slog.Attr) slog.Attr {
	switch a.Key {
	case "secret", "signing_secret", "key", "api_key", "operator_key", "operator_key_previous", "master_key", "password", "token", "authorization":
		return slog.String(a.Key, mask)
	}
	switch v := a.Value.Any().(type) {
	case string:
		// Most texts need nothing; those keep their attribute.
		if r := Redact(v); r != v {
			a.Value = slog.StringValue(r)
		}
	case error:
		a.Value = slog.StringValue(Redact(v.Error()))
	case *url.URL:
		a.Value = slog.StringValue(v.Scheme + "://" + v.Host)
	case http.Header:
		a.Value = slog.StringValue(mask)
	case fmt.Stringer:
		if a.Key != slog.TimeKey && a.Key != slog.LevelKey && a.Value.Kind() == slog.KindAny {
			a.Value = slog.StringValue(Redact(v.String()))
		}
	}
	return a
}
