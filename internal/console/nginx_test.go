package console_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

// behindNginx starts a server with a real nginx before it: location says what it takes over, where SERVER
// is the server's address, and path is that of the public address. Without nginx the test is skipped;
// `make peers` installs it.
func behindNginx(t *testing.T, path, location string) (*apptest.Server, string) {
	t.Helper()
	const program = "/usr/sbin/nginx"
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") != "" { //nolint:forbidigo // a test may ask where it runs
			t.Fatal("nginx is not installed: make peers")
		}
		t.Skip("nginx is not installed: make peers")
	}
	dir, port, listen := t.TempDir(), freePort(t), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	public := fmt.Sprintf("http://127.0.0.1:%d%s", port, path)
	s := apptest.StartLogging(t, slog.New(slog.DiscardHandler), func(c *config.Config) {
		c.Listen, c.PublicURL = listen, public
	})
	s.URL = "http://" + listen
	text := fmt.Sprintf(`daemon off;
master_process off;
pid %s/pid;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
	server { listen 127.0.0.1:%d; %s }
}`, dir, port, strings.ReplaceAll(location, "SERVER", s.URL))
	write(t, filepath.Join(dir, "nginx.conf"), text)
	nginx := exec.CommandContext(t.Context(), program, "-e", dir+"/error.log", "-c", dir+"/nginx.conf")
	nginx.Cancel = func() error { return nginx.Process.Signal(syscall.SIGTERM) }
	if err := nginx.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nginx.Process.Signal(syscall.SIGTERM); _ = nginx.Wait() })
	eventually(t, func() error {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
	return s, public
}

// A proxy that says another Host than browsers do, as nginx does by default, leaves forms their origin:
// that of public_url is ours, and no other is.
func TestBehindNginx(t *testing.T) {
	s, public := behindNginx(t, "", `location / { proxy_pass SERVER; }`)
	for origin, want := range map[string]int{public: 200, "http://evil.example": 403, "null": 403, s.URL: 200} {
		p := visitor(t, s)
		if origin != s.URL { // without a proxy nothing is different
			p.base = public
		}
		r := p.request(http.MethodPost, "/console/sign-in", url.Values{"key": {s.Key}})
		r.Header.Set("Origin", origin)
		p.do(r).status(want)
	}
}

// addresses are where a page leads, or asks by itself.
var addresses = regexp.MustCompile(`\s(?:href|src|action|hx-get|hx-post|data-script|data-look)="([^"]*)"`)

// TestBelowAPath: where public_url has a path, a proxy serves everything below it, whether it takes the
// path off or leaves it: no page leads anywhere else.
func TestBelowAPath(t *testing.T) {
	for name, location := range map[string]string{
		"taken off": `location /atlas/webhooks/ { proxy_pass SERVER/; }`,
		"left":      `location /atlas/webhooks { proxy_pass SERVER; }`,
	} {
		t.Run(name, func(t *testing.T) {
			s, public := behindNginx(t, "/atlas/webhooks", location)
			w := newWorldOn(t, s)
			p := visitor(t, s)
			p.base = public
			key := url.Values{"key": {s.Key}, "next": {"/console/system"}}
			if at := p.post("/console/sign-in", key).status(200).at; at != "/atlas/webhooks/console/system" {
				t.Error(at)
			}
			p.post("/console/company", url.Values{"company": {"c1"}}).status(200).has("Overview")
			followed := map[string]bool{}
			for _, path := range append(w.pages(), "/console/nothing", "/docs") {
				for _, found := range addresses.FindAllStringSubmatch(p.get(path).text, -1) {
					to := found[1]
					if strings.HasPrefix(to, "#") || strings.HasPrefix(to, "?") || strings.HasPrefix(to, "http") || followed[to] {
						continue
					}
					followed[to] = true
					if path == "/docs" && !strings.HasPrefix(to, "/") {
						to = "/atlas/webhooks/" + to
					}
					if !strings.HasPrefix(to, "/atlas/webhooks/") {
						t.Errorf("%s leads to %s", path, to)
					}
				}
			}
			for _, to := range []string{"console/assets/console.css", "healthz", "openapi.json", "v1/topics"} {
				r := p.request(http.MethodGet, "/"+to, nil)
				r.Header.Set("Authorization", "Bearer "+s.Key)
				if s := p.do(r).status(200); to == "openapi.json" {
					s.has(`"url": "` + public + `"`)
				}
			}
			p.get("").status(200).has("Overview")
			link := call(t, s, "POST", "/v1/companies/c1/console-links", map[string]any{})["url"].(string)
			if !strings.HasPrefix(link, public+"/console/enter#") {
				t.Error(link)
			}
			if name != "left" {
				return
			}
			b := openTab(t)
			b.base = public
			b.do(chromedp.Navigate(link))
			b.see(".frame", "Overview")
			b.see("time-chart .u-legend", "Delivered")
			b.ready()
			b.press("k", chromedp.Modifier(2))
			b.see("#palette li", "/good")
			b.press("good\r")
			b.arrive("/atlas/webhooks/console/webhooks/" + w.good)
			b.click(".tabs a[href$='/deliveries']")
			b.see("live-tail", "Live")
			b.click(".side form[action$='/sign-out'] button")
			b.see("h1", "Sign in")
			b.calm()
		})
	}
}
