package console_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// notebook keeps what a server logs.
type notebook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notebook) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(b)
}

func (n *notebook) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// leaked are the secrets that a text holds, as they are or as an address would hold them.
func leaked(text string, secrets map[string]string) (names []string) {
	for name, secret := range secrets {
		if strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) || strings.Contains(text, url.PathEscape(secret)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// found is what a page shows between two texts.
func (s *seen) found(pattern string) string {
	s.t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(s.text)
	if m == nil {
		s.t.Fatalf("%s: no %s in %s", s.what, pattern, plain(s.text))
	}
	return m[1]
}

// TestNothingSecretIsLogged: neither the log of the server, with everything that it can say, nor an
// address that anybody asks for, is sent to or comes from, holds a key, a token, a secret or a session:
// not when somebody signs in, mistypes a key, follows a link, or shows the console in a frame.
func TestNothingSecretIsLogged(t *testing.T) {
	b := openTab(t, chromedp.Flag("ignore-certificate-errors", true))
	log := &notebook{}
	var inside string
	parent := embed(t, &inside)
	s, f := inFrontLogging(t, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug - 100})), parent.URL)
	secrets := map[string]string{"the operator's key": s.Key, "a mistyped key": s.Key[:len(s.Key)-1] + "_", "a stranger's token": "awl_" + strings.Repeat("x", 43)}

	browser := func() *person {
		p := visitor(t, s)
		p.base = f.URL
		p.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // our own front
		t.Cleanup(p.client.CloseIdleConnections)
		return p
	}
	token := func(link string) string {
		_, token, _ := strings.Cut(link, "#")
		return token
	}

	operator := browser()
	operator.get("/console/webhooks?q=x").status(200).has("Sign in")
	operator.post("/console/sign-in", url.Values{"key": {secrets["a mistyped key"]}}).has("Sign in")
	operator.post("/console/sign-in", url.Values{"key": {s.Key}, "next": {"/console/webhooks?q=x"}}).status(200)
	operator.post("/console/company", url.Values{"company": {"c1"}}).status(200)
	hook := call(t, s, "POST", "/v1/webhooks", map[string]any{"endpoint": "https://hooks.example.com/", "events": []string{"*"}})
	id := hook["id"].(string)
	secrets["a signing secret"] = hook["signing_secret"].(string)
	operator.part("POST", "/console/webhooks/"+id+"/secret/reveal", nil).status(200).has(strings.ReplaceAll(secrets["a signing secret"], "+", "&#43;")) // as a page writes it
	secrets["a company's key"] = operator.post("/console/keys", url.Values{"name": {"of a test"}, "scope": {"write"}}).status(200).found(`(awc_[A-Za-z0-9]+)`)
	secrets["a link's token"] = token(operator.post("/console/links", url.Values{"ttl_seconds": {"300"}}).status(200).found(`(https://[^"<\s]+/console/enter#[^"<\s]+)`))

	guest := browser()
	guest.get("/console/enter").status(200)
	guest.post("/console/enter", url.Values{"token": {secrets["a stranger's token"]}})
	guest.post("/console/enter", url.Values{"token": {secrets["a link's token"]}}).status(200).has("Overview")
	browser().post("/console/enter", url.Values{"token": {secrets["a link's token"]}}) // a second time
	guest.post("/console/sign-out", nil).status(200)
	member := browser()
	member.post("/console/sign-in", url.Values{"key": {secrets["a company's key"]}}).status(200)
	for _, page := range []string{"", "webhooks", "webhooks/" + id, "webhooks/" + id + "/secret", "keys", "audit", "deliveries", "events", "nothing"} {
		member.get("/console/" + page)
	}

	inside = call(t, s, "POST", "/v1/companies/c1/console-links", map[string]any{})["url"].(string)
	secrets["a framed link's token"] = token(inside)
	b.do(chromedp.Navigate(parent.URL))
	eventually(b, func() error { return f.saw("GET /console/figures 200 session=true") })
	direct := call(t, s, "POST", "/v1/companies/c1/console-links", map[string]any{})["url"].(string)
	secrets["another link's token"] = token(direct)
	b.do(chromedp.Navigate(direct))
	b.see("h1", "Overview")
	b.do(chromedp.Navigate(f.URL + "/console/keys"))
	b.see("h1", "Keys")

	s.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, cookie := range f.given {
		parsed, err := http.ParseSetCookie(cookie)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.Value != "" {
			secrets[fmt.Sprint("session ", i)] = parsed.Value
		}
	}
	if len(secrets) < 12 {
		t.Errorf("only %d secrets are looked for", len(secrets))
	}
	for name, secret := range secrets {
		if len(secret) < 16 {
			t.Errorf("%s is no secret: %q", name, secret)
		}
	}
	text, urls := log.String(), strings.Join(f.urls, "\n")
	if names := leaked(text, secrets); names != nil {
		t.Errorf("the log holds %q", names)
	}
	if names := leaked(urls, secrets); names != nil {
		t.Errorf("addresses hold %q", names)
	}
	for what, holds := range map[string]bool{
		"the log is empty": strings.Contains(text, "serving") && strings.Contains(text, "stopping"), "pages are missing": strings.Contains(urls, "/console/enter") && strings.Contains(urls, "next="),
		"the frame is missing": strings.Contains(urls, parent.URL),
	} {
		if !holds {
			t.Errorf("control: %s\n%s\n%s", what, text, urls)
		}
	}
	for name, secret := range secrets {
		planted := &notebook{}
		slog.New(slog.NewTextHandler(planted, nil)).Info("somebody came", "address", "/console/enter?token="+url.QueryEscape(secret))
		if leaked(planted.String(), map[string]string{name: secret}) == nil {
			t.Errorf("control: %s is not found where it is", name)
		}
	}
}
