package console

import (
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// Limits of the page of all webhooks' deliveries.
const (
	mergedWebhooks = 40
	mergedRows     = 50
)

// mergedPlace is where a page of the merged lists begins. The address holds it as a cursor.
type mergedPlace struct {
	before time.Time            // what was accepted from then on is newer than the first page; zero on that page itself
	lists  map[string]listPlace // by webhook; one that is not there is at its beginning
}

// listPlace is a place in the list of one webhook.
type listPlace struct {
	cursor string // of the API
	shown  int    // rows after the cursor that were on a page already
	done   bool   // nothing follows
}

// part is what the list of one webhook contributes to a page.
type part struct {
	webhook client.Webhook
	list    client.List[client.Delivery]
	used    int // rows that are on the page
}

// after is the place behind the rows that are on the page.
func (p *part) after() listPlace {
	switch next := p.list.NextCursor; {
	case p.used < len(p.list.Data):
		at := listPlace{shown: p.used}
		if p.list.Cursor != nil {
			at.cursor = *p.list.Cursor
		}
		return at
	case next == nil:
		return listPlace{done: true}
	default:
		return listPlace{cursor: *next}
	}
}

// latestDeliveries merges the deliveries of all webhooks, newest event first.
func (v *visit) latestDeliveries() (*deliveryList, error) {
	l := &deliveryList{Statuses: deliveryStatuses}
	var query url.Values
	var err error
	l.Filter, query = v.filter()
	l.Matching = query.Encode()
	if l.Webhooks, err = v.allWebhooks(url.Values{}); err != nil {
		return nil, err
	}
	merged := l.Webhooks[:min(len(l.Webhooks), mergedWebhooks)]
	if len(merged) < len(l.Webhooks) {
		l.Some = len(merged)
	}
	cursor := v.query("cursor")
	place := parseMerged(cursor)
	parts, err := v.parts(merged, query, place)
	if err != nil {
		return nil, err
	}
	l.Rows = mergeParts(parts)
	if place.before.IsZero() && len(l.Rows) > 0 {
		place.before = l.Rows[0].AcceptedAt.Add(time.Microsecond)
	}
	if next := place.after(parts); next != "" {
		l.Later, l.LaterText = v.with("cursor", next), "Older"
	}
	if cursor != "" {
		l.Earlier, l.EarlierText = v.with("cursor", ""), "Latest"
	} else if l.tailable() {
		l.Tail = "/console/stream"
	}
	l.Topics, err = v.topics()
	return l, err
}

// parts asks each webhook's list for what comes next.
func (v *visit) parts(webhooks []client.Webhook, query url.Values, place *mergedPlace) ([]*part, error) {
	query = maps.Clone(query)
	if query.Get("to") == "" && !place.before.IsZero() {
		query.Set("to", place.before.Format(time.RFC3339Nano))
	}
	parts := make([]*part, len(webhooks))
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for i, w := range webhooks {
		parts[i] = &part{webhook: w}
		at := place.lists[w.ID]
		if at.done {
			continue
		}
		group.Go(func() (err error) {
			if at, err = v.passShown(w.ID, query, at); err != nil || at.done {
				return err
			}
			q := maps.Clone(query)
			q.Set("limit", strconv.Itoa(mergedRows))
			parts[i].list, err = v.found(w.ID, q, at.cursor)
			return err
		})
	}
	return parts, group.Wait()
}

// passShown turns rows that were shown into a cursor behind them.
func (v *visit) passShown(id string, query url.Values, at listPlace) (listPlace, error) {
	if at.shown == 0 {
		return at, nil
	}
	q := maps.Clone(query)
	q.Set("limit", strconv.Itoa(at.shown))
	list, err := v.deliveries(id, paged(q, at.cursor))
	if err != nil || list.NextCursor == nil {
		return listPlace{done: true}, err
	}
	return listPlace{cursor: *list.NextCursor}, nil
}

// mergeParts puts the newest rows of all lists onto the page, and notes how many of each.
func mergeParts(parts []*part) []deliveryRow {
	type row struct {
		deliveryRow
		of *part
	}
	var all []row
	for _, p := range parts {
		for _, d := range p.list.Data {
			all = append(all, row{rowOf(d, &p.webhook), p})
		}
	}
	slices.SortStableFunc(all, func(a, b row) int { return b.AcceptedAt.Compare(a.AcceptedAt) })
	var rows []deliveryRow
	for _, r := range all[:min(len(all), mergedRows)] {
		r.of.used++
		rows = append(rows, r.deliveryRow)
	}
	return rows
}

// after is the cursor of the next page; "" where this one is the last.
func (m *mergedPlace) after(parts []*part) string {
	next, more := &mergedPlace{before: m.before, lists: map[string]listPlace{}}, false
	for _, p := range parts {
		at := p.after()
		next.lists[p.webhook.ID] = at
		more = more || !at.done
	}
	if !more {
		return ""
	}
	return next.String()
}

// String writes the place as a cursor: the instant, then the places of the lists.
func (m *mergedPlace) String() string {
	var b strings.Builder
	b.WriteString(strconv.FormatInt(m.before.UnixMicro(), 36))
	for _, id := range slices.Sorted(maps.Keys(m.lists)) {
		at := m.lists[id]
		if at == (listPlace{}) {
			continue
		}
		shown := strconv.Itoa(at.shown)
		if at.done {
			shown = "all"
		}
		b.WriteString(" " + id + " " + shown + " " + at.cursor)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(b.String()))
}

// parseMerged reads such a cursor. What is none is the first page: addresses are written by anybody,
// and what the lists' own cursors are worth the API says.
func parseMerged(cursor string) *mergedPlace {
	first := &mergedPlace{}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return first
	}
	fields := strings.Split(string(text), " ")
	micros, err := strconv.ParseInt(fields[0], 36, 64)
	if err != nil || len(fields)%3 != 1 {
		return first
	}
	m := &mergedPlace{before: time.UnixMicro(micros).UTC(), lists: map[string]listPlace{}}
	for f := range slices.Chunk(fields[1:], 3) {
		at := listPlace{cursor: f[2], done: f[1] == "all"}
		if !at.done {
			if at.shown, err = strconv.Atoi(f[1]); err != nil || at.shown < 0 || at.shown > mergedRows {
				return first
			}
		}
		m.lists[f[0]] = at
	}
	return m
}
