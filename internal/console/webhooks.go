package console

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// webhookRow is one line of the list: a webhook, how it fares, what it did lately.
type webhookRow struct {
	client.Webhook
	Stats *client.Stats // of the last 24 hours; nil where they were not asked for
}

// Rate is which part of the attempts delivered.
func (w webhookRow) Rate() string {
	if w.Stats == nil {
		return "–"
	}
	return successRate(w.Stats.Total)
}

// HasMetadata reports whether its owner noted something.
func (w webhookRow) HasMetadata() bool { return len(w.Metadata) > 0 && string(w.Metadata) != "{}" }

// Trouble is how much a webhook needs somebody: 3 disabled, 2 down, 1 failing, 0 none.
func (w webhookRow) Trouble() int {
	switch {
	case w.Status == "INACTIVE" && w.StatusReason != nil:
		return 3
	case w.Health != nil && w.Health.State == "down":
		return 2
	case w.Health != nil && w.Health.State == "failing", w.Refuses():
		return 1
	}
	return 0
}

// Refuses reports that the endpoint answers and takes nothing, although no answer says that it is down.
func (w webhookRow) Refuses() bool { return w.Health != nil && w.Health.RefusesSince != nil }

// ThrottledUntil is until when the endpoint asked for nothing to be sent; nil when it does not.
func (w webhookRow) ThrottledUntil() *time.Time {
	if w.Status != "ACTIVE" || w.Health == nil {
		return nil
	}
	return ahead(w.Health.ThrottledUntil)
}

// State is the one word that says most about a webhook.
func (w webhookRow) State() string {
	switch {
	case w.Status == "ACTIVE" && w.Health != nil && w.Health.State != "healthy":
		return string(w.Health.State)
	case w.Refuses():
		return "refuses"
	case w.ThrottledUntil() != nil:
		return "throttled"
	}
	return string(w.Status)
}

// Why says in a sentence or two what is the matter and what to do about it; "" where nothing is.
func (w webhookRow) Why() string {
	if w.Health == nil || w.Trouble() == 0 && w.ThrottledUntil() == nil {
		return ""
	}
	return w.Health.Sentence
}

// repair is a step that mends a webhook, one click away: a page, or what is posted to one.
type repair struct {
	Text, To string
	Fields   map[string]string // that are posted; none for a page
}

// Repairs are what to do about its trouble, the likeliest first.
func (w webhookRow) Repairs() (list []repair) {
	if h := w.Health; w.Trouble() > 0 && h != nil && h.LastError != nil {
		list = append(list, mending(w.ID, h.LastError))
	}
	switch {
	case w.Trouble() == 3:
		list = append(list, repair{"Resume", webhookPage(w.ID, "status"), map[string]string{"status": "ACTIVE", "resume": "backlog"}})
	case w.Trouble() == 2:
		list = append(list, repair{"Probe now", webhookPage(w.ID, "probe"), map[string]string{"probe": "now"}})
	case w.ThrottledUntil() != nil:
		list = append(list, repair{"Try now", webhookPage(w.ID, "probe"), map[string]string{"probe": "now"}})
	}
	return list
}

// mending is where to look because of what a webhook's last failure was.
func mending(id string, e *client.LastError) repair {
	code := 0
	if e.StatusCode != nil {
		code = *e.StatusCode
	}
	switch {
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return repair{"Compare the secret", webhookPage(id, "secret"), nil}
	case slices.Contains([]string{"dns", "address", "redirect"}, e.Class), slices.Contains([]int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone}, code):
		return repair{"Change the endpoint", webhookPage(id, "settings"), nil}
	}
	return repair{"Test it when it is mended", webhookPage(id, "test"), nil}
}

// Limits of the list: a company has a few dozen webhooks as a rule.
const (
	listedWebhooks = 25
	soughtWebhooks = 1000
	askedAtOnce    = 6
)

// webhookList is the page.
type webhookList struct {
	Rows        []webhookRow
	Q, Status   string
	Event       string
	Any         bool // the company has webhooks at all
	Found       int  // webhooks that match
	Text        string
	Earlier     string
	Later       string
	EarlierText string
	LaterText   string
	Topics      []client.Topic
	Steps       steps
}

func (c *Console) webhookRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/webhooks", func(v *visit) error {
		l, err := v.webhookList()
		if err != nil {
			return err
		}
		if v.htmx() {
			return v.shownPart("webhooks", "webhook-rows", l)
		}
		return v.show("webhooks", page{Title: "Webhooks", Nav: "webhooks"}, l)
	})
	c.page(mux, "POST /console/webhooks/bulk", func(v *visit) error { return v.changeSeveral() })
	c.page(mux, "GET /console/palette", func(v *visit) error {
		all, err := v.allWebhooks(url.Values{})
		if err != nil {
			return err
		}
		type place struct {
			Text  string `json:"text"`
			Under string `json:"under"`
			Href  string `json:"href"`
		}
		places := make([]place, len(all))
		for i, w := range all {
			places[i] = place{w.Endpoint, strings.TrimSpace(w.Description + " " + strings.Join(w.Events, " ")), v.c.root + webhookPage(w.ID)}
		}
		return v.json(places)
	})
	c.page(mux, "GET /console/webhooks/{id}", func(v *visit) error { return v.showWebhook() })
	c.page(mux, "GET /console/webhooks/{id}/activity", func(v *visit) error { return v.showActivity() })
	c.page(mux, "POST /console/webhooks/{id}/status", func(v *visit) error {
		change := map[string]any{"status": v.form("status")}
		if resume := v.form("resume"); resume != "" {
			change["resume"] = resume
		}
		if err := v.post(webhookPath(v.r.PathValue("id")), change, nil); err != nil {
			return err
		}
		return v.redirect(webhookPage(v.r.PathValue("id")))
	})
	c.page(mux, "POST /console/webhooks/{id}/probe", func(v *visit) error {
		if err := v.post(webhookPath(v.r.PathValue("id"), "probe"), nil, nil); err != nil {
			return err
		}
		return v.redirect(webhookPage(v.r.PathValue("id")))
	})
	c.page(mux, "POST /console/webhooks/{id}/delete", func(v *visit) error {
		if err := v.delete(webhookPath(v.r.PathValue("id"))); err != nil {
			return err
		}
		return v.redirect("/console/webhooks")
	})
}

// json answers a script of ours.
func (v *visit) json(value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return err
	}
	v.w.Header().Set("Content-Type", "application/json")
	_, _ = v.w.Write(body) // who does not listen any more needs no answer
	return nil
}

// webhookPage is the address of a webhook's page, or of one below it.
func webhookPage(id string, below ...string) string {
	return pathOf("/console/webhooks", append([]string{id}, below...)...)
}

// allWebhooks reads the whole list, up to a bound.
func (v *visit) allWebhooks(query url.Values) (all []client.Webhook, err error) {
	query = maps.Clone(query)
	query.Set("limit", "250")
	for len(all) < soughtWebhooks {
		var some struct {
			Data  []client.Webhook `json:"data"`
			Total int              `json:"total"`
		}
		query.Set("cursor", strconv.Itoa(len(all)))
		if err := v.get("/v1/webhooks", query, &some); err != nil {
			return nil, err
		}
		all = append(all, some.Data...)
		if len(some.Data) == 0 || len(all) >= some.Total {
			break
		}
	}
	return all, nil
}

func (v *visit) webhookList() (*webhookList, error) {
	l := &webhookList{Q: v.query("q"), Status: v.query("status"), Event: v.query("event")}
	filter := url.Values{}
	for name, value := range map[string]string{"status": l.Status, "event": l.Event} {
		if value != "" {
			filter.Set(name, value)
		}
	}
	all, err := v.allWebhooks(filter)
	if err != nil {
		return nil, err
	}
	if l.Any = len(all) > 0 || l.Status != "" || l.Event != "" || l.Q != ""; !l.Any {
		if l.Steps, err = v.steps(); err != nil {
			return nil, err
		}
	}
	if words := strings.Fields(strings.ToLower(l.Q)); len(words) > 0 {
		all = slices.DeleteFunc(all, func(w client.Webhook) bool {
			text := strings.ToLower(w.Endpoint + " " + w.Description + " " + w.ID + " " + strings.Join(w.Events, " "))
			return slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
		})
	}
	from, _ := strconv.Atoi(v.query("from")) // what is no number is the beginning
	from = min(max(from, 0), len(all))
	to := min(from+listedWebhooks, len(all))
	l.Found = len(all)
	l.Text = count(from+1) + "–" + count(to) + " of " + count(len(all))
	if from > 0 {
		l.Earlier, l.EarlierText = v.with("from", strconv.Itoa(max(0, from-listedWebhooks))), "Back"
	}
	if to < len(all) {
		l.Later, l.LaterText = v.with("from", strconv.Itoa(to)), "More"
	}
	if l.Rows, err = v.rows(all[from:to]); err != nil {
		return nil, err
	}
	l.Topics, err = v.topics()
	return l, err
}

// base is the address under which people reach the server, for commands that are shown.
func (v *visit) base() string {
	if v.c.opt.PublicURL != "" {
		return v.c.opt.PublicURL
	}
	return "http://" + v.r.Host
}

// with is the page's own address with one parameter changed.
func (v *visit) with(name, value string) string {
	q := v.r.URL.Query()
	q.Set(name, value)
	if value == "" {
		q.Del(name)
	}
	return v.r.URL.Path + "?" + q.Encode()
}

// rows asks for each webhook how it fares and what it did in the last 24 hours.
func (v *visit) rows(list []client.Webhook) ([]webhookRow, error) {
	rows := make([]webhookRow, len(list))
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for i := range list {
		rows[i].Webhook = list[i]
		group.Go(func() error {
			err := v.look(&rows[i])
			if err != nil && problemOf(err).Status == http.StatusNotFound {
				return nil // deleted a moment ago
			}
			return err
		})
	}
	return rows, group.Wait()
}

// changeSeveral pauses or resumes what was selected.
func (v *visit) changeSeveral() error {
	status := map[string]string{"pause": "PAUSED", "resume": "ACTIVE"}[v.form("do")]
	if status == "" {
		return &client.Problem{Status: http.StatusBadRequest, Code: "unknown_action", Detail: "There is no such action."}
	}
	change := map[string]any{"status": status}
	if status == "ACTIVE" {
		change["resume"] = "backlog" // nothing is skipped that nobody asked to skip
	}
	for _, id := range v.forms("id") {
		if err := v.post(webhookPath(id), change, nil); err != nil {
			return err
		}
	}
	return v.redirect("/console/webhooks")
}

// webhookView is what all pages of a webhook show.
type webhookView struct {
	webhookRow
	Tab    string
	Window string
	Figure chartView
	Codes  []codeCount
	Cause  *failure           // of one that is in trouble; nil where nothing is known
	Rule   *client.RuleReport // where it is odd
	D      any                // the tab's own
}

// failure is the answer that speaks for a webhook's trouble.
type failure struct {
	attemptView
	Page string // of its delivery
}

// chartView is a chart and where its figures come from.
type chartView struct {
	Source string
	Stats  *client.Stats
}

// codeCount is how often a status code or a cause was the last of a delivery.
type codeCount struct {
	Code string
	Tone string
	N    int
	Part int // in percent of all
}

// webhook reads the webhook that a page is about.
func (v *visit) webhook(tab string) (*webhookView, error) {
	w := &webhookView{Tab: tab}
	w.ID = v.r.PathValue("id")
	return w, v.look(&w.webhookRow)
}

// look asks how a webhook fares and what it did in the last 24 hours.
func (v *visit) look(w *webhookRow) error {
	path := webhookPath(w.ID)
	if err := v.get(path, nil, &w.Webhook); err != nil {
		return err
	}
	w.Stats = &client.Stats{}
	return v.get(path+"/stats", url.Values{"window": {"24h"}}, w.Stats)
}

func (v *visit) showWebhook() error {
	w, err := v.webhook("overview")
	if err != nil {
		return err
	}
	var figures *client.Stats
	if w.Window, figures, err = v.figures(webhookPath(w.ID) + "/stats"); err != nil {
		return err
	}
	w.Figure = chartView{"/console/figures?webhook=" + url.QueryEscape(w.ID) + "&window=" + w.Window, figures}
	latest, err := v.deliveries(w.ID, url.Values{"limit": {"200"}})
	if err != nil {
		return err
	}
	w.Codes = countCodes(latest.Data)
	w.D = latest.Data[:min(len(latest.Data), 8)]
	if w.Trouble() > 0 {
		if w.Cause, err = v.cause(w.ID, latest.Data); err != nil {
			return err
		}
	}
	if w.Rule, err = v.rule(&w.webhookRow); err != nil {
		return err
	}
	return v.show("webhook", page{Title: w.Endpoint, Nav: "webhooks"}, w)
}

// cause is the attempt that failed last, among the latest deliveries.
func (v *visit) cause(id string, latest []client.Delivery) (*failure, error) {
	var last *client.Delivery
	for i := range latest {
		if d := &latest[i]; d.LastAttemptAt != nil && d.Status != "delivered" && (last == nil || d.LastAttemptAt.After(*last.LastAttemptAt)) {
			last = d
		}
	}
	if last == nil {
		return nil, nil //nolint:nilnil // nothing is known
	}
	var d client.DeliveryDetail
	if err := v.get(webhookPath(id, "deliveries", last.EventID), nil, &d); err != nil || len(d.Attempts) == 0 {
		return nil, err
	}
	return &failure{viewAttempt(d.Attempts[len(d.Attempts)-1], false), webhookPage(id, "deliveries", last.EventID)}, nil
}

// rule says what is odd about what a webhook's own rule made of the last 24 hours; nil where nothing is, or
// where it does not deliver.
func (v *visit) rule(w *webhookRow) (*client.RuleReport, error) {
	if w.Status != "ACTIVE" || w.Health == nil {
		return nil, nil //nolint:nilnil // nothing is odd
	}
	var r client.RuleReport
	err := v.get(webhookPath(w.ID, "rule"), nil, &r)
	if p, ok := errors.AsType[*client.Problem](err); ok && p.Status == http.StatusServiceUnavailable {
		return nil, nil //nolint:nilnil // the page says the rest
	}
	if err != nil {
		return nil, err
	}
	rare := r.OfTopics == 0 && (w.Health.LastSuccessAt != nil || w.Health.LastFailureAt != nil)
	if r.Sentence == nil || rare {
		return nil, nil //nolint:nilnil // nothing is odd
	}
	return &r, nil
}

// countCodes says how the latest deliveries ended, the commonest first.
func countCodes(list []client.Delivery) []codeCount {
	n := map[string]*codeCount{}
	total := 0
	for _, d := range list {
		if d.Attempts == 0 {
			continue
		}
		total++
		code, color := "no answer", "bad"
		if d.LastStatusCode != nil {
			code, color = strconv.Itoa(*d.LastStatusCode), statusTone(*d.LastStatusCode)
		}
		if n[code] == nil {
			n[code] = &codeCount{Code: code, Tone: color}
		}
		n[code].N++
	}
	codes := make([]codeCount, 0, len(n))
	for _, c := range n {
		c.Part = 100 * c.N / total
		codes = append(codes, *c)
	}
	slices.SortFunc(codes, func(a, b codeCount) int {
		if a.N != b.N {
			return b.N - a.N
		}
		return strings.Compare(a.Code, b.Code)
	})
	return codes
}

// showActivity is who changed what of a webhook. The audit log is by company: the latest thousand
// entries are looked through.
func (v *visit) showActivity() error {
	w, err := v.webhook("activity")
	if err != nil {
		return err
	}
	var found []client.AuditEntry
	cursor := ""
	for range 4 {
		var some client.List[client.AuditEntry]
		if err := v.get("/v1/audit-log", paged(url.Values{"limit": {"250"}}, cursor), &some); err != nil {
			return err
		}
		for _, e := range some.Data {
			if e.Object == w.ID {
				found = append(found, e)
			}
		}
		if some.NextCursor == nil {
			break
		}
		cursor = *some.NextCursor
	}
	w.D = found
	return v.show("webhook-activity", page{Title: "Activity · " + w.Endpoint, Nav: "webhooks"}, w)
}

// paged adds a cursor to a query, if there is one.
func paged(q url.Values, cursor string) url.Values {
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	return q
}

// topics is the catalogue.
func (v *visit) topics() ([]client.Topic, error) {
	var out struct {
		Data []client.Topic `json:"data"`
	}
	err := v.get("/v1/topics", nil, &out)
	return out.Data, err
}
