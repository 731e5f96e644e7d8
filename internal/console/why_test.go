package console_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// expiredServer is a receiver whose certificate is over.
func expiredServer(t *testing.T) *httptest.Server {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-25 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// card is a part of a page that a heading names.
func card(t testing.TB, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, ">"+heading+"</h2>")
	if !ok {
		t.Fatalf("no card %q on %s", heading, plain(page))
	}
	text, _, _ := strings.Cut(rest, "</section>")
	return text
}

// TestWhyOnTheFirstScreen: whatever keeps events from a receiver is on the overview, on the list and on the
// webhook's page, in words, with the repair one click away.
func TestWhyOnTheFirstScreen(t *testing.T) {
	const sent = 12
	dir := t.TempDir()
	s := apptest.Start(t, dir)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/secret":
			http.Error(w, "bad signature", http.StatusUnauthorized)
		case "/refuses":
			http.Error(w, "no", http.StatusBadRequest)
		case "/deployed":
			http.NotFound(w, r)
		case "/days", "/gone":
			http.Error(w, "no such tenant", http.StatusInternalServerError)
		}
	}))
	t.Cleanup(receiver.Close)
	hook := func(endpoint string, more map[string]any) string {
		in := map[string]any{"endpoint": endpoint, "events": []string{"customer.*"}, "retry_schedule_seconds": []int{}}
		maps.Copy(in, more)
		return call(t, s, "POST", "/v1/webhooks", in)["id"].(string)
	}
	ids := map[string]string{
		"wrong secret": hook(receiver.URL+"/secret", nil), "refuses": hook(receiver.URL+"/refuses", nil), "expired": hook(expiredServer(t).URL, nil), "404": hook(receiver.URL+"/deployed", nil),
		"filter": hook(receiver.URL+"/filter", map[string]any{"filter": `data.status == "NEVER"`}), "topics": hook(receiver.URL+"/topics", map[string]any{"events": []string{"account.customer.linked"}}),
		"days": hook(receiver.URL+"/days", map[string]any{"retry_schedule_seconds": []int{3600}}), "gone": hook(receiver.URL+"/gone", map[string]any{"retry_schedule_seconds": []int{3600}}),
		"well": hook(receiver.URL+"/well", nil),
	}
	w := &world{Server: s}
	var events []string
	for n := range sent {
		events = append(events, w.publish(t, "customer.created", map[string]any{"id": fmt.Sprint(n), "status": "NEW"}))
	}
	for name, status := range map[string]string{"wrong secret": "failed", "refuses": "failed", "expired": "failed", "404": "failed", "days": "retrying", "gone": "retrying", "well": "delivered"} {
		for _, event := range events {
			w.settled(t, ids[name], event, status)
		}
	}
	for _, name := range []string{"wrong secret", "refuses", "expired", "404"} {
		eventually(t, func() error { // figures come a moment later
			if n := call(t, s, "GET", "/v1/webhooks/"+ids[name]+"/stats", nil)["total"].(map[string]any)["failed"]; n != float64(sent) {
				return fmt.Errorf("%s: %v failed", name, n)
			}
			return nil
		})
	}
	p := signedIn(t, s, s.Key)
	needs := p.causes(ids, map[string]cause{
		"wrong secret": {[]string{"rejects the signature"}, `href="/console/webhooks/ID/secret"`},
		"refuses":      {[]string{"Refuses everything since", "calls the request malformed"}, `href="/console/webhooks/ID/test"`},
		"expired":      {[]string{"certificate", "expired"}, `href="/console/webhooks/ID/test"`},
		"404":          {[]string{"nothing at this path"}, `href="/console/webhooks/ID/settings"`},
		"filter":       {[]string{"12 events of its topics in 24 h, all excluded by the filter"}, `href="/console/webhooks/ID/settings#what"`},
		"topics":       {[]string{"None of its topics among 12 events in 24 h"}, `href="/console/webhooks/ID/settings#what"`},
	})
	if entry := entryOf(needs, ids["well"]); entry != "" {
		t.Errorf("control: one that is well needs attention: %s", said(entry))
	}
	call(t, s, "PATCH", "/v1/webhooks/"+ids["filter"], map[string]any{"filter": nil})
	p.get("/console/webhooks/"+ids["filter"]).has("12 events that it wants now never matched in 24 h", "only=undelivered&amp;rules=current&amp;from=").hasNot("Nothing reaches it")

	s.Stop()
	db, err := sql.Open("sqlite", filepath.Join(dir, "atlas-webhooks.db"))
	if err != nil {
		t.Fatal(err)
	}
	for name, reason := range map[string]string{"days": "failing", "gone": "gone"} {
		if _, err := db.ExecContext(t.Context(), `UPDATE webhooks SET status = 'INACTIVE', status_reason = $1 WHERE id = $2`, reason, ids[name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s = apptest.Start(t, dir)
	p = signedIn(t, s, s.Key)
	p.causes(ids, map[string]cause{
		"days": {[]string{"five days without a success", "answered 500", "12 events wait"}, `<form method="post" action="/console/webhooks/ID/status"><input type="hidden" name="resume" value="backlog">`},
		"gone": {[]string{"INACTIVE", "12 events wait"}, `<form method="post" action="/console/webhooks/ID/status"><input type="hidden" name="resume" value="backlog">`},
	})
	p.get("/console/webhooks/"+ids["days"]).has("no such tenant", "The endpoint answered 500").hasNot("data-next", "Next probe", "if nothing changes")
	p.get("/console/webhooks/" + ids["days"] + "/deliveries").has("Retrying").hasNot(">next ")
	// The repair: one click sends all that waits.
	p.post("/console/webhooks/"+ids["days"]+"/status", map[string][]string{"status": {"ACTIVE"}, "resume": {"backlog"}}).status(200)
	if got := call(t, s, "GET", "/v1/webhooks/"+ids["days"], nil)["status"]; got != "ACTIVE" {
		t.Error(got)
	}
}

// cause is what is said of a webhook, and the form or page that mends it.
type cause struct {
	says   []string
	repair string
}

// causes looks for them on the overview, on the list and on the webhook's page. It returns what needs
// attention.
func (p *person) causes(ids map[string]string, cases map[string]cause) string {
	t := p.t
	t.Helper()
	overview, list := p.get("/console/").status(200).text, p.get("/console/webhooks").status(200).text
	needs := card(t, overview, "Needs attention")
	for name, want := range cases {
		page := p.get("/console/webhooks/" + ids[name]).status(200)
		entry := entryOf(needs, ids[name])
		for _, text := range want.says {
			for where, got := range map[string]string{"the overview": entry, "its page": page.text} {
				if !strings.Contains(got, text) {
					t.Errorf("%s: %s does not say %q: %s", name, where, text, said(got))
				}
			}
			if !strings.Contains(list, text) && name != "filter" && name != "topics" {
				t.Errorf("%s: the list does not say %q", name, text)
			}
		}
		repair := strings.ReplaceAll(want.repair, "ID", ids[name])
		for where, got := range map[string]string{"the overview": entry, "its page": page.text} {
			if !strings.Contains(got, repair) {
				t.Errorf("%s: %s has no %s", name, where, repair)
			}
		}
		if pill := regexp.MustCompile(`pill (?:good|info)"`).FindString(page.text); pill != "" && name != "filter" && name != "topics" {
			t.Errorf("%s: its page has a %s", name, pill)
		}
	}
	return needs
}

// entryOf is the entry of a list that is about a webhook.
func entryOf(list, id string) string {
	for entry := range strings.SplitSeq(list, "<li>") {
		if strings.Contains(entry, id) {
			return entry
		}
	}
	return ""
}

// TestTryNow: an endpoint that asked for a long pause is said to, until when, and one click tries it now.
func TestTryNow(t *testing.T) {
	w := &world{Server: apptest.Start(t)}
	var well atomic.Bool
	receiver := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, _ *http.Request) {
		if !well.Load() {
			out.Header().Set("Retry-After", "7200")
			out.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	t.Cleanup(receiver.Close)
	id := call(t, w.Server, "POST", "/v1/webhooks", map[string]any{"endpoint": receiver.URL, "events": []string{"*"}})["id"].(string)
	event := w.publish(t, "customer.created", map[string]any{"id": "1"})
	p := signedIn(t, w.Server, w.Key)
	probe := `action="/console/webhooks/` + id + `/probe"`
	eventually(t, func() error {
		if text := p.get("/console/webhooks/" + id).text; !strings.Contains(text, probe) || !strings.Contains(text, "Throttled by the endpoint until") {
			return fmt.Errorf("its page says %s", said(text))
		}
		return nil
	})
	if entry := entryOf(card(t, p.get("/console/").text, "Needs attention"), id); !strings.Contains(entry, "Throttled by the endpoint until") || !strings.Contains(entry, probe) {
		t.Errorf("the overview says %s", said(entry))
	}
	well.Store(true)
	p.post("/console/webhooks/"+id+"/probe", nil).status(200)
	w.settled(t, id, event, "delivered")
	p.get("/console/webhooks/" + id).hasNot(probe)
}
