package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/console"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
)

// keyring is an API that knows one key and one token, and answers nothing else. Its sessions last an hour.
type keyring struct{ http.Handler }

// enduring is one whose sessions last two.
type enduring struct{ keyring }

func (e enduring) SignIn(r *http.Request, key string) (string, httpapi.Principal, time.Time, error) {
	p, err := e.Identify(r, key)
	return key, p, time.Now().Add(2 * time.Hour), err
}

func (keyring) Identify(_ *http.Request, key string) (httpapi.Principal, error) {
	if key != "awc_right" {
		return httpapi.Principal{}, &client.Problem{Status: http.StatusUnauthorized, Code: "unauthorized"}
	}
	return httpapi.Principal{Actor: "key_1", CompanyID: "c1", MayWrite: true}, nil
}

func (keyring) Enter(*http.Request, string) (string, time.Time, error) {
	return "awc_right", time.Now().Add(time.Hour), nil
}

func (k keyring) SignIn(r *http.Request, key string) (string, httpapi.Principal, time.Time, error) {
	p, err := k.Identify(r, key)
	return key, p, time.Now().Add(time.Hour), err
}

func (keyring) HoldPage(_ context.Context, w http.ResponseWriter, _ string) (http.ResponseWriter, func(), error) {
	return w, func() {}, nil
}

func (keyring) SignOut(context.Context, string) error { return nil }

func (keyring) LinkCompany(*http.Request, string) (string, error) { return "c1", nil }

// topicsOnly answers what the page of topics asks.
var topicsOnly = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(`{"data": []}`)) })

func cookieOf(t *testing.T, c http.Handler, path string, form url.Values) *http.Cookie {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	c.ServeHTTP(w, r)
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d %v", w.Code, cookies)
	}
	return cookies[0]
}

func TestCookies(t *testing.T) {
	frames := []string{"https://app.example.com"}
	for _, c := range []struct {
		name        string
		url         string
		ancestors   []string
		framed      string
		secure      bool
		sameSite    http.SameSite
		partitioned bool
	}{
		{"http", "", nil, "", false, http.SameSiteLaxMode, false},
		{"https", "https://hooks.example.com", nil, "", true, http.SameSiteLaxMode, false},
		{"says framed, where that is not allowed", "https://hooks.example.com", nil, "true", true, http.SameSiteLaxMode, false},
		{"not framed, where that is allowed", "https://hooks.example.com", frames, "false", true, http.SameSiteLaxMode, false},
		{"framed", "https://hooks.example.com", frames, "true", true, http.SameSiteNoneMode, true},
	} {
		console := console.New(console.Options{API: keyring{topicsOnly}, Key: make([]byte, 32), PublicURL: c.url, FrameAncestors: c.ancestors})
		for path, form := range map[string]url.Values{"/console/sign-in": {"key": {"awc_right"}, "framed": {c.framed}}, "/console/enter": {"token": {"awl_x"}, "framed": {c.framed}}} {
			got := cookieOf(t, console, path, form)
			if !got.HttpOnly || got.Secure != c.secure || got.SameSite != c.sameSite || got.Partitioned != c.partitioned || got.MaxAge > 3600 || got.Path != "/console/" {
				t.Errorf("%s, %s: %v", c.name, path, got)
			}
			if strings.Contains(got.Value, "awc_right") {
				t.Errorf("%s: the key can be read", c.name)
			}
		}
	}
}

func TestFrames(t *testing.T) {
	for _, ancestors := range [][]string{nil, {"https://app.example.com", "https://other.example.com"}} {
		w := httptest.NewRecorder()
		console.New(console.Options{API: keyring{topicsOnly}, Key: make([]byte, 32), FrameAncestors: ancestors}).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/console/enter", nil))
		policy, deny := w.Header().Get("Content-Security-Policy"), w.Header().Get("X-Frame-Options")
		if ancestors == nil && (!strings.HasSuffix(policy, "frame-ancestors 'none'") || deny != "DENY") ||
			ancestors != nil && (!strings.HasSuffix(policy, "frame-ancestors 'self' https://app.example.com https://other.example.com") || deny != "") {
			t.Errorf("%v: %s, %s", ancestors, policy, deny)
		}
	}
}

// TestSessionsEnd: after an hour, whatever the browser keeps; and a cookie that was touched, or
// sealed elsewhere, is none.
func TestSessionsEnd(t *testing.T) {
	now := time.Now()
	c := console.New(console.Options{API: keyring{topicsOnly}, Key: make([]byte, 32), Now: func() time.Time { return now }})
	cookie := cookieOf(t, c, "/console/sign-in", url.Values{"key": {"awc_right"}})
	visit := func(c http.Handler, value string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/console/topics", nil)
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: value})
		c.ServeHTTP(w, r)
		return w.Code
	}
	if code := visit(c, cookie.Value); code != http.StatusOK {
		t.Fatal(code)
	}
	for _, value := range []string{"", "x", cookie.Value[:len(cookie.Value)-4], "A" + cookie.Value[1:], cookie.Value + "AAAA"} {
		if value != cookie.Value && visit(c, value) != http.StatusSeeOther {
			t.Errorf("%q opens", value)
		}
	}
	other := make([]byte, 32)
	other[0] = 1
	if code := visit(console.New(console.Options{API: keyring{topicsOnly}, Key: other}), cookie.Value); code != http.StatusSeeOther {
		t.Error("it opens another server", code)
	}
	now = now.Add(59 * time.Minute)
	if code := visit(c, cookie.Value); code != http.StatusOK {
		t.Error("it ended early", code)
	}
	now = now.Add(time.Minute)
	if code := visit(c, cookie.Value); code != http.StatusSeeOther {
		t.Error("it goes on", code)
	}
}

// TestSessionIsProlonged while somebody looks at pages, and not by what a page asks by itself; and not for ever.
func TestSessionIsProlonged(t *testing.T) {
	begun := time.Now()
	now := begun
	c := console.New(console.Options{API: enduring{keyring{topicsOnly}}, Key: make([]byte, 32), Now: func() time.Time { return now }})
	cookie := cookieOf(t, c, "/console/sign-in", url.Values{"key": {"awc_right"}})
	visit := func(path string, after time.Duration) (open bool) {
		t.Helper()
		now = begun.Add(after)
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		r.AddCookie(cookie)
		c.ServeHTTP(w, r)
		for _, renewed := range w.Result().Cookies() {
			if renewed.MaxAge > 3600 || renewed.MaxAge < 1 {
				t.Errorf("after %v it is kept for %d s", after, renewed.MaxAge)
			}
			cookie = renewed
		}
		return w.Code == http.StatusOK
	}
	for _, step := range []struct {
		after time.Duration
		path  string
		open  bool
	}{
		{50 * time.Minute, "/console/topics", true},
		{100 * time.Minute, "/console/topics", true},
		{119 * time.Minute, "/console/topics", true},
		{120 * time.Minute, "/console/topics", false},
	} {
		if open := visit(step.path, step.after); open != step.open {
			t.Errorf("after %v: open %t", step.after, open)
		}
	}
	cookie = cookieOf(t, c, "/console/sign-in", url.Values{"key": {"awc_right"}})
	begun = now
	visit("/console/figures", 55*time.Minute)
	if visit("/console/topics", 61*time.Minute) {
		t.Error("a chart prolongs a session that nobody uses")
	}
}

// TestPace: somebody who asks without end is asked to wait.
func TestPace(t *testing.T) {
	now := time.Now()
	c := console.New(console.Options{API: keyring{topicsOnly}, Key: make([]byte, 32), Now: func() time.Time { return now }})
	cookie := cookieOf(t, c, "/console/sign-in", url.Values{"key": {"awc_right"}})
	refused := 0
	for range 150 {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/console/topics", nil)
		r.AddCookie(cookie)
		c.ServeHTTP(w, r)
		if w.Code == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused != 50 {
		t.Error(refused)
	}
}
