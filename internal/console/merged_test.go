package console_test

import (
	"fmt"
	"html"
	"regexp"
	"testing"
)

var (
	deliveryLink = regexp.MustCompile(`<tr id="row-(wh_[a-z0-9]+)-([A-Za-z0-9_:-]+)"`)
	olderLink    = regexp.MustCompile(`<a class="btn small" href="([^"]+)">Older</a>`)
)

// TestMergedDeliveries walks all pages of the deliveries of all webhooks: each is on one of them,
// also where a batch was accepted in one instant and while others come in.
func TestMergedDeliveries(t *testing.T) {
	w := newWorld(t)
	third := call(t, w.Server, "POST", "/v1/webhooks", map[string]any{"endpoint": w.receiver.URL + "/third", "events": []string{"customer.created"}})["id"].(string)
	var batch []map[string]any
	for n := range 70 {
		topic := []string{"customer.created", "customer.updated"}[n%2]
		batch = append(batch, map[string]any{"company_id": "c1", "id": fmt.Sprintf("m-%03d", n), "event": topic, "data": map[string]any{"id": fmt.Sprint(n)}})
	}
	call(t, w.Server, "POST", "/v1/events/batch", batch)
	want := map[string]int{w.good: 72, third: 35, w.bad: 1}
	w.settled(t, w.good, "m-069", "delivered")
	w.settled(t, third, "m-068", "delivered")
	p := signedIn(t, w.Server, w.Key)
	seen, pages := map[string]bool{}, 0
	for path := "/console/deliveries"; path != ""; pages++ {
		s := p.get(path).status(200)
		rows := deliveryLink.FindAllStringSubmatch(s.text, -1)
		if len(rows) == 0 || len(rows) > 50 {
			t.Errorf("page %d has %d rows", pages, len(rows))
		}
		for _, row := range rows {
			if seen[row[0]] {
				t.Errorf("page %d has %s again", pages, row[0])
			}
			seen[row[0]] = true
			want[row[1]]--
		}
		path = ""
		if next := olderLink.FindStringSubmatch(s.text); next != nil {
			path = html.UnescapeString(next[1])
		}
		w.publish(t, "customer.created", map[string]any{"id": fmt.Sprint("late", pages)})
	}
	if pages != 3 || want[w.good] != 0 || want[third] != 0 || want[w.bad] != 0 {
		t.Errorf("%d pages; left are %v", pages, want)
	}
	p.get("/console/deliveries?cursor=nonsense").status(200).has("late")
	p.get("/console/deliveries?status=retrying").status(200).has("/bad").hasNot(">Older<")
}
