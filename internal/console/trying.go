package console

import (
	"net/http"
	"net/url"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// trying is the page on which a test is sent.
type trying struct {
	Topics []client.Topic // that the webhook is subscribed to come first
	Topic  string
	Sample string
}

func (c *Console) testRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/webhooks/{id}/test", func(v *visit) error {
		if !v.who.MayWrite {
			return errReadOnly
		}
		w, err := v.webhook("test")
		if err != nil {
			return err
		}
		t := trying{Topic: v.query("event")}
		if t.Topics, err = v.topics(); err != nil {
			return err
		}
		if t.Topic == "" {
			t.Topic = sampleTopic(w.Events).Name
		}
		for _, topic := range t.Topics {
			if topic.Topic == t.Topic {
				t.Sample = pretty([]byte(topic.Sample))
			}
		}
		w.D = t
		if v.htmx() {
			return v.shownPart("webhook-test", "sample", w)
		}
		return v.show("webhook-test", page{Title: "Test · " + w.Endpoint, Nav: "webhooks"}, w)
	})
	c.page(mux, "POST /console/webhooks/{id}/test", func(v *visit) error {
		in := map[string]any{}
		if topic := v.form("event"); topic != "" {
			in["event"] = topic
		}
		if data := v.form("data"); data != "" {
			in["data"] = jsontext.Value(data)
			if !jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true)) {
				return &client.Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_json", Detail: "The data is no JSON document."}
			}
		}
		var a client.Attempt
		if err := v.post(webhookPath(v.r.PathValue("id"), "test"), in, &a); err != nil {
			return err
		}
		view := viewAttempt(a, true)
		if v.htmx() {
			return v.shownPart("webhook-test", "test-result", view)
		}
		w, err := v.webhook("test")
		if err != nil {
			return err
		}
		w.D = view
		return v.show("webhook-tested", page{Title: "Test · " + w.Endpoint, Nav: "webhooks"}, w)
	})
}

// secretView is a webhook's secret, shown.
type secretView struct {
	client.Secret
	Webhook  client.Webhook
	Snippets []snippet
}

func (c *Console) secretRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/webhooks/{id}/secret", func(v *visit) error {
		w, err := v.webhook("secret")
		if err != nil {
			return err
		}
		w.D = secretView{Webhook: w.Webhook, Snippets: snippets(&w.Webhook, "")}
		return v.show("webhook-secret", page{Title: "Secret · " + w.Endpoint, Nav: "webhooks"}, w)
	})
	answer := func(v *visit, ask func(path string, s *client.Secret) error) error {
		w, err := v.webhook("secret")
		if err != nil {
			return err
		}
		s := secretView{Webhook: w.Webhook}
		if err := ask(webhookPath(w.ID, "secret"), &s.Secret); err != nil {
			return err
		}
		s.Snippets = snippets(&w.Webhook, s.SigningSecret)
		w.D = s
		if v.htmx() {
			return v.shownPart("webhook-secret", "secret", w)
		}
		return v.show("webhook-secret", page{Title: "Secret · " + w.Endpoint, Nav: "webhooks"}, w)
	}
	// A secret is shown on a POST: it is an act, which the audit log holds.
	c.page(mux, "POST /console/webhooks/{id}/secret/reveal", func(v *visit) error {
		return answer(v, func(path string, s *client.Secret) error { return v.get(path, url.Values{}, s) })
	})
	c.page(mux, "POST /console/webhooks/{id}/secret/rotate", func(v *visit) error {
		in := map[string]any{}
		if overlap := v.form("overlap_seconds"); overlap != "" {
			in["overlap_seconds"] = jsontext.Value(overlap)
			if !jsontext.Value(overlap).IsValid() {
				return &client.Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_value", Detail: "The overlap is a number of seconds."}
			}
		}
		if secret := v.form("signing_secret"); secret != "" {
			in["signing_secret"] = secret
		}
		return answer(v, func(path string, s *client.Secret) error { return v.post(path+"/rotate", in, s) })
	})
	c.page(mux, "POST /console/webhooks/{id}/secret/activate", func(v *visit) error {
		return answer(v, func(path string, s *client.Secret) error { return v.post(path+"/activate", nil, s) })
	})
	c.page(mux, "POST /console/webhooks/{id}/secret/keep", func(v *visit) error {
		return answer(v, func(path string, s *client.Secret) error {
			_, err := v.ask(http.MethodDelete, path+"/rotate", nil, s)
			return err
		})
	})
}
