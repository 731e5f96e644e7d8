package httpapi_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
)

var proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}

func TestBehindProxies(t *testing.T) {
	for _, c := range []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"a stranger says what it likes", "203.0.113.9:4000", []string{"198.51.100.1"}, "203.0.113.9:4000"},
		{"a proxy that says nothing", "10.0.0.1:4000", nil, "10.0.0.1:4000"},
		{"one proxy", "10.0.0.1:4000", []string{"198.51.100.1"}, "198.51.100.1:0"},
		{"the client's own word is not believed", "10.0.0.1:4000", []string{"127.0.0.1, 198.51.100.1"}, "198.51.100.1:0"},
		{"two proxies", "10.0.0.1:4000", []string{"198.51.100.1, 10.0.0.2"}, "198.51.100.1:0"},
		{"two headers are one list", "10.0.0.1:4000", []string{"192.0.2.7", "198.51.100.1, 10.0.0.2"}, "198.51.100.1:0"},
		{"proxies all the way", "10.0.0.1:4000", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3:0"},
		{"with a port", "10.0.0.1:4000", []string{"198.51.100.1:5000"}, "198.51.100.1:0"},
		{"IPv6", "[fd00::1]:4000", []string{"2001:db8::7"}, "[2001:db8::7]:0"},
		{"IPv6 with a port", "[fd00::1]:4000", []string{"[2001:db8::7]:443"}, "[2001:db8::7]:0"},
		{"mapped", "[::ffff:10.0.0.1]:4000", []string{"::ffff:198.51.100.1"}, "198.51.100.1:0"},
		{"no address", "10.0.0.1:4000", []string{"198.51.100.1, unknown"}, "10.0.0.1:4000"},
		{"no address behind a proxy's", "10.0.0.1:4000", []string{"_hidden, 10.0.0.2"}, "10.0.0.2:0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen string
			h := httpapi.BehindProxies(proxies, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.RemoteAddr }))
			r := httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)
			r.RemoteAddr, r.Header["X-Forwarded-For"] = c.peer, c.forwarded
			h.ServeHTTP(httptest.NewRecorder(), r)
			if seen != c.want {
				t.Errorf("%s with %q came from %s, want %s", c.peer, c.forwarded, seen, c.want)
			}
		})
	}
}

// Behind one proxy each client answers for its own wrong keys. The control does not name the proxy.
func TestWrongKeysAreTheClientsOwn(t *testing.T) {
	guess := func(h http.Handler, client, key string) int {
		r := httptest.NewRequestWithContext(t.Context(), "GET", "/v1/topics", nil)
		r.RemoteAddr = "10.0.0.1:4000"
		r.Header.Set("X-Forwarded-For", client)
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for name, c := range map[string]struct {
		trusted                []netip.Prefix
		neighbour, sameNetwork int
	}{
		"trusted": {proxies, http.StatusUnauthorized, http.StatusTooManyRequests},
		"control": {nil, http.StatusTooManyRequests, http.StatusTooManyRequests},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			h := httpapi.BehindProxies(c.trusted, s.api)
			limited := 0
			for i := range 60 { // from anywhere in one network of IPv6
				if guess(h, fmt.Sprintf("2001:db8:0:1::%x", i), "awc_guess"+strings.Repeat("x", i)) == http.StatusTooManyRequests {
					limited++
				}
			}
			if limited < 20 {
				t.Errorf("of 60 guesses %d were limited", limited)
			}
			if got := guess(h, "2001:db8:0:1::ffff", "awc_typo"); got != c.sameNetwork {
				t.Errorf("the same network got %d, want %d", got, c.sameNetwork)
			}
			if got := guess(h, "198.51.100.7", "awc_typo"); got != c.neighbour {
				t.Errorf("another client behind the proxy got %d, want %d", got, c.neighbour)
			}
		})
	}
}

// The audit log shows the client, not the proxy.
func TestAuditShowsTheClient(t *testing.T) {
	s := newServer(t)
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/v1/webhooks", strings.NewReader(`{"endpoint":"https://example.com/h","event":"customer"}`))
	r.RemoteAddr = "10.0.0.1:4000"
	r.Header.Set("X-Forwarded-For", "198.51.100.7")
	r.Header.Set("Authorization", "Bearer "+operatorKey)
	r.Header.Set("X-Atlas-Company-Id", "c1")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	httpapi.BehindProxies(proxies, s.api).ServeHTTP(w, r)
	if w.Code != http.StatusCreated {
		t.Fatal(w.Code, w.Body)
	}
	if log := s.call("GET", "/v1/audit-log", "").text; !strings.Contains(log, `"address":"198.51.100.7"`) {
		t.Error(log)
	}
}
