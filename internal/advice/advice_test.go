package advice

import (
	"net/http"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Each cause has words of its own; the control is what the advice of the class or status would be.
func TestAdvice(t *testing.T) {
	at := func(status int, body string, change ...func(*Circumstances)) Circumstances {
		c := Circumstances{
			Attempt:  &hook.Attempt{Outcome: hook.OutcomeRetry, StatusCode: status, ErrorClass: hook.ErrClientStatus, AnswerBody: []byte(body)},
			Endpoint: "https://example.com/hooks",
		}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	failed := func(class hook.ErrorClass, detail string) Circumstances {
		return Circumstances{Attempt: &hook.Attempt{Outcome: hook.OutcomeRetry, ErrorClass: class, ErrorDetail: detail}, Endpoint: "https://example.com/"}
	}
	tests := map[string]struct {
		c        Circumstances
		has, not string
	}{
		"plain request to nginx":  {at(400, "<title>400 The plain HTTP request was sent to HTTPS port</title>"), "begin with https://", "data_format"},
		"plain request to Apache": {at(400, "You're speaking plain HTTP to an SSL-enabled server port."), "begin with https://", "data_format"},
		"plain request to Go":     {at(400, "Client sent an HTTP request to an HTTPS server."), "begin with https://", "data_format"},
		"answers too early":       {at(400, `<p>Message: Bad request syntax ('POST /hook HTTP/1.1').</p>`), "before it reads the body", "data_format"},
		"odd characters":          {at(400, "", func(c *Circumstances) { c.Endpoint = "https://example.com/a|b?c=%5B1" }), "has | %5b in", ""},
		"an ordinary 400":         {at(400, "no"), "data_format object", "https://"},
		"headers too large":       {at(431, "", func(c *Circumstances) { c.HeaderBytes = 4711 }), "4711 bytes", ""},
		"body too large":          {at(413, ""), "express.json", ""},
		"an underscore":           {at(403, "", func(c *Circumstances) { c.OwnHeaders = []hook.Header{{Name: "X_Key"}} }), "X_Key", "firewall"},
		"no name sent to Apache":  {at(403, "Reason: The client software did not provide a hostname using Server Name Indication (SNI), which is required to access this server."), "Use the name", "firewall"},
		"hung up at once":         {failed(hook.ErrTLS, "TLS: the receiver ended the connection without an answer to our first message: closed by the receiver"), "serves the endpoint's host name", "Something"},
		"an ordinary 403":         {at(403, ""), "firewall", ""},
		"410 of a test":           {at(410, "", func(c *Circumstances) { c.Kind = hook.Test }), "A test changes nothing", "is set INACTIVE"},
		"410 of a new endpoint":   {at(410, ""), "five minutes", "is set INACTIVE"},
		"410":                     {at(410, "", func(c *Circumstances) { c.Outcome = hook.OutcomeGone }), "is set INACTIVE", ""},
		"client certificate": {at(400, "", func(c *Circumstances) {
			c.ErrorClass, c.ErrorDetail = hook.ErrTLS, "the receiver answered 400 Bad Request; it asked for a client certificate"
		}), "ssl_verify_client", "malformed"},
		"own authority":        {failed(hook.ErrTLS, "TLS 1.3: the certificate is signed by Acme CA, which is no known authority"), "not public", "full chain"},
		"missing intermediate": {failed(hook.ErrTLS, "TLS 1.3: the certificate is not signed by a known authority, and the intermediate certificate (R3) is missing"), "full chain", ""},
		"expired":              {failed(hook.ErrTLS, "TLS 1.3: the certificate expired on 27 November 2026, 2 days ago"), "has expired. Renew", "not valid yet"},
		"swallowed":            {failed(hook.ErrTimeout, "no answer within the deadline (TLS handshake: nothing came back)"), "tls_compat", ""},
		"slow handshake":       {failed(hook.ErrTimeout, "no answer within the deadline (TLS handshake)"), "overloaded", "tls_compat"},
		"SERVFAIL":             {failed(hook.ErrDNS, "the name a.example does not resolve: its name servers fail (SERVFAIL)"), "DNSSEC", "Check its spelling"},
		"no address":           {failed(hook.ErrDNS, "the name a.example has no address"), "A or AAAA", "spelling"},
		"no such name":         {failed(hook.ErrDNS, "the name a.example does not resolve: no such host"), "spelling", ""},
		"large answer":         {failed(hook.ErrProtocol, "the answer's headers are larger than 32 KiB"), "headers are larger", "not HTTP"},
		"TLS on an http port":  {failed(hook.ErrProtocol, "what came back is not HTTP but TLS: the endpoint must begin with https://"), "speaks TLS", ""},
	}
	for name, tt := range tests {
		got := Of(tt.c)
		if !strings.Contains(got, tt.has) || tt.not != "" && strings.Contains(got, tt.not) {
			t.Errorf("%s: %q, want %q in it and not %q", name, got, tt.has, tt.not)
		}
	}
	plain := failed(hook.ErrReset, "the connection ended before a full answer: closed by the receiver")
	if strings.Contains(Of(plain), "https://") {
		t.Error("control: https is advised to those who have it")
	}
	if plain.Endpoint = "http://example.com/"; !strings.Contains(Of(plain), "https://") {
		t.Error("http to a port that may speak TLS: https is not advised")
	}
}

// A test that Caddy answers for a host that it does not serve looks like a success.
func TestAdviceOnSuccess(t *testing.T) {
	c := Circumstances{Attempt: &hook.Attempt{
		Outcome: hook.OutcomeDelivered, Kind: hook.Test, StatusCode: http.StatusOK, AnswerHeader: []byte("Server: Caddy\r\nContent-Length: 0"),
	}}
	if got := Of(c); !strings.Contains(got, "Check that the event arrived") {
		t.Errorf("an empty answer of Caddy: %q", got)
	}
	for name, change := range map[string]func(*hook.Attempt){
		"a body":         func(a *hook.Attempt) { a.AnswerBody = []byte("ok") },
		"another status": func(a *hook.Attempt) { a.StatusCode = http.StatusNoContent },
		"another server": func(a *hook.Attempt) { a.AnswerHeader = []byte("Server: nginx") },
		"no test":        func(a *hook.Attempt) { a.Kind = hook.Live },
	} {
		other := *c.Attempt
		if change(&other); Of(Circumstances{Attempt: &other}) != "" {
			t.Errorf("control: %s is doubted", name)
		}
	}
}
