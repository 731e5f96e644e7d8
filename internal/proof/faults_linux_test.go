package proof_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

// blameless holds a webhook to what an own fault of the server may do to it: nothing.
func (r *rig) blameless(e *endpoint, when string) {
	r.t.Helper()
	if blame := r.blame(e); blame != "" {
		r.t.Errorf("%s: %s", when, blame)
	}
}

// blame is what is held against a webhook's endpoint, "" for nothing.
func (r *rig) blame(e *endpoint) string {
	r.t.Helper()
	var w struct {
		Status string
		Health struct {
			State               string
			ConsecutiveFailures int `json:"consecutive_failures"`
			Parked              int
		}
	}
	r.ask(http.MethodGet, "/v1/webhooks/"+e.webhook.ID, e.webhook.Company, "", &w)
	if w.Status != "ACTIVE" || w.Health.State != "healthy" || w.Health.ConsecutiveFailures+w.Health.Parked > 0 {
		return fmt.Sprintf("%+v", w)
	}
	return ""
}

// attempts counts those that are recorded of an event's delivery.
func (r *rig) attempts(e *endpoint, event string) int {
	r.t.Helper()
	var d struct{ Attempts []struct{ Number int } }
	r.ask(http.MethodGet, "/v1/webhooks/"+e.webhook.ID+"/deliveries/"+event, e.webhook.Company, "", &d)
	return len(d.Attempts)
}

// publishSome publishes n events of a company and topic, whose ids begin with a name.
func (r *rig) publishSome(company, topic, name string, n int) {
	r.t.Helper()
	for i := range n {
		r.persist(r.ctx, &oracle.Event{ID: fmt.Sprintf("%s-%d", name, i), Company: company, Topic: topic, Data: fmt.Sprintf(`{"id": %d}`, i)})
	}
}

// sound ends a test of the server's own faults: everything was delivered by first attempts.
func (r *rig) sound(companies ...string) {
	r.t.Helper()
	r.settled(companies, time.Minute)
	if report := r.oracle.Check(); len(report) > 0 {
		r.t.Error(report)
	}
	r.stop()
}

// TestOutOfDescriptors is a part of O16 of the test plan: the server may open fewer files than it has
// webhooks to connect to. Nobody is blamed, and everything arrives.
func TestOutOfDescriptors(t *testing.T) {
	const files, webhooks = 256, 330
	r := newRig(t, "--max-in-flight", "4096")
	r.options.Wrap = []string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$@"`, files), "sh"}
	server := r.start()
	slow := &endpoint{script: []string{"slow 1s"}}
	r.listen(slow)
	all := make([]*endpoint, webhooks)
	for i := range all {
		all[i] = &endpoint{
			webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, secret: slow.secret, url: fmt.Sprintf("%s%d", slow.url, i),
			settings: `, "retry_schedule_seconds": []`, // one counted failure would be the last
		}
		r.create(all[i])
	}
	byPath := map[string]*endpoint{}
	for i, e := range all {
		byPath[fmt.Sprintf("/%d", i)] = e
	}
	slow.route = func(d receiver.Delivery) *endpoint { return byPath[d.Path] }
	r.publishSome("c1", "conversation", "event", 2)
	most := 0
	for began := time.Now(); len(r.oracle.Missing()) > 0 && time.Since(began) < 40*time.Second; pause(r.ctx, 20*time.Millisecond) {
		if open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", server.PID)); err == nil {
			most = max(most, len(open))
		}
	}
	r.settled([]string{"c1"}, time.Minute)
	t.Logf("at most %d of %d files were open", most, files)
	if most < files-6 {
		t.Errorf("control: only %d files were open at once: it was never short of them", most)
	}
	for i := 0; i < webhooks; i += 30 {
		r.blameless(all[i], "without descriptors")
	}
	if n := r.attempts(all[webhooks-1], "event-0"); n != 1 {
		t.Errorf("%d attempts were counted", n)
	}
	r.sound("c1")
}

// resolver is a name server that can fall silent.
type resolver struct {
	mu     sync.Mutex
	silent bool
	asked  int
}

func (n *resolver) set(silent bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent = silent
}

func (n *resolver) questions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked
}

// newResolver answers at an address of the loopback network: 127.0.0.1 for names under .alive.example, no
// such name for all others.
func newResolver(t *testing.T, address string) *resolver {
	t.Helper()
	nc, err := net.ListenPacket("udp", address)
	need(t, err == nil, "root, to answer as a name server")
	n := &resolver{}
	var all sync.WaitGroup
	all.Go(func() {
		buf := make([]byte, 1<<10)
		for {
			size, from, err := nc.ReadFrom(buf)
			if err != nil {
				return // closed
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:size]) != nil || len(m.Questions) != 1 {
				continue
			}
			n.mu.Lock()
			n.asked++
			silent := n.silent
			n.mu.Unlock()
			if silent {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Additionals = true, nil
			switch {
			case !strings.HasSuffix(q.Name.String(), ".alive.example."):
				m.RCode = dnsmessage.RCodeNameError
			case q.Type == dnsmessage.TypeA:
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
				}}
			}
			out, err := m.Pack()
			if err == nil {
				_, _ = nc.WriteTo(out, from) // who asked has gone
			}
		}
	})
	t.Cleanup(func() {
		nc.Close()
		all.Wait()
	})
	return n
}

// TestDeadResolver is a part of O16: the only name server falls silent. What names that resolved before
// miss is nobody's fault. A name that does not exist is its owner's.
func TestDeadResolver(t *testing.T) {
	_, err := exec.LookPath("unshare")
	need(t, err == nil && os.Geteuid() == 0, "root and the command unshare, to give the server a resolv.conf of its own")
	const address = "127.0.0.153"
	n := newResolver(t, address+":53")
	r := newRig(t)
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver "+address+"\noptions timeout:1 attempts:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.options.Wrap = []string{"unshare", "-m", "sh", "-c", fmt.Sprintf(`mount --bind %s /etc/resolv.conf && exec "$@"`, conf), "sh"}
	r.start()
	e := &endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, settings: `, "retry_schedule_seconds": []`, closes: true}
	r.listen(e)
	e.url = strings.Replace(e.url, "127.0.0.1", "hooks.alive.example", 1)
	r.create(e)
	nobody := &endpoint{
		webhook: oracle.Webhook{Company: "c2", Topics: []string{"conversation"}, Hopeless: true}, settings: `, "retry_schedule_seconds": []`,
		url: "http://hooks.dead.example/",
	}
	r.create(nobody)
	r.publishSome("c1", "conversation", "before", 3)
	r.publishSome("c2", "conversation", "nobody", 1)
	eventually(t, 20*time.Second, "it is delivered while names resolve", func() bool { return len(r.oracle.Missing()) == 0 })
	eventually(t, 20*time.Second, "control: a name that does not exist is counted", func() bool { return r.attempts(nobody, "nobody-0") == 1 })

	n.set(true)
	r.publishSome("c1", "conversation", "silent", 5)
	pause(r.ctx, 4*time.Second)
	r.blameless(e, "without a resolver")
	if got := r.attempts(e, "silent-0"); got != 0 {
		t.Errorf("%d attempts were counted without a resolver", got)
	}
	if n.questions() == 0 || len(r.oracle.Missing()) == 0 {
		t.Error("control: it needed no resolver")
	}
	n.set(false)
	r.accounted("c2")
	r.sound("c1")
}

// TestDeadEgressProxy is a part of O16: the proxy that every delivery goes through is not there. That is
// nobody's fault. An endpoint that a proxy cannot reach is its owner's.
func TestDeadEgressProxy(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	r := newRig(t, "--egress-proxy", "http://"+address)
	r.start()
	e := &endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, settings: `, "retry_schedule_seconds": []`}
	r.subscribe(e)
	r.publishSome("c1", "conversation", "event", 3)
	pause(r.ctx, time.Second)
	r.blameless(e, "without the egress proxy")
	if n, missing := r.attempts(e, "event-0"), len(r.oracle.Missing()[e.webhook.ID]); n != 0 || missing != 3 {
		t.Errorf("%d attempts were counted without the egress proxy; %d of 3 events lack", n, missing)
	}
	tunnel(t, address)
	// The control: through a proxy that is there, what does not answer is at fault itself.
	dead := &endpoint{
		webhook: oracle.Webhook{Company: "c2", Topics: []string{"conversation"}, Hopeless: true}, settings: patient, url: "http://127.1.0.1:8089/",
	}
	r.create(dead)
	r.publishSome("c2", "conversation", "dead", 1)
	r.faulty(dead, "dead-0")
	if r.blame(dead) == "" {
		t.Error("control: an endpoint that its proxy cannot reach passes for blameless")
	}
	r.accounted("c2")
	r.sound("c1")
}

// tunnel is a proxy that connects whom it is asked to connect.
func tunnel(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	keep := func(nc net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		open = append(open, nc)
	}
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return // closed
			}
			keep(nc)
			all.Go(func() {
				defer nc.Close()
				in := bufio.NewReader(nc)
				q, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				up, err := net.Dial("tcp", q.Host)
				if err != nil {
					_, _ = io.WriteString(nc, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
					return
				}
				keep(up)
				_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n") // who has gone asks no more
				all.Go(func() {
					defer up.Close()
					_, _ = io.Copy(up, in)
				})
				_, _ = io.Copy(nc, up)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, nc := range open {
			nc.Close()
		}
		mu.Unlock()
		all.Wait()
	})
}
