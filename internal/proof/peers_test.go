package proof_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// peer is an HTTP server that people run, with the keep-alive time that it is given here.
type peer struct {
	name    string
	program string
	keep    time.Duration
	reload  syscall.Signal // makes it start anew gracefully; 0: it has nothing of the kind
	front   bool           // it hands requests on to an application of ours
	file    string         // what it is configured with, or runs
	text    string
	args    []string
}

// peers are run in a directory of their own: DIR, PORT, BACKEND (of the application of ours) and JOURNAL
// (where one of theirs writes down what it got) are put in.
var peers = []peer{
	{
		name: "nginx", program: "/usr/sbin/nginx", keep: time.Second, reload: syscall.SIGHUP, front: true, file: "nginx.conf",
		args: []string{"-p", "DIR", "-e", "DIR/error.log", "-c", "DIR/nginx.conf"},
		text: `USER daemon off; worker_processes 2; pid DIR/pid; error_log DIR/error.log;
events { worker_connections 512; }
http {
	access_log off; keepalive_timeout 1s; keepalive_requests 100000;
	client_body_temp_path DIR/b; proxy_temp_path DIR/p; fastcgi_temp_path DIR/f; uwsgi_temp_path DIR/u; scgi_temp_path DIR/s;
	server { listen 127.0.0.1:PORT; location / { proxy_pass http://127.0.0.1:BACKEND; } }
}`,
	},
	{
		name: "Apache", program: "/usr/sbin/apache2", keep: 2 * time.Second, reload: syscall.SIGUSR1, front: true, file: "apache.conf",
		args: []string{"-d", "DIR", "-f", "DIR/apache.conf", "-DFOREGROUND"},
		text: `LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
ServerName localhost
Listen 127.0.0.1:PORT
DefaultRuntimeDir DIR
PidFile DIR/pid
ErrorLog DIR/error.log
KeepAliveTimeout 2
MaxKeepAliveRequests 0
StartServers 2
APACHEUSER
ProxyPass "/" "http://127.0.0.1:BACKEND/" disablereuse=on
`,
	},
	{
		name: "HAProxy", program: "/usr/sbin/haproxy", keep: time.Second, reload: syscall.SIGUSR2, front: true, file: "haproxy.cfg",
		args: []string{"-W", "-f", "DIR/haproxy.cfg"},
		text: `global
	stats socket DIR/sock level admin expose-fd listeners
	hard-stop-after 5s
defaults
	mode http
	timeout connect 5s
	timeout client 10s
	timeout server 10s
	timeout http-keep-alive 1s
listen hooks
	bind 127.0.0.1:PORT
	server application 127.0.0.1:BACKEND
`,
	},
	{
		name: "uvicorn", program: "PYTHON/uvicorn", keep: time.Second, file: "app.py", text: asgi,
		args: []string{"--app-dir", "DIR", "--port", "PORT", "--timeout-keep-alive", "1", "--no-access-log", "app:app"},
	},
	{
		name: "hypercorn", program: "PYTHON/hypercorn", keep: time.Second, file: "app.py", text: asgi,
		args: []string{"--bind", "127.0.0.1:PORT", "--keep-alive", "1", "app:app"},
	},
	{
		// No reload: at SIGHUP its workers close connections that they have just accepted, too, as Starman's do.
		// Nobody but the schedule may send again what was lost on a new connection.
		name: "gunicorn", program: "PYTHON/gunicorn", keep: time.Second, file: "app.py",
		args: []string{"--bind", "127.0.0.1:PORT", "--worker-class", "gthread", "--workers", "2", "--threads", "8", "--keep-alive", "1", "--chdir", "DIR", "app:app"},
		text: `import os
journal = os.open("JOURNAL", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def app(environ, start):
    environ["wsgi.input"].read()
    os.write(journal, (environ.get("HTTP_X_ATLAS_WEBHOOK_EVENT_ID", "") + "\n").encode())
    start("200 OK", [("Content-Length", "0")])
    return [b""]
`,
	},
	{
		name: "Node", program: "node", keep: 2 * time.Second, file: "app.js", args: []string{"DIR/app.js"},
		text: `const fs = require("fs"), http = require("http");
const server = http.createServer((q, a) => {
  q.on("data", () => {});
  q.on("end", () => { fs.appendFileSync("JOURNAL", (q.headers["x-atlas-webhook-event-id"] || "") + "\n"); a.end(); });
});
server.keepAliveTimeout = 2000;
server.listen(PORT, "127.0.0.1");
`,
	},
	{
		name: "Starman", program: "starman", keep: time.Second, file: "app.psgi",
		args: []string{"--listen", "127.0.0.1:PORT", "--workers", "48", "--keepalive-timeout", "1", "DIR/app.psgi"},
		text: `use Fcntl;
sub {
    my $env = shift;
    $env->{"psgi.input"}->read(my $body, $env->{CONTENT_LENGTH} || 0);
    sysopen(my $journal, "JOURNAL", O_WRONLY | O_APPEND | O_CREAT) or die $!;
    syswrite($journal, ($env->{HTTP_X_ATLAS_WEBHOOK_EVENT_ID} || "") . "\n");
    return [200, ["Content-Length", 0], []];
};
`,
	},
}

const asgi = `import os
journal = os.open("JOURNAL", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": kind + ".complete"})
            if kind == "lifespan.shutdown":
                return
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message.get("more_body"):
            break
    os.write(journal, dict(scope["headers"]).get(b"x-atlas-webhook-event-id", b"") + b"\n")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})
`

// site is a peer that runs.
type site struct {
	address string
	process *os.Process
	journal func() map[string]int // how often the application got an event
}

// run starts a peer, which ends with the test.
func (p *peer) run(t *testing.T) *site {
	t.Helper()
	program, err := exec.LookPath(strings.Replace(p.program, "PYTHON", "../../bin/servers/bin", 1))
	need(t, err == nil, p.name+", which 'make peers' installs")
	if program, err = filepath.Abs(program); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{address: free.Addr().String()}
	free.Close()
	_, port, _ := net.SplitHostPort(s.address)
	journal := filepath.Join(dir, "journal")
	backend := ""
	if p.front {
		backend, s.journal = application(t)
	} else {
		s.journal = func() map[string]int { return counted(journal) }
	}
	user, apacheUser := "", ""
	if os.Geteuid() == 0 { // else they are who they are
		user, apacheUser = "user root;", "User www-data\nGroup www-data"
	}
	put := strings.NewReplacer("APACHEUSER", apacheUser, "USER", user, "DIR", dir, "PORT", port, "BACKEND", backend, "JOURNAL", journal)
	if err := os.WriteFile(filepath.Join(dir, p.file), []byte(put.Replace(p.text)), 0o600); err != nil {
		t.Fatal(err)
	}
	args := make([]string, len(p.args))
	for i, a := range p.args {
		args[i] = put.Replace(a)
	}
	command := exec.CommandContext(context.WithoutCancel(t.Context()), program, args...)
	command.Dir = dir
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	command.WaitDelay = time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	s.process = command.Process
	t.Cleanup(func() {
		syscall.Kill(-s.process.Pid, syscall.SIGKILL)
		command.Wait()
		if t.Failed() {
			t.Logf("%s said: %.3000s", p.name, said.String())
		}
	})
	eventually(t, 30*time.Second, p.name+" listens", func() bool {
		nc, err := net.DialTimeout("tcp", s.address, time.Second)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
	return s
}

// application is what stands behind a front: it takes everything, and counts.
func application(t *testing.T) (port string, journal func() map[string]int) {
	var mu sync.Mutex
	seen := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[q.Header.Get(wire.HeaderEventID)]++
	}))
	t.Cleanup(server.Close)
	_, port, _ = net.SplitHostPort(server.Listener.Addr().String())
	return port, func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

func counted(file string) map[string]int {
	text, _ := os.ReadFile(file) // none: it got nothing
	seen := map[string]int{}
	for line := range strings.Lines(string(text)) {
		seen[cmp.Or(strings.TrimSpace(line), fmt.Sprint("nameless ", len(seen)))]++
	}
	return seen
}
