package docs_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

// proxy is how a block of proxies.md is run: what stands around it in a file, and the command.
type proxy struct {
	info, program string
	args          []string // DIR is where the file is
	file, around  string   // BLOCK is the block
}

const apacheAround = `LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ServerName localhost
Listen PORT
DefaultRuntimeDir DIR
PidFile DIR/pid
ErrorLog DIR/error.log
USER
BLOCK`

var proxies = []proxy{
	{"nginx", "/usr/sbin/nginx", []string{"-e", "DIR/error.log", "-p", "DIR", "-c", "DIR/conf"}, "conf", "daemon off; pid DIR/pid; USER events {} http { access_log off; client_body_temp_path DIR/body; BLOCK }"},
	{"haproxy", "/usr/sbin/haproxy", []string{"-f", "DIR/conf"}, "conf", "BLOCK"},
	{"apache", "/usr/sbin/apache2", []string{"-d", "DIR", "-f", "DIR/conf", "-DFOREGROUND"}, "conf", apacheAround},
	{"caddy", "caddy", []string{"run", "--adapter", "caddyfile", "--config", "DIR/conf"}, "conf", "{\n admin off\n skip_install_trust\n auto_https disable_redirects\n https_port PORT\n}\nBLOCK"},
}

// TestProxies runs each block of proxies.md in the real proxy: a body of 7 MiB arrives, the audit log has the
// client's address, forms of the public address are taken, and a stream says at once what happens.
func TestProxies(t *testing.T) {
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer receiver.Close()
	address := freeAddress(t)
	server := apptest.StartLogging(t, slog.New(slog.DiscardHandler), func(c *config.Config) {
		c.Listen = address
		c.PublicURL = "https://hooks.example.com"
		c.TrustedProxies = config.Networks{netip.MustParsePrefix("127.0.0.1/32")} // the client is 127.0.0.2
	})
	server.URL = "http://" + address // it is known by its public one
	files := certificate(t)
	for _, p := range proxies {
		t.Run(p.info, func(t *testing.T) {
			if _, err := exec.LookPath(p.program); err != nil {
				t.Skipf("no %s: its block is not tested", p.info)
			}
			text := ""
			for _, b := range blocks(read(t, "proxies.md")) {
				if b.info == p.info {
					text = b.text
				}
			}
			through := p.start(t, text, server.URL, files)
			c := clientThrough(t, server, receiver.URL, through, "proxy-"+p.info)
			c.body(http.StatusAccepted)
			c.address()
			c.form()
			c.stream()
		})
	}
	t.Run("control", func(t *testing.T) {
		if _, err := exec.LookPath(proxies[0].program); err != nil {
			t.Skip("no nginx")
		}
		const plain = "server { listen 443 ssl; ssl_certificate /etc/ssl/hooks.example.com.pem; ssl_certificate_key /etc/ssl/hooks.example.com.key; location / { proxy_pass http://127.0.0.1:8080; } }"
		through := proxies[0].start(t, plain, server.URL, files)
		clientThrough(t, server, receiver.URL, through, "proxy-control").body(http.StatusRequestEntityTooLarge)
	})
}

// certificate writes a certificate of example.com and its key, as the page's files are named, into a directory.
func certificate(t *testing.T) (dir string) {
	dir = t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	pair := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	secret := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	for name, text := range map[string][]byte{".pem": cert, ".key": secret, ".both.pem": append(cert, secret...)} {
		if err := os.WriteFile(filepath.Join(dir, "hooks.example.com"+name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func freeAddress(t *testing.T) string {
	t.Helper()
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.Addr().String()
}

// start runs a proxy with a block, until the test ends, and returns its address.
func (p proxy) start(t *testing.T, block, backend, files string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "proxy-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	user := map[string]string{"nginx": "user root;", "apache": "User www-data\nGroup www-data"}[p.info]
	if os.Geteuid() != 0 {
		user = ""
	}
	block = strings.NewReplacer(
		"listen 443 ssl", "listen "+address+" ssl", "bind :443", "bind "+address, "*:443", "*:"+port, "http://127.0.0.1:8080", backend,
		"127.0.0.1:8080", strings.TrimPrefix(backend, "http://"), "/etc/ssl", files, "hooks.example.com {", "hooks.example.com {\n tls internal",
	).Replace(block)
	put := strings.NewReplacer("DIR", dir, "PORT", port, "USER", user)
	conf := strings.Replace(put.Replace(p.around), "BLOCK", block, 1)
	if err := os.WriteFile(filepath.Join(dir, p.file), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, a := range p.args {
		args = append(args, put.Replace(a))
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), p.program, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(cmd.Environ(), "HOME="+dir)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("%s said:\n%s%s", p.program, said.String(), log)
		}
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(20 * time.Second); ; {
		if c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
			c.Close()
			return address
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s does not listen at %s", p.program, address)
		}
	}
}

// throughProxy is a client that reaches a server through a proxy, from 127.0.0.2.
type throughProxy struct {
	t            *testing.T
	key, company string
	webhook      string
	http         *http.Client
}

func clientThrough(t *testing.T, server *apptest.Server, receiver, through, company string) *throughProxy {
	t.Helper()
	w, err := clientOf(t, server, company).CreateWebhook(t.Context(), client.WebhookCreate{Endpoint: receiver, Events: []string{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	return &throughProxy{t: t, key: server.Key, company: company, webhook: w.ID, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return from.DialContext(ctx, "tcp", through) },
		// The certificate is the test's own, and no subject of it.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see above
	}}}
}

// call makes a request to the public address. The body of the answer is the caller's to close.
func (c *throughProxy) call(method, path, body string, header ...string) *http.Response {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, "https://hooks.example.com"+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	r.Header.Set("X-Atlas-Company-Id", c.company)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer
}

// body publishes a batch of 7 MiB.
func (c *throughProxy) body(want int) {
	c.t.Helper()
	event := fmt.Sprintf(`{"company_id":%q,"event":"customer","data":{"id":"1","note":%q}}`, c.company, strings.Repeat("x", 700<<10))
	answer := c.call("POST", "/v1/events/batch", "["+event+strings.Repeat(","+event, 9)+"]", "Content-Type", "application/json")
	defer answer.Body.Close()
	if answer.StatusCode != want {
		text, _ := io.ReadAll(answer.Body)
		c.t.Errorf("a batch of 7 MiB: %d, want %d: %.300s", answer.StatusCode, want, text)
	}
}

// address changes something, and looks who the audit log says it was.
func (c *throughProxy) address() {
	c.t.Helper()
	c.call("PATCH", "/v1/webhooks/"+c.webhook, `{"description":"by proxy"}`, "Content-Type", "application/json").Body.Close()
	answer := c.call("GET", "/v1/audit-log?limit=1", "")
	defer answer.Body.Close()
	if text, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(text), `"address":"127.0.0.2"`) {
		c.t.Errorf("%s %v", text, err)
	}
}

// form sends a form as a page of the public address does. A key that is not known is 401; 403 would be the
// address.
func (c *throughProxy) form() {
	c.t.Helper()
	answer := c.call("POST", "/console/sign-in", "key=awc_nothing", "Content-Type", "application/x-www-form-urlencoded",
		"Origin", "https://hooks.example.com", "Sec-Fetch-Site", "same-origin", "Authorization", "")
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		c.t.Errorf("a form: %d", answer.StatusCode)
	}
}

// stream watches, publishes, and must see the attempt although the stream goes on.
func (c *throughProxy) stream() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	answer := c.call("GET", "/v1/stream", "")
	defer answer.Body.Close()
	context.AfterFunc(ctx, func() { answer.Body.Close() })
	c.call("POST", "/v1/events", fmt.Sprintf(`{"company_id":%q,"event":"customer","data":{"id":"2"}}`, c.company), "Content-Type", "application/json").Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if lines.Text() == "event: attempt" {
			return
		}
	}
	c.t.Errorf("nothing came by the stream: %v", ctx.Err())
}
