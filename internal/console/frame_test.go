package console_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

// front is what terminates TLS before a console, and notes what a browser asked for.
type front struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // method, path, status, and whether a session came with it
	given []string // cookies, as they were set
	urls  []string // whole addresses that were asked for, or sent to, and where from
}

// inFront starts a server with a front before it, whose address is the public one.
func inFront(t *testing.T, ancestors ...string) (*apptest.Server, *front) {
	t.Helper()
	return inFrontLogging(t, slog.New(slog.DiscardHandler), ancestors...)
}

func inFrontLogging(t *testing.T, log *slog.Logger, ancestors ...string) (*apptest.Server, *front) {
	t.Helper()
	f := &front{}
	var forward http.Handler
	f.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { forward.ServeHTTP(w, r) }))
	t.Cleanup(f.Close)
	to := &url.URL{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", freePort(t))}
	s := apptest.StartLogging(t, log, func(c *config.Config) { c.Listen, c.PublicURL, c.ConsoleFrameAncestors = to.Host, f.URL, ancestors })
	s.URL = to.String()
	forward = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ModifyResponse: func(answer *http.Response) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			_, err := answer.Request.Cookie("atlas_console")
			f.asked = append(f.asked, fmt.Sprintf("%s %s %d session=%t", answer.Request.Method, answer.Request.URL.Path, answer.StatusCode, err == nil))
			f.given = append(f.given, answer.Header.Values("Set-Cookie")...)
			f.urls = append(f.urls, answer.Request.URL.String(), answer.Request.Header.Get("Referer"), answer.Header.Get("Location"), answer.Header.Get("HX-Redirect"))
			return nil
		},
	}
	return s, f
}

func (f *front) saw(what string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, line := range f.asked {
		if strings.HasPrefix(line, what) {
			return nil
		}
	}
	return fmt.Errorf("never %q, only %q", what, f.asked)
}

// embed is a page of another site that shows something in a frame.
func embed(t *testing.T, inside *string) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><title>Another application</title><iframe width="1200" height="800" src="%s"></iframe>`, *inside)
	}))
	t.Cleanup(s.Close)
	s.URL = strings.Replace(s.URL, "127.0.0.1", "localhost", 1) // another site than the console's
	return s
}

// TestBrowserFrame: a page of another site shows the console in a frame where its origin is named in
// console_frame_ancestors, with a session that is kept there; and nowhere else.
func TestBrowserFrame(t *testing.T) {
	b := openTab(t, chromedp.Flag("ignore-certificate-errors", true))
	link := func(s *apptest.Server) string {
		call(t, s, "POST", "/v1/webhooks", map[string]any{"endpoint": "https://hooks.example.com/", "events": []string{"*"}})
		return call(t, s, "POST", "/v1/companies/c1/console-links", map[string]any{})["url"].(string)
	}
	var inside string
	parent := embed(t, &inside)

	s, f := inFront(t, parent.URL)
	inside = link(s)
	b.do(chromedp.Navigate(parent.URL))
	for _, want := range []string{
		"GET /console/enter 200 session=false", "POST /console/enter 303 session=false", "GET /console/ 200 session=true",
		"GET /console/figures 200 session=true", // what the page's own script asks for
	} {
		eventually(b, func() error { return f.saw(want) })
	}
	for _, attribute := range []string{"HttpOnly", "Secure", "SameSite=None", "Partitioned"} {
		if len(f.given) != 1 || !strings.Contains(f.given[0], attribute) {
			t.Errorf("the cookie is not %s: %v", attribute, f.given)
		}
	}
	// The cookie belongs to this frame alone: the console itself knows nobody.
	b.do(chromedp.Navigate(f.URL + "/console/"))
	b.see("h1", "Sign in")

	for name, ancestors := range map[string][]string{"none is named": nil, "another origin is named": {"https://other.example.com"}} {
		s, f := inFront(t, ancestors...)
		inside = link(s)
		b.do(chromedp.Navigate(parent.URL))
		eventually(b, func() error { return f.saw("GET /console/enter 200") })
		eventually(b, func() error { return b.complained("frame-ancestors") })
		if err := f.saw("POST"); err == nil {
			t.Errorf("%s: the frame opened", name)
		}
		b.do(chromedp.Navigate(inside)) // and the link is not used up
		b.see("h1", "Overview")
	}
}

// complained takes a complaint of the browser off the list.
func (b *tab) complained(of string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, e := range b.errors {
		if strings.Contains(e, of) {
			b.errors = append(b.errors[:i], b.errors[i+1:]...)
			return nil
		}
	}
	return fmt.Errorf("the browser does not complain of %s: %q", of, b.errors)
}
