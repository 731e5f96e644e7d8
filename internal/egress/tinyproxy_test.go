package egress

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

// tinyproxy runs the proxy of that name, which opens tunnels to one port. It is stopped by what is
// returned, or with the test.
func tinyproxy(t *testing.T, port string) (address string, stop func()) {
	t.Helper()
	path, err := exec.LookPath("tinyproxy")
	if err != nil {
		if os.Getenv("CI") != "" { //nolint:forbidigo // a test may ask where it runs
			t.Fatal("this needs tinyproxy; 'make peers' installs it")
		}
		t.Skip("needs tinyproxy, which 'make peers' installs; CI insists on it")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = free.Addr().String()
	free.Close()
	dir := t.TempDir()
	config := fmt.Sprintf("Listen 127.0.0.1\nPort %s\nConnectPort %s\nMaxClients 10\nLogFile %q\n", address[strings.LastIndex(address, ":")+1:], port, filepath.Join(dir, "log"))
	file := filepath.Join(dir, "tinyproxy.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, path, "-d", "-c", file)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { command.Wait(); close(ended) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	for deadline := time.Now().Add(10 * time.Second); ; {
		nc, err := net.Dial("tcp", address)
		if err == nil {
			nc.Close()
			return address, stop
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ended:
			t.Fatal("tinyproxy ended at once")
		}
	}
}

// A real proxy: what it lets through arrives, over TLS from end to end; what it refuses, and what it
// cannot reach, counts and names it; that it is gone counts against nobody.
func TestRealProxy(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, receiver.Config{TLS: a.server("127.0.0.1")})
	u, err := url.Parse(r.URL())
	if err != nil {
		t.Fatal(err)
	}
	address, stop := tinyproxy(t, u.Port())
	c := newClient(t, func(config *Config) { config.Proxy, config.RootCAs = "http://"+address, a.pool })
	ask := func(endpoint string) (int, error) {
		q := request(endpoint, 10*time.Second)
		q.Fresh = true
		answer, err := c.Do(t.Context(), q)
		return answer.Status, err
	}
	if status, err := ask(r.URL()); err != nil || status != 200 {
		t.Fatalf("through the proxy: %d, %v", status, err)
	}
	_, err = ask("http://127.0.0.1:8445/")
	if e := wantClass(t, err, hook.ErrConnect); e.Detail != "the egress proxy refused the connection to this endpoint (status 403)" {
		t.Error(e.Detail)
	}
	_, err = ask("https://no-such-name.invalid:" + u.Port() + "/")
	if e := wantClass(t, err, hook.ErrConnect); e.Detail != "the egress proxy could not reach the endpoint (status 500)" {
		t.Error(e.Detail)
	}
	stop()
	_, err = ask(r.URL())
	if e := wantClass(t, err, hook.ErrOwnFault); !strings.HasPrefix(e.Detail, "the egress proxy cannot be reached") {
		t.Error(e.Detail)
	}
}
