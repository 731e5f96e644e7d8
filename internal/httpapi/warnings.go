package httpapi

import (
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// warnings says what is accepted about a webhook and probably does not do what its owner meant. Twins
// are the webhooks that deliver the same topics to the same endpoint.
func warnings(w *hook.Webhook, twins []string) []hook.Warning {
	list := secretWarnings([]hook.Warning{}, w.Secrets.Current)
	for _, h := range w.Headers {
		if strings.Contains(h.Name, "_") {
			list = append(list, hook.Warning{
				Field: "headers." + h.Name, Code: "header_underscore",
				Detail: "many servers drop a header whose name has an underscore, without a word (nginx, gunicorn, waitress, werkzeug, daphne); call it " + strings.ReplaceAll(h.Name, "_", "-"),
			})
		}
	}
	if len(twins) > 0 {
		list = append(list, hook.Warning{
			Field: "endpoint", Code: "endpoint_shared",
			Detail: "events of the topics that they share arrive there twice: this endpoint is also that of " + strings.Join(twins, ", ") +
				". The event's id is the same both times: the key against duplicates is webhook and event",
		})
	}
	return list
}

// secretWarnings appends what is odd about a signing secret.
func secretWarnings(list []hook.Warning, secret string) []hook.Warning {
	if why := wire.WhyNoStandardKey(secret); why != "" {
		list = append(list, hook.Warning{
			Field: "signing_secret", Code: "no_standard_webhooks",
			Detail: "requests go without the webhook-* headers, so that no Standard Webhooks library verifies them: the secret " + why,
		})
	}
	return list
}

// standardWebhooks says whether requests carry the webhook-* headers now, and why not: while a secret
// is replaced one of the two is enough.
func standardWebhooks(atlas, other string) (carried bool, reason *string) {
	for _, secret := range []string{atlas, other} {
		if _, ok := wire.StandardKey(secret); ok {
			return true, nil
		}
	}
	return false, orNull("the signing secret " + wire.WhyNoStandardKey(atlas))
}
