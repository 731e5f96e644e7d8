package httpapi

import (
	"net/http"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// advice says in plain words what usually causes a failed attempt and what to do about it; "" for
// one that delivered.
func advice(a *hook.Attempt) string {
	if a.Outcome == hook.OutcomeDelivered {
		return ""
	}
	if s := adviceByStatus[a.StatusCode]; s != "" {
		return s
	}
	if s := adviceByDetail(a); s != "" {
		return s
	}
	return adviceByClass[a.ErrorClass]
}

// reasons are those of deliveries, where the code with its underscores taken away is not a word.
var reasons = map[string]string{
	string(hook.ErrDNS): "no such name", string(hook.ErrConnect): "no connection", string(hook.ErrTLS): "TLS failed", string(hook.ErrTimeout): "time-out",
	string(hook.ErrReset): "connection reset", string(hook.ErrProtocol): "not HTTP", string(hook.ErrClientStatus): "answered 4xx",
	string(hook.ErrServerStatus): "answered 5xx", string(hook.ErrOtherStatus): "odd status", string(hook.ErrGone): "endpoint answered 410",
	string(hook.ErrOwnFault): "fault of ours", string(hook.ErrInternal): "fault of ours",
	"requested": "asked for", "released": "its turn has come", "resumed_now": "resumed without the backlog",
	"parked_full": "too many wait to be retried",
}

// InWords is a delivery's reason as people read it, in the middle of a sentence.
func InWords(reason string) string {
	if words, ok := reasons[reason]; ok {
		return words
	}
	return strings.ReplaceAll(reason, "_", " ")
}

// adviceByStatus is about statuses whose cause is nearly always the same.
var adviceByStatus = map[int]string{
	http.StatusBadRequest:            "The receiver calls the request malformed. Compare the body with what its code expects: data is a string by default, an object with data_format object.",
	http.StatusUnauthorized:          "The receiver wants credentials or rejects the signature. Check that it verifies with this webhook's own secret, over the raw body, and that any Authorization header it needs is among the webhook's headers.",
	http.StatusForbidden:             "The receiver refuses us. Usually a firewall, a bot filter or CSRF protection in front of it: let this path through.",
	http.StatusNotFound:              "There is nothing at this path. Check the endpoint's path, and that the receiver's route is deployed and takes POST.",
	http.StatusMethodNotAllowed:      "The path exists and does not take POST. Check the receiver's route.",
	http.StatusRequestEntityTooLarge: "The receiver takes smaller bodies only. Raise its limit (in nginx client_max_body_size) above 1 MiB.",
	http.StatusUnsupportedMediaType:  "The receiver does not take application/json at this path.",
	http.StatusUnprocessableEntity:   "The receiver understood the body and refused it: its validation knows why; its answer may say it.",
	http.StatusTooManyRequests:       "The receiver asks us to slow down, and we do. To send less from the start, set rate_limit_per_second.",
	http.StatusBadGateway:            "A proxy in front of the receiver cannot reach it. Check that the application runs.",
	http.StatusServiceUnavailable:    "The receiver is not ready for more. We wait and try again.",
	http.StatusGatewayTimeout:        "A proxy in front of the receiver waited for it in vain. Answer first and do the work afterwards.",
	http.StatusGone:                  "410 says that the receiver wants no more: the webhook is set INACTIVE. Set it ACTIVE again to go on.",
}

// adviceByDetail knows the commonest causes within a class.
func adviceByDetail(a *hook.Attempt) string {
	has := func(s string) bool { return strings.Contains(a.ErrorDetail, s) }
	switch {
	case a.ErrorClass == hook.ErrReset && a.Reused && !a.Counted:
		return "Nothing to do: the receiver closed the kept connection (its keep-alive time was over, or it was reloaded) while the request was on its way. It was sent again at once on a new one."
	case a.ErrorClass == hook.ErrTLS && has("another name"):
		return "The certificate is for another host name. Issue one for the name in the endpoint, or correct the endpoint."
	case a.ErrorClass == hook.ErrTLS && has("known authority"):
		return "The certificate cannot be verified: it is self-signed, or the server leaves out the intermediate certificate. Install the full chain."
	case a.ErrorClass == hook.ErrTLS && has("expired"):
		return "The certificate has expired or is not valid yet. Renew it."
	case a.ErrorClass == hook.ErrTLS && has("does not speak TLS"):
		return "What answers on this port does not speak TLS. Check the port, or whether the endpoint should be another one."
	case a.ErrorClass == hook.ErrConnect && has("refused"):
		return "Nothing listens on this port, or a firewall refuses it. Check that the receiver runs and is reachable from the internet."
	case a.ErrorClass == hook.ErrTimeout && has("resolving"):
		return "The name server did not answer in time. Check the DNS of the endpoint's domain."
	case a.ErrorClass == hook.ErrTimeout && has("connecting"):
		return "No connection came about: usually a firewall that drops our packets, or a host that is off."
	case a.ErrorClass == hook.ErrTimeout && has("TLS"):
		return "The TLS handshake did not finish in time: the receiver, or what stands in front of it, is overloaded."
	case a.ErrorClass == hook.ErrTimeout && has("does not read"):
		return "The receiver accepted the connection and did not read the request: its workers are all busy."
	case a.ErrorClass == hook.ErrTimeout && has("first byte"):
		return "The receiver took the request and did not answer in time. Answer 2xx first and do the work afterwards, or raise timeout_ms."
	}
	return ""
}

// adviceByClass has a sentence for every class, so that no failure goes without.
var adviceByClass = map[hook.ErrorClass]string{
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
