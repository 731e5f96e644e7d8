package httpapi

import (
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// reasons are those of deliveries, where the code with its underscores taken away is not a word.
var reasons = map[string]string{
	string(hook.ErrDNS): "no such name", string(hook.ErrConnect): "no connection", string(hook.ErrTLS): "TLS failed", string(hook.ErrTimeout): "time-out",
	string(hook.ErrReset): "connection reset", string(hook.ErrProtocol): "not HTTP", string(hook.ErrClientStatus): "answered 4xx",
	string(hook.ErrServerStatus): "answered 5xx", string(hook.ErrOtherStatus): "odd status", string(hook.ErrGone): "endpoint answered 410",
	string(hook.ErrOwnFault): "fault of ours", string(hook.ErrInternal): "fault of ours",
	"requested": "asked for", "released": "its turn has come", "resumed_now": "resumed without the backlog",
	"expired":     "not delivered in time",
	"parked_full": "too many wait to be retried",
}

// InWords is a delivery's reason as people read it, in the middle of a sentence.
func InWords(reason string) string {
	if words, ok := reasons[reason]; ok {
		return words
	}
	return strings.ReplaceAll(reason, "_", " ")
}
