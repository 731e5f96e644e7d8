// Package advice says in words why a webhook's deliveries fail or wait, and what to do about it.
//
// [Of] is about one attempt, [Sentence] about the webhook as a whole. What people read is made here and
// nowhere else, so that API, log, notices, console and command line say the same.
package advice

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Circumstances are what an attempt's failure is explained by.
type Circumstances struct {
	*hook.Attempt
	Endpoint    string
	OwnHeaders  []hook.Header // the webhook's
	HeaderBytes int           // of the request's headers, 0 where they are not known
}

// Of says in plain words what usually causes a failed attempt and what to do about it; "" for
// one that delivered, unless its answer is one that says nothing.
func Of(c Circumstances) string {
	if c.Outcome == hook.OutcomeDelivered {
		return onSuccess(c)
	}
	if s := byDetail(c); s != "" {
		return s
	}
	if s := byAnswer(c); s != "" {
		return s
	}
	if s := byStatus[c.StatusCode]; s != "" {
		return s
	}
	return byClass[c.ErrorClass]
}

// onSuccess doubts a test's answer that some servers give for every host that they do not serve.
func onSuccess(c Circumstances) string {
	if c.Kind != hook.Test || c.StatusCode != http.StatusOK || len(c.AnswerBody) > 0 || !hasHeader(c.AnswerHeader, "server", "caddy") {
		return ""
	}
	return "The answer is empty and comes from Caddy, which answers 200 so for every host that no site of its is configured for. Check that the event arrived."
}

// hasHeader reports that an answer's header lines hold a header with a value that begins so, whatever
// the case of letters.
func hasHeader(lines []byte, name, value string) bool {
	for line := range strings.Lines(strings.ToLower(string(lines))) {
		n, v, _ := strings.Cut(line, ":")
		if n == name && strings.HasPrefix(strings.TrimSpace(v), value) {
			return true
		}
	}
	return false
}

// byStatus is about statuses whose cause is nearly always the same.
var byStatus = map[int]string{
	http.StatusBadRequest:            "The receiver calls the request malformed. Compare the body with what its code expects: data is a string by default, an object with data_format object.",
	http.StatusUnauthorized:          "The receiver wants credentials or rejects the signature. Check that it verifies with this webhook's own secret, over the raw body, and that any Authorization header it needs is among the webhook's headers.",
	http.StatusForbidden:             "The receiver refuses us. Usually a firewall, a bot filter or CSRF protection in front of it: let this path through.",
	http.StatusNotFound:              "There is nothing at this path. Check the endpoint's path, and that the receiver's route is deployed and takes POST.",
	http.StatusMethodNotAllowed:      "The path exists and does not take POST. Check the receiver's route.",
	http.StatusRequestEntityTooLarge: "The receiver takes smaller bodies only. Raise its limit above 1 MiB: in nginx client_max_body_size, in Express and NestJS express.json({limit: \"2mb\"}) (100 kB by default), in actix the limit of its payload config (256 kB).",
	http.StatusUnsupportedMediaType:  "The receiver does not take application/json at this path.",
	http.StatusUnprocessableEntity:   "The receiver understood the body and refused it: its validation knows why; its answer may say it.",
	http.StatusTooManyRequests:       "The receiver asks us to slow down, and we do. To send less from the start, set rate_limit_per_second.",
	http.StatusBadGateway:            "A proxy in front of the receiver cannot reach it. Check that the application runs.",
	http.StatusServiceUnavailable:    "The receiver is not ready for more. We wait and try again.",
	http.StatusGatewayTimeout:        "A proxy in front of the receiver waited for it in vain. Answer first and do the work afterwards.",
	http.StatusGone:                  "410 says that the receiver wants no more: the webhook is set INACTIVE. Set it ACTIVE again to go on.",
}

// byAnswer knows what some answers mean beyond their status.
func byAnswer(c Circumstances) string {
	says := func(texts ...string) bool {
		for _, t := range texts {
			if strings.Contains(strings.ToLower(string(c.AnswerBody)), t) {
				return true
			}
		}
		return false
	}
	switch {
	case c.StatusCode == http.StatusBadRequest && says("plain http request was sent to https port", "speaking plain http to an ssl-enabled", "client sent an http request to an https server", "requires tls"):
		return "This port speaks TLS. The endpoint must begin with https://."
	case c.StatusCode == http.StatusBadRequest && says("bad request syntax", "post /", "bad request version"):
		return "The receiver answers before it reads the body: it could not read the request's first line or headers. Check its path, and what stands in front of it."
	case c.StatusCode == http.StatusBadRequest && unusual(c.Endpoint) != "":
		return "The receiver calls the request malformed. The endpoint has " + unusual(c.Endpoint) + " in its path or query, which many servers refuse; try it without. Else compare the body with what its code expects."
	case c.StatusCode == http.StatusRequestHeaderFieldsTooLarge && c.HeaderBytes > 0:
		return "The receiver takes smaller headers only; ours have some " + strconv.Itoa(c.HeaderBytes) + " bytes. Servers made with fasthttp take 4096 by default (ReadBufferSize). Raise that, or shorten the webhook's own headers."
	case (c.StatusCode == http.StatusUnauthorized || c.StatusCode == http.StatusForbidden) && underscored(c.OwnHeaders) != "":
		return "The receiver refuses us. The webhook's header " + underscored(c.OwnHeaders) + " has an underscore in its name: nginx and others drop such headers. Write it with a hyphen."
	case c.StatusCode == http.StatusForbidden && says("server name indication"):
		return "The receiver chooses its site by name, and with an address in the endpoint no name is sent in the TLS handshake. Use the name in the endpoint."
	case c.StatusCode == http.StatusGone && c.Outcome != hook.OutcomeGone && c.Kind == hook.Test:
		return "410 says that the receiver wants no more. A test changes nothing, but a delivery that is answered so sets the webhook INACTIVE."
	case c.StatusCode == http.StatusGone && c.Outcome != hook.OutcomeGone:
		return "410 says that the receiver wants no more. Within five minutes of a change it counts as an ordinary failure, because receivers may still be storing the webhook: we try again."
	}
	return ""
}

// unusual names the characters of an endpoint's path and query that servers disagree on.
func unusual(endpoint string) string {
	_, rest, _ := strings.Cut(endpoint, "://")
	var found []string
	for _, r := range rest[max(strings.IndexAny(rest, "/?"), 0):] {
		if text := string(r); strings.ContainsRune("\"<>[]^`{}|;", r) && !slices.Contains(found, text) {
			found = append(found, text)
		}
	}
	for escape := range strings.SplitSeq("%00 %0a %0d %22 %25 %2f %3c %3e %5b %5c %5d %5e %60 %7b %7c %7d", " ") {
		if strings.Contains(strings.ToLower(rest), escape) {
			found = append(found, escape)
		}
	}
	return strings.Join(found, " ")
}

func underscored(headers []hook.Header) string {
	for _, h := range headers {
		if strings.Contains(h.Name, "_") {
			return h.Name
		}
	}
	return ""
}

// byDetail knows the commonest causes within a class.
func byDetail(c Circumstances) string {
	has := func(s string) bool { return strings.Contains(c.ErrorDetail, s) }
	for _, known := range byWords {
		if known.class == c.ErrorClass && has(known.words) {
			return known.advice
		}
	}
	if c.ErrorClass == hook.ErrReset && c.Reused && !c.Counted {
		return "Nothing to do: the receiver closed the kept connection (its keep-alive time was over, or it was reloaded) while the request was on its way. It was sent again at once on a new one."
	}
	plain := strings.HasPrefix(c.Endpoint, "http://")
	if plain && c.StatusCode == 0 && (c.ErrorClass == hook.ErrReset || c.ErrorClass == hook.ErrProtocol && has("not HTTP")) {
		return byClass[c.ErrorClass] + " If this port speaks TLS, the endpoint must begin with https://."
	}
	return ""
}

// byWords is looked through in its order: the first whose words are in the detail counts.
var byWords = []struct {
	class         hook.ErrorClass
	words, advice string
}{
	{hook.ErrTLS, "client certificate", "The receiver wants to see a client certificate, and webhooks have none. Let this path through without one (in nginx ssl_verify_client off, in Apache SSLVerifyClient none), and verify the signature instead."},
	{hook.ErrTLS, "no subject alternative name", "The certificate has a common name only, which no client reads any more. Issue one with the host as a subject alternative name (SAN)."},
	{hook.ErrTLS, "another name", "The certificate is for another host name. Issue one for the name in the endpoint, or correct the endpoint."},
	{hook.ErrTLS, "SHA-1", "A certificate is signed with SHA-1, which nobody accepts any more. Issue it anew; every authority signs with SHA-256 by default."},
	{hook.ErrTLS, "self-signed", "The certificate is self-signed. Get one from a public authority; those of Let's Encrypt are free. If the receiver is the operator's own, they can add its certificate to the authorities that this server trusts."},
	{hook.ErrTLS, "is missing", "The server leaves out the intermediate certificate. Install the full chain (with certbot, fullchain.pem instead of cert.pem)."},
	{hook.ErrTLS, "known authority", "The certificate is of an authority that is not public, of a company say. Use a certificate of a public authority; if the receiver is the operator's own, they can add the authority to those that this server trusts."},
	{hook.ErrTLS, "intermediate certificate", "A certificate between the receiver's own and the authority is not valid now. Install the chain anew, as the authority offers it today."},
	{hook.ErrTLS, " expired on ", "The certificate has expired. Renew it, and check why that did not happen by itself."},
	{hook.ErrTLS, "not yet valid", "The certificate is not valid yet. Wait, or check the clock of the machine that issued it."},
	{hook.ErrTLS, "name constraints", "The authority may not sign for this name. Use a certificate of another authority."},
	{hook.ErrTLS, "extended key usage", "The certificate is not meant for servers. Issue one with the extended key usage serverAuth."},
	{hook.ErrTLS, "may not sign others", "A certificate of the chain signs others and is no authority (basic constraints). Issue the chain anew."},
	{hook.ErrTLS, "serial number", "The certificate breaks the rules for certificates. Issue it anew with a positive serial number."},
	{hook.ErrTLS, "too short", "The certificate's key is too short. Issue it anew with RSA of 2048 bits or more, or ECDSA."},
	{hook.ErrTLS, "cannot be read", "The certificate breaks the rules for certificates. Issue it anew."},
	{hook.ErrTLS, "no cipher suite", "There is no cipher suite that both sides have. Enable TLS 1.3, or for TLS 1.2 ECDHE with AES-GCM or ChaCha20; RSA key exchange, DHE and CBC with SHA-256 or SHA-384 alone are not enough. Some servers also answer so for names that they do not serve."},
	{hook.ErrTLS, "offers no TLS 1.2", "The receiver speaks only versions of TLS that are no longer safe. Enable TLS 1.2 or 1.3."},
	{hook.ErrTLS, "to an address no name is sent", "The receiver chooses its site by name, and with an address in the endpoint there is none. Use the name in the endpoint."},
	{hook.ErrTLS, "serves no site", "What answers does not serve the endpoint's host name. Check the name, and that the certificate for it is installed there."},
	{hook.ErrTLS, "no application protocol", "The receiver speaks another protocol on this port. It must offer HTTP/1.1 or HTTP/2 (ALPN http/1.1 or h2)."},
	{hook.ErrTLS, "HTTP without it", "This port speaks HTTP without TLS. Check the port: the one for https is usually 443."},
	{hook.ErrTLS, "does not speak TLS", "What answers on this port does not speak TLS. Check the port, or whether the endpoint should be another one."},
	{hook.ErrTLS, "without an answer to our first message", "The connection was ended at the first message of TLS, without a word. Some servers (Node's, the JDK's) do so with whatever does not suit them: check that TLS 1.2 or 1.3 is enabled with ECDHE and AES-GCM or ChaCha20, and that it serves the endpoint's host name. Old firewalls and load balancers do so with a ClientHello of two packets: try tls_compat."},
	{hook.ErrTimeout, "nothing came back", "The connection came about, and the first message of TLS was never answered. Old firewalls and load balancers swallow a ClientHello of two packets: try tls_compat. Else the receiver, or what stands in front of it, is overloaded or does not speak TLS there."},
	{hook.ErrDNS, "SERVFAIL", "The name servers of the domain fail. The spelling is not the cause: the delegation is broken, or DNSSEC is (an expired signature, a wrong DS record)."},
	{hook.ErrDNS, "REFUSED", "The name servers of the domain refuse to answer for it. Check that its zone is set up there (the delegation)."},
	{hook.ErrDNS, "do not answer", "The name servers of the domain do not answer. Check that they run, and the delegation."},
	{hook.ErrDNS, "has no address", "The host name exists and has no address. Add an A or AAAA record, or a CNAME."},
	{hook.ErrProtocol, "but TLS", "This port speaks TLS. The endpoint must begin with https://."},
	{hook.ErrProtocol, "headers are larger", "The answer's headers are larger than what is read of them. Usually cookies or a debugging tool's headers: send fewer with the answer."},
	{hook.ErrProtocol, "interim", "The receiver sends interim answers without end. An answer must end with a final status."},
	{hook.ErrConnect, "egress proxy refused", "Deliveries leave this server through a proxy of its operator, and the proxy does not let them go to this endpoint. Its operator can allow it there."},
	{hook.ErrConnect, "refused", "Nothing listens on this port, or a firewall refuses it. Check that the receiver runs and is reachable from the internet."},
	{hook.ErrTimeout, "resolving", "The name server did not answer in time. Check the DNS of the endpoint's domain."},
	{hook.ErrTimeout, "connecting", "No connection came about: usually a firewall that drops our packets, or a host that is off."},
	{hook.ErrTimeout, "TLS", "The TLS handshake did not finish in time: the receiver, or what stands in front of it, is overloaded."},
	{hook.ErrTimeout, "does not read", "The receiver accepted the connection and did not read the request: its workers are all busy."},
	{hook.ErrTimeout, "first byte", "The receiver took the request and did not answer in time. Answer 2xx first and do the work afterwards, or raise timeout_ms."},
}

// byClass has a sentence for every class, so that no failure goes without.
var byClass = map[hook.ErrorClass]string{
	hook.ErrDNS:          "The endpoint's host name does not resolve. Check its spelling and its DNS records.",
	hook.ErrAddress:      "The endpoint's name leads to an address that we do not connect to (private, reserved or denied). It must resolve to a public address.",
	hook.ErrConnect:      "No connection could be made. Check that the receiver runs and that its firewall lets us in.",
	hook.ErrTLS:          "The TLS handshake failed. The receiver must offer TLS 1.2 or newer with a certificate that browsers accept.",
	hook.ErrTimeout:      "The attempt took longer than timeout_ms. Answer 2xx first and do the work afterwards.",
	hook.ErrReset:        "The connection ended before an answer came: the receiver crashed, was restarted, or a proxy closed the connection.",
	hook.ErrProtocol:     "What came back is not HTTP. Check the port, and whether a proxy stands in between.",
	hook.ErrRedirect:     "The endpoint redirects, and redirects are never followed. Set the endpoint to where it points; often https:// or a trailing slash is missing.",
	hook.ErrClientStatus: "The receiver refused the request. Its answer may say why.",
	hook.ErrServerStatus: "The receiver failed. Its log knows why; we try again.",
	hook.ErrOtherStatus:  "The receiver answered with a status that says neither success nor failure. Answer 2xx when the event is taken.",
	hook.ErrThrottled:    "The receiver asks us to come later, and we do. No attempt is used up, unless it alone was answered so ten times.",
	hook.ErrGone:         "410 says that the receiver wants no more: the webhook is set INACTIVE. Set it ACTIVE again to go on.",
	hook.ErrOwnFault:     "This was our fault, not yours: the attempt does not count, and we try again.",
	hook.ErrUnrecordable: "What the receiver answered could not be stored; the outcome is.",
	hook.ErrInternal:     "This was our fault, not yours. The operator's log has the cause.",
}
