package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// overview is the first page: what was delivered, what was not, and what needs somebody.
type overview struct {
	Window   string
	Stats    *client.Stats
	Figure   chartView
	All      client.WebhookSummary
	Some     int // how many webhooks are looked at one by one, where there are more
	Retrying int
	Backlog  int
	Exact    bool
	Failing  []webhookRow
	Care     []care
	MoreCare int // that are not shown
	Notices  []client.Notice
	Rows     map[string]webhookRow // by id
	Steps    steps
}

// steps are what is filled into the first three, which run as printed.
type steps struct {
	Base  string // address of this server
	Local bool   // it sends to receivers on its own machine
}

func (v *visit) steps() (s steps, err error) {
	s.Base = v.base()
	var p client.Preflight
	err = v.post("/v1/webhooks/preflight", map[string]any{"endpoint": "http://127.0.0.1:3000/"}, &p)
	if problem := problemOf(err); err != nil && problem.Status < http.StatusInternalServerError {
		return s, nil // it is not for readers, or was asked too often
	}
	s.Local = len(p.Refused) == 0
	return s, err
}

// care is something that needs attention.
type care struct {
	Tone, Endpoint, What, Detail string
	To                           string
	At                           *time.Time
	Repairs                      []repair
}

func (c *Console) overviewRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/{$}", func(v *visit) error {
		o, err := v.overview()
		if err != nil {
			return err
		}
		return v.show("overview", page{Title: "Overview", Nav: "overview"}, o)
	})
	c.page(mux, "GET /console/figures", func(v *visit) error {
		path := "/v1/stats"
		if id := v.query("webhook"); id != "" {
			path = webhookPath(id) + "/stats"
		}
		var s client.Stats
		if err := v.get(path, url.Values{"window": {v.window()}}, &s); err != nil {
			return err
		}
		return v.json(columns(&s))
	})
}

// columns are figures as a chart reads them.
func columns(s *client.Stats) map[string][]int64 {
	all := map[string][]int64{"at": {}, "delivered": {}, "retried": {}, "failed": {}}
	for _, b := range slots(s) {
		all["at"] = append(all["at"], b.At.Unix())
		all["delivered"] = append(all["delivered"], b.Delivered)
		all["retried"] = append(all["retried"], b.Retried)
		all["failed"] = append(all["failed"], b.Failed)
	}
	return all
}

// figures are those of the window that the address names; without one those of the last 24 hours,
// or of the last one where nothing happened before.
func (v *visit) figures(path string) (window string, s *client.Stats, err error) {
	window, s = v.window(), &client.Stats{}
	if err := v.get(path, url.Values{"window": {window}}, s); err != nil || v.query("window") != "" {
		return window, s, err
	}
	if len(s.Data) > 0 && s.To.Sub(s.Data[0].At) < time.Hour {
		window, s = "1h", &client.Stats{}
		err = v.get(path, url.Values{"window": {window}}, s)
	}
	return window, s, err
}

func (v *visit) window() string {
	w := v.query("window")
	if !slices.Contains([]string{"1h", "24h", "7d", "30d"}, w) {
		return "24h"
	}
	return w
}

// Limits of the overview: webhooks that it looks at one by one, those in trouble first, and matters of
// attention that it lists.
const (
	lookedAt  = 100
	shownCare = 8
)

func (v *visit) overview() (*overview, error) {
	o := &overview{Exact: true, Rows: map[string]webhookRow{}}
	var err error
	if o.Window, o.Stats, err = v.figures("/v1/stats"); err != nil {
		return nil, err
	}
	o.Figure = chartView{"/console/figures?window=" + o.Window, o.Stats}
	if err := v.get("/v1/webhooks/summary", nil, &o.All); err != nil {
		return nil, err
	}
	if o.All.Total == 0 {
		if o.Steps, err = v.steps(); err != nil {
			return nil, err
		}
	}
	rows, err := v.closely(&o.All)
	if err != nil {
		return nil, err
	}
	if len(rows) < o.All.Total {
		o.Some = len(rows)
	}
	for _, w := range rows {
		if w.Endpoint != "" { // else it was deleted a moment ago
			o.Rows[w.ID] = w
			o.add(w)
		}
	}
	if err := v.addExcluded(o, rows); err != nil {
		return nil, err
	}
	slices.SortStableFunc(o.Care, func(a, b care) int { return strings.Compare(a.Tone, b.Tone) }) // bad before warn
	o.MoreCare = max(0, len(o.Care)-shownCare)
	o.Care = o.Care[:min(len(o.Care), shownCare)]
	slices.SortStableFunc(o.Failing, func(a, b webhookRow) int { return cmp.Compare(b.Trouble(), a.Trouble()) })
	o.Failing = o.Failing[:min(len(o.Failing), 8)]
	var notices client.List[client.Notice]
	if err := v.get("/v1/notices", url.Values{"limit": {"8"}}, &notices); err != nil {
		return nil, err
	}
	o.Notices = notices.Data
	return o, nil
}

// closely looks at webhooks one by one: at those in trouble, then at the ones that were made last.
func (v *visit) closely(all *client.WebhookSummary) ([]webhookRow, error) {
	var latest client.WebhookList
	if err := v.get("/v1/webhooks", url.Values{"limit": {strconv.Itoa(lookedAt)}}, &latest); err != nil {
		return nil, err
	}
	list := make([]client.Webhook, 0, 2*lookedAt)
	for _, id := range all.Troubled {
		list = append(list, client.Webhook{ID: id})
	}
	for _, w := range latest.Data {
		if !slices.Contains(all.Troubled, w.ID) {
			list = append(list, w)
		}
	}
	return v.rows(list[:min(len(list), lookedAt)])
}

// giveUpAfter is how long a webhook may fail without a success (CONTRACT.md).
const giveUpAfter = 5 * 24 * time.Hour

// giveUp is when a webhook that has been failing since then is disabled, if nothing changes.
func giveUp(since *time.Time) time.Time { return since.Add(giveUpAfter) }

// add counts a webhook, and what it needs.
func (o *overview) add(w webhookRow) {
	if w.Health != nil {
		o.Retrying += w.Health.Parked
		o.Backlog += w.Health.Backlog.Count
		o.Exact = o.Exact && w.Health.Backlog.Exact
	}
	if w.Trouble() > 0 {
		o.Failing = append(o.Failing, w)
	}
	to := webhookPage(w.ID)
	switch {
	case w.Trouble() == 3:
		o.Care = append(o.Care, care{"bad", w.Endpoint, "", w.Why(), to, &w.UpdatedAt, w.Repairs()})
	case w.Trouble() == 2:
		c := care{"bad", w.Endpoint, "", w.Why(), to, w.Health.Since, w.Repairs()}
		if w.Health.Since != nil && ahead(giveUp(w.Health.Since)) != nil {
			c.Detail += " It is disabled " + ago(giveUp(w.Health.Since)) + " if nothing changes."
		}
		o.Care = append(o.Care, c)
	case w.Trouble() == 1:
		o.Care = append(o.Care, care{"warn", w.Endpoint, "", w.Why(), to, cmp.Or(w.Health.Since, w.Health.RefusesSince), w.Repairs()})
	case w.ThrottledUntil() != nil && time.Until(*w.ThrottledUntil()) > worthSaying:
		o.Care = append(o.Care, care{"warn", w.Endpoint, "", w.Why(), to, nil, w.Repairs()})
	}
	if r := w.SecretRotation; r != nil {
		c := care{"warn", w.Endpoint, "Its secret changes " + ago(r.EndsAt), "Requests are signed with the old one until then. Give the endpoint the new one before.", webhookPage(w.ID, "secret"), nil, []repair{{"See the new secret", webhookPage(w.ID, "secret"), nil}}}
		if r.Activated {
			c.Detail = "Requests are signed with the new one already; the old one ends then."
		}
		o.Care = append(o.Care, c)
	}
	if w.Health != nil && w.Health.ExpiresAt != nil && time.Until(*w.Health.ExpiresAt) < 7*24*time.Hour {
		o.Care = append(o.Care, care{"warn", w.Endpoint, "Will lose events", "The oldest undelivered event expires " + ago(*w.Health.ExpiresAt) + ".", to, nil, nil})
	}
}

// worthSaying is the shortest pause that an endpoint asked for which needs attention.
const worthSaying = time.Hour

// lookedInto is how many webhooks that got nothing are asked whether their own rule is why.
const lookedInto = 8

// addExcluded adds those webhooks that nothing reaches because of their own rule.
func (v *visit) addExcluded(o *overview, rows []webhookRow) error {
	looked := 0
	for i := range rows {
		w := &rows[i]
		if w.Endpoint == "" || w.Status != "ACTIVE" || w.Stats == nil || attempts(w.Stats.Total) > 0 || looked == lookedInto {
			continue
		}
		looked++
		r, err := v.rule(w)
		if err != nil {
			return err
		}
		if r != nil && r.Missed == 0 {
			o.Care = append(o.Care, care{"warn", w.Endpoint, "Gets nothing", *r.Sentence, webhookPage(w.ID), nil, []repair{{"Change the rule", webhookPage(w.ID, "settings") + "#what", nil}}})
		}
	}
	return nil
}
