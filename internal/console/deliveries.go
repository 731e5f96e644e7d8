package console

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// deliveryRow is a delivery and the webhook that it goes to.
type deliveryRow struct {
	client.Delivery
	WebhookID, Endpoint string
	Next                *time.Time // attempt, if one will be made by itself
}

func rowOf(d client.Delivery, w *client.Webhook) deliveryRow {
	return deliveryRow{d, w.ID, w.Endpoint, nextAttempt(w, d.NextAttemptAt)}
}

// nextAttempt is when a delivery is attempted next. A webhook that stands still attempts none, and one
// that is down is only probed.
func nextAttempt(w *client.Webhook, at *time.Time) *time.Time {
	if w.Status != "ACTIVE" || w.Health != nil && w.Health.State == client.Down {
		return nil
	}
	return ahead(at)
}

// deliveryList is the page of one webhook's deliveries, or of the latest ones of all.
type deliveryList struct {
	Webhook  *webhookView // nil for all
	Webhooks []client.Webhook
	Rows     []deliveryRow
	Filter   map[string]string // as in the address
	Topics   []client.Topic
	Statuses []string
	Matching string // the filters as a query, for export
	Tail     string // address of the live stream; "" where the filters do not go with it
	Retry    string // which deliveries "retry all matching" is about: failed or undelivered; "" where a replay cannot tell them
	Some     int    // how many webhooks are looked at, where there are more
	Earlier, EarlierText, Later, LaterText,
	Text string
}

var deliveryStatuses = []string{"pending", "retrying", "held", "delivered", "failed", "skipped"}

// deliveryFilters are the parameters of the API's list that the page takes, too.
var deliveryFilters = []string{"status", "event", "object_id", "status_code", "from", "to"}

func (c *Console) deliveryRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/deliveries", func(v *visit) error {
		if id := v.query("webhook"); id != "" {
			q := v.r.URL.Query()
			q.Del("webhook")
			return v.redirect(webhookPage(id, "deliveries") + "?" + q.Encode())
		}
		l, err := v.latestDeliveries()
		if err != nil {
			return err
		}
		if len(l.Rows) == 0 {
			if to, err := v.soughtEvent(""); err != nil || to != "" {
				return v.redirectUnless(err, to)
			}
		}
		if v.htmx() {
			return v.shownPart("deliveries", "delivery-rows", l)
		}
		return v.show("deliveries", page{Title: "Deliveries", Nav: "deliveries"}, l)
	})
	c.page(mux, "GET /console/webhooks/{id}/deliveries", func(v *visit) error {
		l, err := v.webhookDeliveries()
		if err != nil {
			return err
		}
		if len(l.Rows) == 0 {
			if to, err := v.soughtEvent(l.Webhook.ID); err != nil || to != "" {
				return v.redirectUnless(err, to)
			}
		}
		if v.htmx() {
			return v.shownPart("webhook-deliveries", "delivery-rows", l)
		}
		return v.show("webhook-deliveries", page{Title: "Deliveries · " + l.Webhook.Endpoint, Nav: "webhooks"}, l)
	})
	c.page(mux, "GET /console/webhooks/{id}/deliveries.csv", func(v *visit) error { return v.export("csv") })
	c.page(mux, "GET /console/webhooks/{id}/deliveries.ndjson", func(v *visit) error { return v.export("ndjson") })
	c.page(mux, "POST /console/webhooks/{id}/deliveries/retry", func(v *visit) error { return v.retrySeveral() })
	c.page(mux, "GET /console/webhooks/{id}/deliveries/{event_id}", func(v *visit) error { return v.showDelivery() })
	c.page(mux, "POST /console/webhooks/{id}/deliveries/{event_id}/retry", func(v *visit) error {
		id, event := v.r.PathValue("id"), v.r.PathValue("event_id")
		if err := v.post(webhookPath(id, "deliveries", event, "retry"), nil, nil); err != nil {
			return err
		}
		return v.redirect(webhookPage(id, "deliveries", event))
	})
	c.page(mux, "POST /console/webhooks/{id}/deliveries/{event_id}/curl", func(v *visit) error {
		var signed client.SignedCurl
		if err := v.post(webhookPath(v.r.PathValue("id"), "deliveries", v.r.PathValue("event_id"), "curl"), nil, &signed); err != nil {
			return err
		}
		return v.shownPart("delivery", "signed-curl", signed)
	})
	c.page(mux, "POST /console/webhooks/{id}/deliveries/{event_id}/explain", func(v *visit) error { return v.explainSignature() })
}

// filter reads the page's filters: those that are set, as the API takes them.
func (v *visit) filter() (shown map[string]string, query url.Values) {
	shown, query = map[string]string{}, url.Values{}
	for _, name := range deliveryFilters {
		value := v.query(name)
		shown[name] = value
		if value == "" {
			continue
		}
		if name == "from" || name == "to" {
			value = rfc3339(value)
		}
		query.Set(name, value)
	}
	return shown, query
}

// rfc3339 completes what a form without script sends: minutes or seconds, in UTC.
func rfc3339(s string) string {
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.Format(time.RFC3339)
		}
	}
	return s
}

// deliveries asks for a page of a webhook's deliveries.
func (v *visit) deliveries(id string, query url.Values) (list client.List[client.Delivery], err error) {
	err = v.get(webhookPath(id, "deliveries"), query, &list)
	return list, err
}

func (v *visit) webhookDeliveries() (*deliveryList, error) {
	w, err := v.webhook("deliveries")
	if err != nil {
		return nil, err
	}
	l := &deliveryList{Webhook: w, Statuses: deliveryStatuses}
	var query url.Values
	l.Filter, query = v.filter()
	l.Matching = query.Encode()
	cursor := v.query("cursor")
	list, err := v.found(w.ID, query, cursor)
	if err != nil {
		return nil, err
	}
	for _, d := range list.Data {
		l.Rows = append(l.Rows, rowOf(d, &w.Webhook))
	}
	if cursor != "" {
		l.Earlier, l.EarlierText = v.with("cursor", ""), "Latest"
	}
	if list.NextCursor != nil {
		l.Later, l.LaterText = v.with("cursor", *list.NextCursor), "Older"
	}
	if cursor == "" && l.tailable() {
		l.Tail = "/console/stream?webhook_id=" + url.QueryEscape(w.ID)
	}
	l.Retry = l.replayable()
	l.Topics, err = v.topics()
	return l, err
}

// furtherBack is how many pages in which nothing matches are passed over by themselves: the API looks
// at a bounded number of deliveries for each.
const furtherBack = 8

// found is the first page in which something matches.
func (v *visit) found(id string, query url.Values, cursor string) (list client.List[client.Delivery], err error) {
	for range furtherBack {
		if list, err = v.deliveries(id, paged(maps.Clone(query), cursor)); err != nil || len(list.Data) > 0 || list.NextCursor == nil {
			break
		}
		cursor = *list.NextCursor
	}
	return list, err
}

// replayable is what of the deliveries that match a replay can send again: it chooses by time, topic
// and status, and knows neither objects nor codes.
func (l *deliveryList) replayable() string {
	if l.Filter["object_id"] != "" || l.Filter["status_code"] != "" {
		return ""
	}
	return map[string]string{"": "undelivered", "skipped": "undelivered", "failed": "failed", "delivered": "all"}[l.Filter["status"]]
}

// tailable reports whether what comes in live can be told to match the filters.
func (l *deliveryList) tailable() bool {
	for _, name := range []string{"status", "status_code", "from", "to"} {
		if l.Filter[name] != "" {
			return false
		}
	}
	return true
}

// retrySeveral sends again what was selected. One that waits anyway is no error here.
func (v *visit) retrySeveral() error {
	id := v.r.PathValue("id")
	for _, event := range v.forms("event_id") {
		err := v.post(webhookPath(id, "deliveries", event, "retry"), nil, nil)
		if err != nil && problemOf(err).Code != "pending" {
			return err
		}
	}
	return v.redirect(webhookPage(id, "deliveries") + "?" + strings.TrimPrefix(v.form("back"), "?"))
}

// export passes the API's stream through.
func (v *visit) export(format string) error {
	_, query := v.filter()
	query.Set("webhook_id", v.r.PathValue("id"))
	query.Set("format", format)
	v.w.Header().Set("Content-Disposition", `attachment; filename="deliveries.`+format+`"`)
	return v.pass("/v1/deliveries/export?" + query.Encode())
}

// pass lets the API answer for itself: a stream that does not end soon.
func (v *visit) pass(target string) error {
	r, err := v.request(http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	if last := v.r.Header.Get("Last-Event-ID"); last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	v.written() // the API takes care of it by itself
	v.c.opt.API.ServeHTTP(v.w, r)
	return nil
}

func (c *Console) streamRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/stream", func(v *visit) error {
		q := url.Values{}
		if id := v.query("webhook_id"); id != "" {
			q.Set("webhook_id", id)
		}
		if last := v.query("after"); last != "" { // of a page that had to ask anew: EventSource can set no header
			v.r.Header.Set("Last-Event-ID", last)
		}
		return v.pass("/v1/stream?" + q.Encode())
	})
}

// deliveryView is the page of one delivery.
type deliveryView struct {
	webhookRow
	Delivery client.DeliveryDetail
	Next     *time.Time    // attempt, if one will be made by itself
	Attempts []attemptView // the latest first
	Data     string        // the event's document
	Result   *attemptView  // of a test
}

func (v *visit) showDelivery() error {
	w, err := v.webhook("deliveries")
	if err != nil {
		return err
	}
	d := &deliveryView{webhookRow: w.webhookRow}
	if err := v.get(webhookPath(w.ID, "deliveries", v.r.PathValue("event_id")), nil, &d.Delivery); err != nil {
		return err
	}
	d.Next = nextAttempt(&w.Webhook, d.Delivery.NextAttemptAt)
	for i, a := range d.Delivery.Attempts {
		d.Attempts = append(d.Attempts, viewAttempt(a, i == len(d.Delivery.Attempts)-1))
	}
	slices.Reverse(d.Attempts)
	return v.show("delivery", page{Title: d.Delivery.Event + " · " + w.Endpoint, Nav: "webhooks"}, d)
}

// explainSignature says how somebody's code came to what it computed.
func (v *visit) explainSignature() error {
	in := client.SignatureComputed{Computed: strings.TrimSpace(v.form("computed"))}
	in.Attempt, _ = strconv.Atoi(v.form("attempt")) // 0, the last one, where the form has no choice
	var out client.SignatureExplained
	if err := v.post(webhookPath(v.r.PathValue("id"), "deliveries", v.r.PathValue("event_id"), "explain"), in, &out); err != nil {
		return err
	}
	return v.shownPart("delivery", "explained", out)
}
