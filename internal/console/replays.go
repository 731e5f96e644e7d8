package console

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// replayPage is the page on which a stretch of the past is sent again.
type replayPage struct {
	Webhooks []client.Webhook
	Webhook  *client.Webhook // nil until one is chosen
	Values   map[string]string
	Topics   []client.Topic
	Running  *client.Replay
	History  []client.Replay
	Since    *time.Time // since when the webhook has been failing; nil where it is not
	Last     *time.Time // its last failure
	Extent   *replayExtent
}

// replayExtent is what a replay would send, and about how long it would take.
type replayExtent struct {
	client.ReplayExtent
	Asked   map[string]string // what was counted, so that the same is sent
	Webhook string
	Takes   string
}

var replayFields = []string{"from", "to", "only", "rules", "event", "rate_per_second"}

func (c *Console) replayRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/replays", func(v *visit) error { return v.showReplays() })
	c.page(mux, "POST /console/replays/{id}/count", func(v *visit) error { return v.countReplay() })
	c.page(mux, "POST /console/replays/{id}", func(v *visit) error {
		in, err := v.replayBody()
		if err != nil {
			return err
		}
		v.once = v.form("once")
		if err := v.post(webhookPath(v.r.PathValue("id"), "replays"), in, nil); err != nil {
			return err
		}
		return v.redirect("/console/replays?webhook=" + url.QueryEscape(v.r.PathValue("id")))
	})
	c.page(mux, "GET /console/replays/{id}/{replay_id}", func(v *visit) error {
		var r client.Replay
		if err := v.get(webhookPath(v.r.PathValue("id"), "replays", v.r.PathValue("replay_id")), nil, &r); err != nil {
			return err
		}
		if r.Status != "running" {
			v.w.Header().Set("HX-Refresh", "true") // the page around it says something else now
		}
		return v.shownPart("replays", "replay-progress", &r)
	})
	c.page(mux, "POST /console/replays/{id}/{replay_id}/cancel", func(v *visit) error {
		id := v.r.PathValue("id")
		if err := v.delete(webhookPath(id, "replays", v.r.PathValue("replay_id"))); err != nil {
			return err
		}
		return v.redirect("/console/replays?webhook=" + url.QueryEscape(id))
	})
}

func (v *visit) showReplays() error {
	p := &replayPage{Values: map[string]string{}}
	for _, name := range replayFields {
		p.Values[name] = v.query(name)
	}
	var err error
	if p.Webhooks, err = v.allWebhooks(url.Values{}); err != nil {
		return err
	}
	id := v.query("webhook")
	if id == "" && len(p.Webhooks) > 0 {
		id = p.Webhooks[0].ID
	}
	if id != "" {
		if err := v.fillReplays(p, id); err != nil {
			return err
		}
	}
	return v.show("replays", page{Title: "Replay", Nav: "replay"}, p)
}

func (v *visit) fillReplays(p *replayPage, id string) error {
	p.Webhook = &client.Webhook{}
	if err := v.get(webhookPath(id), nil, p.Webhook); err != nil {
		return err
	}
	var list client.List[client.Replay]
	if err := v.get(webhookPath(id, "replays"), url.Values{"limit": {"20"}}, &list); err != nil {
		return err
	}
	for i := range list.Data {
		if list.Data[i].Status == "running" {
			p.Running = &list.Data[i]
		} else {
			p.History = append(p.History, list.Data[i])
		}
	}
	if h := p.Webhook.Health; h != nil {
		p.Since, p.Last = h.Since, h.LastFailureAt
	}
	var err error
	p.Topics, err = v.topics()
	return err
}

// replayBody reads the form as the API takes it.
func (v *visit) replayBody() (map[string]any, error) {
	in := map[string]any{"only": v.form("only")}
	from := v.form("since") // a button says it, before what stands in the field
	if from == "" && v.form("ago") == "" {
		from = v.form("from")
	}
	if ago, err := time.ParseDuration(cmp.Or(v.form("ago"), v.form("kept"))); err == nil && from == "" {
		from = v.c.opt.Now().Add(-ago).UTC().Format(time.RFC3339)
	}
	if from == "" {
		return nil, &client.Problem{Status: http.StatusUnprocessableEntity, Code: "required", Detail: "Say from when on."}
	}
	in["from"] = rfc3339(from)
	if to := v.form("to"); to != "" {
		in["to"] = rfc3339(to)
	}
	if rules := v.form("rules"); rules != "" {
		in["rules"] = rules
	}
	if event := v.form("event"); event != "" {
		in["event"] = event
	}
	if rate := v.form("rate_per_second"); rate != "" {
		if _, err := strconv.ParseFloat(rate, 64); err != nil {
			return nil, &client.Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_value", Detail: "The rate is a number."}
		}
		in["rate_per_second"] = jsontext.Value(rate)
	}
	return in, nil
}

// countReplay asks what a replay would send, before it is started.
func (v *visit) countReplay() error {
	in, err := v.replayBody()
	if err != nil {
		return err
	}
	in["dry_run"] = true
	id := v.r.PathValue("id")
	e := &replayExtent{Asked: map[string]string{}, Webhook: id}
	if err := v.post(webhookPath(id, "replays"), in, &e.ReplayExtent); err != nil {
		return err
	}
	for _, name := range replayFields {
		e.Asked[name] = v.form(name)
	}
	e.Asked["from"], _ = in["from"].(string)
	if rate, err := strconv.ParseFloat(v.form("rate_per_second"), 64); err == nil && rate > 0 {
		e.Takes = span(time.Duration(float64(e.Count) / rate * float64(time.Second)))
	}
	return v.shownPart("replays", "replay-extent", e)
}
