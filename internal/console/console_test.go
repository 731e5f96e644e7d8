package console_test

import (
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// pages are all pages of a world.
func (w *world) pages() []string {
	list := []string{
		"/console/", "/console/?window=7d", "/console/webhooks", "/console/webhooks/new", "/console/deliveries", "/console/events", "/console/events/" + w.event,
		"/console/topics", "/console/replays", "/console/replays?webhook=" + w.bad, "/console/keys", "/console/audit", "/console/companies", "/console/system",
	}
	for _, id := range []string{w.good, w.bad} {
		for _, tab := range []string{"", "/deliveries", "/deliveries/" + w.event, "/test", "/secret", "/settings", "/activity"} {
			list = append(list, "/console/webhooks/"+id+tab)
		}
	}
	return list
}

// inline finds what the policy would refuse: script or style in the page itself.
var inline = regexp.MustCompile(`(?i)<style|<script(?:[^>]*)>[^<]|\sstyle=|\son[a-z]+=|javascript:|ZgotmplZ|<no value>|%!`)

func TestPages(t *testing.T) {
	w := newWorld(t)
	p := signedIn(t, w.Server, w.Key)
	for _, path := range w.pages() {
		s := p.get(path).status(200).has("<h1", "</html>")
		if found := inline.FindString(s.text); found != "" {
			t.Errorf("%s has %q", path, found)
		}
		if csp := s.header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self';") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %s", path, csp)
		}
		if s.header.Get("X-Frame-Options") != "DENY" || s.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, s.header)
		}
	}
	p.get("/").status(200).has("Overview")
	p.get("/console/nothing").status(404).has("no_such_page")
	p.get("/console/webhooks/wh_nothing").status(404).has("not_found", "req_")
}

func TestPagesSayWhatHappened(t *testing.T) {
	w := newWorld(t)
	p := signedIn(t, w.Server, w.Key)
	p.get("/console/webhooks").has("/good", "The good one", "conversation.*", "Active")
	p.get("/console/webhooks?q=bad").has("/bad").hasNot("The good one")
	p.get("/console/webhooks?status=PAUSED").has("No webhook matches")
	p.get("/console/webhooks/"+w.bad+"/deliveries").has("conversation.status", "Retrying", "500")
	p.get("/console/webhooks/" + w.bad + "/deliveries?status=delivered").has("No delivery matches")
	p.get("/console/webhooks/"+w.bad+"/deliveries/"+w.event).has("The endpoint answered 500", "the database is away", "out of order", "Waiting", "&lt;signature&gt;", "curl --globoff")
	p.get("/console/deliveries").has("/good", "/bad")
	p.get("/console/events?event=customer.created").has("customer.created").hasNot("conversation.status</a>")
	p.get("/console/events/"+w.event).has("it wanted the event and got it", "CLOSED")
	other := w.publish(t, "conversation.status", map[string]any{"id": "9", "status": "OPEN"})
	p.get("/console/events/"+other).has("Filter said no", "data.status == ")
	p.get("/console/topics").has("customer_notes.deleted", "Sent when a conversation is opened")
	p.get("/console/system").has("retention_days", "go1.").hasNot(w.Key)
	p.get("/console/audit").has("webhook.created", "operator")
}

// TestEmptyPagesTeach: where nothing is there yet, a page says what to do, with the commands.
func TestEmptyPagesTeach(t *testing.T) {
	s := apptest.Start(t)
	p := signedIn(t, s, s.Key)
	steps := []string{"Three steps to your first webhook", "atlas-webhooks receiver", "curl -X POST http://localhost:", "X-Atlas-Company-Id: c1", "trigger conversation.status"}
	p.get("/console/").has(steps...)
	p.get("/console/webhooks").has(steps...)
	p.get("/console/webhooks?q=x").has("No webhook matches")
	p.get("/console/deliveries").has("shows up here by itself")
	p.get("/console/events").has("Nothing has happened yet", "trigger conversation.status --url http://localhost:")
	p.get("/console/events?event=customer").has("No event matches")
	p.get("/console/replays").has("There is no webhook yet")
	p.get("/console/keys").has("no key of its own yet", "No link was made lately", "/v1/companies/c1/console-links")
	p.get("/console/audit").has("Nothing was changed yet")
}

func TestSignIn(t *testing.T) {
	s := apptest.Start(t)
	p := visitor(t, s)
	if at := p.get("/console/events?event=customer").status(200).at; at != "/console/sign-in" {
		t.Error(at)
	}
	p.post("/console/sign-in", url.Values{"key": {"awc_nothing"}}).status(401).has("not known")
	key := call(t, s, "POST", "/v1/companies/c1/keys", map[string]any{"scope": "write"})
	to := p.post("/console/sign-in", url.Values{"key": {key["key"].(string)}, "next": {"/console/events?event=customer"}}).status(200)
	if to.at != "/console/events" {
		t.Error(to.at)
	}
	p.get("/console/companies").status(404)
	p.get("/console/system").status(404)
	call(t, s, "DELETE", "/v1/companies/c1/keys/"+key["id"].(string), nil)
	if at := p.get("/console/events").at; at != "/console/sign-in" {
		t.Error("a revoked key still opens", at)
	}
	again := signedIn(t, s, s.Key)
	again.post("/console/sign-out", nil)
	if at := again.get("/console/events").at; at != "/console/sign-in" {
		t.Error("signed out, and still in", at)
	}
}

func TestSignInGoesNowhereElse(t *testing.T) {
	s := apptest.Start(t)
	for _, next := range []string{"https://evil.example/", "//evil.example/console/", "/\\evil.example", "/console/../v1/webhooks\r\n", "javascript:alert(1)", "/v1/webhooks"} {
		p := visitor(t, s)
		p.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		if to := p.post("/console/sign-in", url.Values{"key": {s.Key}, "next": {next}}).status(303).header.Get("Location"); to != "/console/" {
			t.Errorf("%q leads to %q", next, to)
		}
	}
}

func TestLinks(t *testing.T) {
	s := apptest.Start(t)
	link := call(t, s, "POST", "/v1/companies/c1/console-links", map[string]any{"read_only": true})
	_, token, _ := strings.Cut(link["url"].(string), "#")
	p := visitor(t, s)
	for range 3 { // a scanner that looks at the page does not use the link up
		p.get("/console/enter").status(200).has("Opening the console").hasNot(token)
	}
	p.post("/console/enter", url.Values{"token": {token}}).status(200).has("Overview", "Read only")
	visitor(t, s).post("/console/enter", url.Values{"token": {token}}).status(403).has("link_not_valid")
	p.get("/console/companies").status(404)
	p.get("/console/keys").status(403).has("scope_not_allowed")
	call(t, s, "DELETE", "/v1/companies/c1/console-links/"+link["id"].(string), nil)
	if at := p.get("/console/").at; at != "/console/sign-in" {
		t.Error("a revoked link's session goes on", at)
	}
}

// An id of dots names nothing, and above all no other resource.
func TestIDsOfDots(t *testing.T) {
	w := newWorld(t)
	p := signedIn(t, w.Server, w.Key)
	p.get("/console/webhooks/" + w.good).status(200)
	for _, id := range []string{"%2e%2e", "%2E", "%2e%2E%2f%2e%2e", "none"} {
		for _, path := range []string{"/console/webhooks/" + id, "/console/webhooks/" + id + "/settings", "/console/events/" + id, "/console/webhooks/" + w.good + "/deliveries/" + id} {
			p.get(path).status(404)
		}
		p.post("/console/keys/"+id+"/revoke", url.Values{}).status(404)
	}
}

// Who signs out has ended the session, for whoever has a copy of the cookie, too.
func TestSignOutEndsTheSession(t *testing.T) {
	s := apptest.Start(t)
	link := call(t, s, "POST", "/v1/companies/c1/console-links", map[string]any{})
	_, token, _ := strings.Cut(link["url"].(string), "#")
	guest := visitor(t, s)
	guest.post("/console/enter", url.Values{"token": {token}}).status(200)
	for _, p := range []*person{signedIn(t, s, s.Key), guest} {
		here, _ := url.Parse(s.URL + "/console/")
		thief := visitor(t, s)
		thief.client.Jar.SetCookies(here, p.client.Jar.Cookies(here))
		if at := thief.get("/console/webhooks").status(200).at; at != "/console/webhooks" {
			t.Error("control: a copy of the cookie opens nothing", at)
		}
		p.post("/console/sign-out", nil).status(200)
		if at := thief.get("/console/webhooks").at; at != "/console/sign-in" {
			t.Error("a copy of the cookie opens", at)
		}
	}
}

// A link for another company asks before it takes the place of a session; one for the same does not.
func TestLinkForAnotherCompanyAsks(t *testing.T) {
	s := apptest.Start(t)
	token := func(company string) string {
		link := call(t, s, "POST", "/v1/companies/"+company+"/console-links", map[string]any{})
		_, token, _ := strings.Cut(link["url"].(string), "#")
		return token
	}
	p := visitor(t, s)
	p.post("/console/enter", url.Values{"token": {token("mine")}}).status(200).has("Overview", "mine")
	p.post("/console/enter", url.Values{"token": {token("mine")}}).status(200).has("Overview", "mine")
	other := token("theirs")
	p.post("/console/enter", url.Values{"token": {other}}).status(200).has("This link opens another company", "mine", "theirs")
	p.get("/console/").status(200).has("Overview", "mine")
	p.post("/console/enter", url.Values{"token": {other}, "replace": {"true"}}).status(200).has("Overview", "theirs")
	signedIn(t, s, s.Key).post("/console/enter", url.Values{"token": {token("mine")}}).status(200).has("This link opens another company", "as the operator")
}

// posts are all addresses to which something is posted.
func (w *world) posts() []string {
	list := []string{
		"/console/sign-in", "/console/enter", "/console/sign-out", "/console/company", "/console/webhooks", "/console/webhooks/bulk", "/console/webhooks/check",
		"/console/webhooks/filter", "/console/keys", "/console/keys/key_x/revoke", "/console/links", "/console/links/lnk_x/revoke",
		"/console/replays/" + w.good, "/console/replays/" + w.good + "/count", "/console/replays/" + w.good + "/rpl_x/cancel",
	}
	for _, below := range []string{
		"status", "probe", "delete", "settings", "test", "secret/reveal", "secret/rotate", "secret/activate", "secret/keep", "deliveries/retry",
		"deliveries/" + w.event + "/retry", "deliveries/" + w.event + "/curl", "deliveries/" + w.event + "/explain",
	} {
		list = append(list, "/console/webhooks/"+w.good+"/"+below)
	}
	return list
}

func TestCrossOriginPostsAreRefused(t *testing.T) {
	w := newWorld(t)
	p := signedIn(t, w.Server, w.Key)
	for _, path := range w.posts() {
		for _, header := range []http.Header{{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Origin": {"https://evil.example"}}, {"Origin": {"null"}}} {
			r := p.request(http.MethodPost, path, url.Values{"status": {"PAUSED"}, "key": {w.Key}})
			maps.Copy(r.Header, header)
			p.do(r).status(403)
		}
	}
	if got := call(t, w.Server, "GET", "/v1/webhooks/"+w.good, nil)["status"]; got != "ACTIVE" {
		t.Error(got)
	}
}

// writing finds what posts something.
var writing = regexp.MustCompile(`<form[^>]*method="post"[^>]*>|hx-(?:post|delete|put|patch)="[^"]*"|formaction`)

func TestReadOnly(t *testing.T) {
	w := newWorld(t)
	p := signedIn(t, w.Server, call(t, w.Server, "POST", "/v1/companies/c1/keys", map[string]any{"scope": "read"})["key"].(string))
	secret := call(t, w.Server, "GET", "/v1/webhooks/"+w.good+"/secret", nil)["signing_secret"].(string)
	for _, path := range w.pages() {
		if slices.Contains([]string{"/console/companies", "/console/system"}, path) {
			continue
		}
		if slices.Contains([]string{"/console/keys", "/console/webhooks/new"}, path) || strings.HasSuffix(path, "/test") {
			p.get(path).status(403).has("scope_not_allowed")
			continue
		}
		s := p.get(path).status(200).hasNot(secret, "New webhook</a>", ">Send again<", ">Delete")
		for _, control := range writing.FindAllString(s.text, -1) {
			if !strings.Contains(control, "/console/sign-out") {
				t.Errorf("%s has %s", path, control)
			}
		}
	}
	reading := []string{"/console/sign-in", "/console/enter", "/console/sign-out", "/console/company", "/console/webhooks/filter"}
	forms := url.Values{
		"status": {"PAUSED"}, "do": {"pause"}, "id": {w.good}, "event_id": {w.event}, "endpoint": {w.receiver.URL}, "events": {"*"}, "scope": {"read"},
		"from": {"2026-01-01T00:00:00Z"}, "only": {"all"},
	}
	for _, path := range w.posts() {
		if !slices.Contains(reading, path) {
			if s := p.post(path, forms); s.code != 403 || !strings.Contains(s.text, "scope_not_allowed") {
				t.Errorf("%s: %d", path, s.code)
			}
		}
	}
}

// TestCompaniesAreApart: what belongs to another company looks like what is not there.
func TestCompaniesAreApart(t *testing.T) {
	w := newWorld(t)
	p := signedIn(t, w.Server, call(t, w.Server, "POST", "/v1/companies/c2/keys", map[string]any{"scope": "write"})["key"].(string))
	for _, path := range w.pages() {
		s := p.get(path).hasNot("127.0.0.1:"+strings.Split(w.receiver.URL, ":")[2], "The good one")
		if strings.Contains(path, w.good) || strings.Contains(path, w.event) {
			unknown := p.get(strings.NewReplacer(w.good, "wh_nothing", w.bad, "wh_nothing", w.event, "evt_nothing").Replace(path))
			if s.code != 404 || unknown.code != 404 {
				t.Errorf("%s: %d, an unknown one %d", path, s.code, unknown.code)
			}
		}
	}
}

func TestCreateAndChange(t *testing.T) {
	w := newWorld(t)
	p := signedIn(t, w.Server, w.Key)
	p.post("/console/webhooks", url.Values{"endpoint": {"ftp://nowhere"}, "events": {"*"}}).status(422).has(`value="ftp://nowhere"`, `aria-invalid="true"`, "Nothing was saved: one field needs", "request <code>req_")
	p.post("/console/webhooks", url.Values{"endpoint": {w.receiver.URL + "/new"}}).status(422).has("Choose at least one topic")
	form := url.Values{
		"endpoint": {w.receiver.URL + "/new"}, "events": {"customer.*", "conversation.tags"}, "description": {"New"}, "headers": {"Authorization: Bearer x\nX-Team: blue"},
		"retry_schedule_seconds": {"5s, 5 min, 2h"}, "rate_limit_per_second": {"2,5"}, "timeout_ms": {"3000"}, "ordering": {"object"}, "once": {"once-1"},
	}
	made := p.post("/console/webhooks", form).status(200).has("It is subscribed", "whsec_", "receiver.py", "hmac.compare_digest")
	again := p.post("/console/webhooks", form).status(200)
	id := regexp.MustCompile(`/console/webhooks/(wh_[a-z0-9]+)`).FindStringSubmatch(made.text)[1]
	if !strings.Contains(again.text, id) {
		t.Error("a form sent twice made two webhooks")
	}
	got := call(t, w.Server, "GET", "/v1/webhooks/"+id, nil)
	if got["timeout_ms"] != 3000.0 || got["rate_limit_per_second"] != 2.5 || len(got["headers"].(map[string]any)) != 2 || len(got["retry_schedule_seconds"].([]any)) != 3 {
		t.Error(got)
	}
	settings := p.get("/console/webhooks/"+id+"/settings").has("5s, 5min, 2h", "Authorization: ••••", `value="2.5"`)
	version := regexp.MustCompile(`name="version" value="([^"]*)"`).FindStringSubmatch(settings.text)[1]
	form.Set("headers", "X-Team: ••••")
	form.Set("rate_limit_per_second", "")
	form.Set("version", strings.ReplaceAll(version, "&#34;", `"`))
	p.post("/console/webhooks/"+id+"/settings", form).status(200)
	got = call(t, w.Server, "GET", "/v1/webhooks/"+id, nil)
	if got["rate_limit_per_second"] != nil || len(got["headers"].(map[string]any)) != 1 {
		t.Error(got)
	}
	p.post("/console/webhooks/"+id+"/settings", form).status(422).has("version_mismatch") // somebody else changed it meanwhile
	p.post("/console/webhooks/bulk", url.Values{"do": {"pause"}, "id": {id, w.good}}).status(200)
	if call(t, w.Server, "GET", "/v1/webhooks/"+w.good, nil)["status"] != "PAUSED" {
		t.Error("not paused")
	}
	p.post("/console/webhooks/"+w.good+"/status", url.Values{"status": {"ACTIVE"}, "resume": {"backlog"}}).status(200)
	p.get("/console/webhooks/"+id+"/activity").has("webhook.created", "webhook.updated")
	p.post("/console/webhooks/"+id+"/delete", nil).status(200)
	p.get("/console/webhooks/" + id).status(404)
}

func TestParts(t *testing.T) {
	w := newWorld(t)
	p := signedIn(t, w.Server, w.Key)
	good, bad := "/console/webhooks/"+w.good, "/console/webhooks/"+w.bad
	p.part("POST", "/console/webhooks/check", url.Values{"endpoint": {w.receiver.URL}}).status(200).has("The address is allowed", "A connection came about")
	p.part("POST", "/console/webhooks/check", url.Values{"endpoint": {"http://169.254.169.254/"}}).status(200).has(`class="bad"`)
	p.part("POST", "/console/webhooks/filter", url.Values{"filter": {`data.status == "CLOSED"`}}).has("1 of the latest 2 events match")
	p.part("POST", "/console/webhooks/filter", url.Values{"filter": {`data.status ==`}}).has("note bad")
	p.part("POST", good+"/test", url.Values{"event": {"customer.created"}, "data": {`{"id": 1}`}}).has("The endpoint answered 200"[:0], "Delivered", "received", "Test")
	p.part("POST", bad+"/test", nil).has("The endpoint answered 500", "the database is away")
	p.part("POST", good+"/test", url.Values{"data": {`{`}}).has("no JSON document")
	p.part("POST", good+"/secret/reveal", nil).has("whsec_", "os.environ"[:0])
	p.part("POST", good+"/secret/rotate", url.Values{"overlap_seconds": {"3600"}}).has("New secret", "Old secret", "Keep the old one")
	p.part("POST", good+"/secret/rotate", nil).has("rotation_in_progress")
	p.get("/console/").has("Its secret changes in 59 min").hasNot("whsec_")
	p.part("POST", good+"/secret/activate", nil).has("New secret")
	p.part("POST", good+"/secret/keep", nil)
	p.get("/console/").hasNot("Its secret changes")
	p.part("POST", bad+"/deliveries/"+w.event+"/curl", nil).has("--data-raw").hasNot("&lt;signature&gt;")
	explain := func(computed string) *seen {
		return p.part("POST", bad+"/deliveries/"+w.event+"/explain", url.Values{"computed": {computed}})
	}
	secret := call(t, w.Server, "GET", "/v1/webhooks/"+w.bad+"/secret", nil)["signing_secret"].(string)
	request := call(t, w.Server, "GET", "/v1/webhooks/"+w.bad+"/deliveries/"+w.event, nil)["attempts"].([]any)[0].(map[string]any)["request"].(map[string]any)
	mac := hmac.New(sha256.New, []byte(strings.TrimPrefix(secret, "whsec_")))
	io.WriteString(mac, request["headers"].(map[string]any)["X-Atlas-Webhook-Timestamp"].(string)+"."+request["body"].(string))
	explain(hex.EncodeToString(mac.Sum(nil))).has("without whsec_", "secret_prefix_stripped").hasNot(secret)
	explain(strings.Repeat("0", 64)).has("none of the known ways").hasNot("secret_prefix_stripped")
	p.part("POST", "/console/replays/"+w.good+"/count", url.Values{"ago": {"1h"}, "only": {"all"}}).has("2 deliveries", "again</button>")
	p.part("POST", "/console/replays/"+w.good+"/count", url.Values{"only": {"all"}}).has("Say from when on")
	p.post("/console/replays/"+w.good, url.Values{"ago": {"1h"}, "only": {"all"}}).status(200).has("Replay")
	eventually(t, func() error {
		if s := p.get("/console/replays?webhook=" + w.good); !strings.Contains(s.text, ">Done<") {
			return io.ErrUnexpectedEOF
		}
		return nil
	})
	p.post(bad+"/deliveries/"+w.event+"/retry", nil).status(200)
	p.post(bad+"/deliveries/retry", url.Values{"event_id": {w.event}}).status(200)
	p.post("/console/keys", url.Values{"name": {"Bot"}, "scope": {"read"}}).has("shown this once", "awc_")
	p.post("/console/links", url.Values{"ttl_seconds": {"60"}, "read_only": {"on"}}).has("/console/enter#awl_")
	if csv := p.get(good + "/deliveries.csv").status(200); !strings.HasPrefix(csv.text, "event_id,event,") || strings.Count(csv.text, "\n") != 3 {
		t.Error(csv.text)
	}
	lines := strings.Split(strings.TrimSpace(p.get(good+"/deliveries.ndjson?event=customer.created").status(200).text), "\n")
	if len(lines) != 1 || !strings.Contains(lines[0], `"event":"customer.created"`) {
		t.Error(lines)
	}
	p.get("/console/palette").has("/good")
	p.get("/console/figures?webhook=" + w.good + "&window=1h").has(`"delivered"`)
}

// TestFirstLoad: what a phone has to fetch before the first page is there, without charts.
func TestFirstLoad(t *testing.T) {
	w := newWorld(t)
	p := signedIn(t, w.Server, w.Key)
	page := p.get("/console/webhooks")
	total := len(page.text)
	t.Logf("the page itself: %d bytes, not compressed (it can hold secrets)", total)
	for _, m := range regexp.MustCompile(`(?:src|href)="(/console/assets/[^"]+)"`).FindAllStringSubmatch(page.text, -1) {
		r := p.request(http.MethodGet, m[1], nil)
		r.Header.Set("Accept-Encoding", "gzip")
		s := p.do(r).status(200)
		if s.header.Get("Content-Encoding") != "gzip" || !strings.Contains(s.header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %v", m[1], s.header)
		}
		if z, err := gzip.NewReader(bytes.NewReader([]byte(s.text))); err != nil {
			t.Error(err)
		} else if _, err := io.Copy(io.Discard, z); err != nil {
			t.Error(err)
		}
		t.Logf("%s: %d bytes", m[1], len(s.text))
		total += len(s.text)
	}
	t.Logf("first load: %d bytes", total)
	if total > 60<<10 {
		t.Errorf("%d bytes are more than 60 KiB", total)
	}
}

// codes are what programs read and people should not have to.
var codes = regexp.MustCompile(`\b(?:status_(?:4xx|5xx|other)|(?:address_refused|own_fault|internal_error|resumed_now|parked_full|topic_not_subscribed|filter_failed|created_after))\b`)

// TestReasonsInWords: whatever has become of a delivery, its pages say why in words.
func TestReasonsInWords(t *testing.T) {
	w := newWorld(t)
	odd := call(t, w.Server, "POST", "/v1/webhooks", map[string]any{"endpoint": w.receiver.URL + "/bad/odd", "events": []string{"*"}, "retry_schedule_seconds": []int{}})["id"].(string)
	failed := w.publish(t, "conversation.status", map[string]any{"id": "9", "status": "OPEN"})
	w.settled(t, odd, failed, "failed")
	p := signedIn(t, w.Server, w.Key)
	p.get("/console/events/" + w.event).has("it will be sent again (answered 5xx)")
	for _, page := range []string{
		"", "events/" + w.event, "events/" + failed, "deliveries", "webhooks", "webhooks/" + w.bad, "webhooks/" + w.bad + "/deliveries",
		"webhooks/" + w.bad + "/deliveries/" + w.event, "webhooks/" + odd + "/deliveries/" + failed,
	} {
		if code := codes.FindString(said(p.get("/console/" + page).status(200).text)); code != "" {
			t.Errorf("/console/%s shows %s", page, code)
		}
	}
	if codes.FindString(said("<td>it failed (status_4xx)</td>")) == "" {
		t.Error("control: a code is not noticed")
	}
}

// TestOverviewCountsAll: the figures of the overview are about every webhook, and one in trouble is shown
// however long ago it was made.
func TestOverviewCountsAll(t *testing.T) {
	w := newWorld(t)
	call(t, w.Server, "PATCH", "/v1/companies/c1", map[string]any{"max_webhooks": 200})
	doomed := call(t, w.Server, "POST", "/v1/webhooks", map[string]any{"endpoint": w.receiver.URL + "/bad/doomed", "events": []string{"customer"}, "retry_schedule_seconds": []int{}})["id"].(string)
	for range 12 { // failures in a row, and none is tried again
		w.settled(t, doomed, w.publish(t, "customer", map[string]any{"id": "1"}), "failed")
	}
	for i := range 110 {
		in := map[string]any{"endpoint": fmt.Sprintf("%s/made/later/%d", w.receiver.URL, i), "events": []string{"customer_notes"}}
		if i < 7 {
			in["status"] = "PAUSED"
		}
		call(t, w.Server, "POST", "/v1/webhooks", in)
	}
	p := signedIn(t, w.Server, w.Key)
	page := p.get("/console/").status(200)
	text := said(page.text)
	for _, want := range []string{"All 113", "106 active, 1 of them failing, 7 paused.", "those of 100 webhooks"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	page.has("/console/webhooks/" + doomed)
	call(t, w.Server, "DELETE", "/v1/webhooks/"+doomed, nil)
	if text = said(p.get("/console/").status(200).text); !strings.Contains(text, "No endpoint is failing.") || !strings.Contains(text, "105 active, 7 paused.") {
		t.Errorf("control: %s", text)
	}
}
