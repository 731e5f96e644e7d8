package proof_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	rsaExchange = "AES128-GCM-SHA256"
	dheOnly     = "DHE-RSA-AES128-GCM-SHA256"
	cbcOnly     = "ECDHE-RSA-AES128-SHA256"
)

// tlsSaid is what developers are told of a delivery. Class "" is a delivery that arrived.
type tlsSaid struct {
	class          string
	detail, advice string // words of them
}

// tlsCase is one kind of fault, and what must be said of it.
type tlsCase struct {
	name   string
	serves tlsServes
	scheme string // of the endpoint; "" = https
	host   string // "" = localhost
	says   tlsSaid
	// other is what is said where a program shows the fault in a way of its own.
	other map[string]tlsSaid
	// compat sets tls_compat.
	compat bool
	// swallows puts a relay before the site that drops connections whose first message is large.
	swallows bool
}

var (
	arrives    = tlsSaid{}
	noSuite    = tlsSaid{"tls", "no cipher suite in common", "ECDHE with AES-GCM"}
	noNewTLS   = tlsSaid{"tls", "offers no TLS 1.2", "Enable TLS 1.2 or 1.3"}
	wantsOurs  = tlsSaid{"tls", "asked for a client certificate", "Let this path through without one"}
	ownRoot    = tlsSaid{"tls", "ends at an authority of its own (Company Root)", "not public"}
	plainThere = tlsSaid{"tls", "does not speak TLS but HTTP", "speaks HTTP without TLS"}
	askedHTTP  = tlsSaid{"status_4xx", "400", "must begin with https://"}
	endedHTTP  = tlsSaid{"reset", "", "must begin with https://"}
	without    = tlsSaid{"status_4xx", "403", "Use the name in the endpoint"}
	answerTLS  = tlsSaid{"protocol", "not HTTP but TLS", "must begin with https://"}
	// hungUp is what comes of servers that end connections without an alert: of Node where a name is not
	// served, of the JDK's HTTPS server whatever does not suit it. The advice names all of it.
	hungUp     = tlsSaid{"tls", "ended the connection without an answer to our first message", "ECDHE and AES-GCM or ChaCha20, and that it serves the endpoint's host name"}
	otherSite  = tlsSaid{"tls", "serves no site of the name localhost", "does not serve the endpoint's host name"}
	noNameSent = tlsSaid{"tls", "to an address no name is sent", "Use the name in the endpoint"}
)

var jdkHangsUp = map[string]tlsSaid{"java": hungUp}

// tlsCases are R2's kinds. Those that say nothing of programs hold for all.
var tlsCases = []tlsCase{
	{name: "good"},
	{name: "good, by address", host: "127.0.0.1"},
	{name: "good, chain out of order with its root", serves: tlsServes{chain: "disorder"}},
	{name: "expired", serves: tlsServes{chain: "expired"}, says: tlsSaid{"tls", "the certificate expired on ", "has expired. Renew"}},
	{name: "not yet valid", serves: tlsServes{chain: "future"}, says: tlsSaid{"tls", "is not yet valid: it begins on ", "Wait, or check the clock"}},
	{name: "other name", serves: tlsServes{chain: "other"}, says: tlsSaid{"tls", "for other.example, not for localhost", "Issue one for the name"}},
	{name: "common name alone", serves: tlsServes{chain: "cn"}, says: tlsSaid{"tls", "no subject alternative name", "(SAN)"}},
	{name: "own authority", serves: tlsServes{chain: "own"}, says: ownRoot},
	{name: "self-signed", serves: tlsServes{chain: "self"}, says: tlsSaid{"tls", "is self-signed", "Let's Encrypt"}},
	{name: "missing intermediate", serves: tlsServes{chain: "missing"}, says: tlsSaid{"tls", "the intermediate certificate (Intermediate) is missing", "Install the full chain"}},
	{name: "expired intermediate", serves: tlsServes{chain: "above-expired"}, says: tlsSaid{"tls", "the intermediate certificate (Past intermediate) expired on", "Install the chain anew"}},
	{name: "SHA-1", serves: tlsServes{chain: "sha1"}, says: tlsSaid{"tls", "signed with SHA-1 (localhost)", "SHA-256"}},
	{name: "SHA-1 above", serves: tlsServes{chain: "above-sha1"}, says: tlsSaid{"tls", "signed with SHA-1 (Old intermediate)", "SHA-256"}},
	{name: "RSA of 768 bits", serves: tlsServes{chain: "short"}, says: tlsSaid{"tls", "RSA key is too short", "2048 bits"}},
	{name: "name constraints", serves: tlsServes{chain: "constraints"}, says: tlsSaid{"tls", "name constraints", "another authority"}},
	{name: "not for servers", serves: tlsServes{chain: "usage"}, says: tlsSaid{"tls", "extended key usage", "serverAuth"}},
	{name: "negative serial", serves: tlsServes{chain: "serial"}, says: tlsSaid{"tls", "negative serial number", "positive serial number"}},
	{name: "RSA key exchange", serves: tlsServes{Version: "TLSv1.2", Suites: rsaExchange}, says: noSuite, other: jdkHangsUp},
	{name: "DHE", serves: tlsServes{Version: "TLSv1.2", Suites: dheOnly}, says: noSuite, other: jdkHangsUp},
	{name: "CBC with SHA-256", serves: tlsServes{Version: "TLSv1.2", Suites: cbcOnly}, says: noSuite, other: jdkHangsUp},
	{name: "TLS 1.2 alone", serves: tlsServes{Version: "TLSv1.2"}},
	{name: "TLS 1.1 alone", serves: tlsServes{Version: "TLSv1.1"}, says: noNewTLS, other: jdkHangsUp},
	{name: "client certificate, TLS 1.2", serves: tlsServes{Version: "TLSv1.2", Client: "demands"}, says: wantsOurs},
	{name: "client certificate, TLS 1.3", serves: tlsServes{Client: "demands"}, says: wantsOurs},
	{name: "client certificate asked for", serves: tlsServes{Client: "asks"}},
	{name: "name not served", serves: tlsServes{Strict: true}, says: otherSite, other: map[string]tlsSaid{"node": hungUp, "java": hungUp, "apache": arrives}},
	{name: "address, name wanted", serves: tlsServes{Strict: true}, host: "127.0.0.1", says: noNameSent, other: map[string]tlsSaid{"openssl": arrives, "gnutls": arrives, "node": arrives, "java": arrives, "apache": without}},
	{name: "other protocol", serves: tlsServes{ALPN: "imap"}, says: tlsSaid{"tls", "neither HTTP/2 nor HTTP/1.1", "ALPN http/1.1 or h2"}, other: map[string]tlsSaid{"java": hungUp, "haproxy": arrives}},
	{name: "https to an http port", serves: tlsServes{Plain: true}, says: plainThere, other: map[string]tlsSaid{"java": {"timeout", "nothing came back", "does not speak TLS there"}}},
	{name: "http to an http port", serves: tlsServes{Plain: true}, scheme: "http"},
	{name: "http to a TLS port", scheme: "http", says: endedHTTP, other: map[string]tlsSaid{"nginx": askedHTTP, "apache": askedHTTP, "gnutls": answerTLS}},
	{name: "large first message swallowed", swallows: true, says: tlsSaid{"timeout", "nothing came back", "try tls_compat"}},
	{name: "large first message swallowed, tls_compat", swallows: true, compat: true},
}

// TestTLSStacks is R2: what a developer is told of each kind of fault, at real TLS stacks. The good
// certificate, and what is asked for and not insisted on, are the controls: they deliver.
func TestTLSStacks(t *testing.T) {
	c := newChains(t)
	r := newRig(t, "--egress-ca-file", c.root)
	r.start()
	var told tlsTable
	for _, name := range tlsStacksTried {
		stack := &tlsStacks[slices.IndexFunc(tlsStacks, func(s tlsStack) bool { return s.name == name })]
		t.Run(name, func(t *testing.T) {
			_, err := exec.LookPath(stack.program)
			need(t, err == nil, stack.program+" (make tls-stacks)")
			sites := tlsSites(t, c, stack)
			serveTLS(t, stack, slices.Collect(maps.Values(sites)))
			for i := range tlsCases {
				one := &tlsCases[i]
				if site := sites[one.serves]; site != nil && (one.says != arrives || !stack.silent || !one.swallows) {
					t.Run(one.name, func(t *testing.T) {
						t.Parallel()
						tryTLS(t, &tlsTrial{r, stack, one, site, &told})
					})
				}
			}
		})
	}
	t.Logf("\n%s", strings.Join(slices.Sorted(slices.Values(told.rows)), "\n"))
}

// tlsSites are the sites that the cases need, as far as the stack can serve them.
func tlsSites(t *testing.T, c *chains, stack *tlsStack) map[tlsServes]*tlsSite {
	t.Helper()
	sites := make(map[tlsServes]*tlsSite)
	ports := freePorts(t, len(tlsCases))
	for i, one := range tlsCases {
		if chain := one.serves.chain; stack.can(&one.serves) {
			if chain == "" {
				chain = "good"
			}
			sites[one.serves] = &tlsSite{ports[i], c.dir + "/" + chain + ".pem", c.dir + "/" + chain + ".key", c.root, c, one.serves}
		}
	}
	return sites
}

type tlsTable struct {
	mu   sync.Mutex
	rows []string
}

type tlsTrial struct {
	r     *rig
	stack *tlsStack
	*tlsCase
	site *tlsSite
	told *tlsTable
}

// tryTLS checks the endpoint, and sends it a test.
func tryTLS(t *testing.T, x *tlsTrial) {
	host, scheme, port := x.host, x.scheme, x.site.Port
	if host == "" {
		host = "localhost"
	}
	if scheme == "" {
		scheme = "https"
	}
	if x.swallows {
		port = swallowing(t, x.site.address())
	}
	endpoint := fmt.Sprintf("%s://%s:%d/", scheme, host, port)
	want := x.says
	if own, ok := x.other[x.stack.name]; ok {
		want = own
	}
	checked := x.check(t, endpoint)
	if checked != arrives {
		x.compare(t, "check", checked, want)
	}
	if x.stack.silent && want == arrives {
		if checked != arrives {
			t.Errorf("the check says %+v", checked)
		}
		return
	}
	x.compare(t, "test", x.send(t, endpoint), want)
}

func (x *tlsTrial) compare(t *testing.T, how string, got, want tlsSaid) {
	t.Helper()
	if got.class != want.class || !strings.Contains(got.detail, want.detail) || !strings.Contains(got.advice, want.advice) {
		t.Errorf("%s: %+v\nwant %+v", how, got, want)
	}
	x.told.mu.Lock()
	defer x.told.mu.Unlock()
	x.told.rows = append(x.told.rows, fmt.Sprintf("%-42s | %-8s | %-5s | %-13s | %s | %s", x.name, x.stack.name, how, got.class, got.detail, got.advice))
}

// check is what the check of an endpoint says before it is saved. It waits up to ten seconds, so that
// the large first message is tried by the test alone.
func (x *tlsTrial) check(t *testing.T, endpoint string) tlsSaid {
	t.Helper()
	if x.swallows && !x.compat {
		return arrives
	}
	var p struct {
		OK      bool
		Failure struct {
			Class  string `json:"error_class"`
			Detail string `json:"detail"`
			Advice string `json:"advice"`
		}
	}
	x.post(t, "/v1/webhooks/preflight", map[string]any{"endpoint": endpoint, "tls_compat": x.compat}, &p)
	if p.OK != (p.Failure.Class == "") {
		t.Errorf("%+v", p)
	}
	return tlsSaid{p.Failure.Class, p.Failure.Detail, p.Failure.Advice}
}

// send is what a test says that is sent to the endpoint.
func (x *tlsTrial) send(t *testing.T, endpoint string) tlsSaid {
	t.Helper()
	timeout := 10_000
	if x.swallows && !x.compat {
		timeout = 1000
	}
	var w struct{ ID string }
	x.post(t, "/v1/webhooks", map[string]any{"endpoint": endpoint, "events": []string{"customer"}, "timeout_ms": timeout, "tls_compat": x.compat}, &w)
	var a struct {
		Class  string `json:"error_class"`
		Detail string `json:"error_detail"`
		Advice string
	}
	x.post(t, "/v1/webhooks/"+w.ID+"/test", map[string]any{}, &a)
	if status, answer, err := x.r.call(t.Context(), "DELETE", "/v1/webhooks/"+w.ID, "c1", nil); err != nil || status != 204 {
		t.Errorf("delete: %d %s %v", status, answer, err)
	}
	return tlsSaid{a.Class, a.Detail, a.Advice}
}

func (x *tlsTrial) post(t *testing.T, path string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	status, answer, err := x.r.call(t.Context(), "POST", path, "c1", body)
	if err != nil || status/100 != 2 {
		t.Fatalf("POST %s: %d %s %v", path, status, answer, err)
	}
	decode(t, answer, out)
}

// swallowing is a relay as some old middleboxes are: of a first message of two packets it lets nothing
// through.
func swallowing(t *testing.T, to string) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer nc.Close()
				swallow(nc, to)
			})
		}
	})
	return l.Addr().(*net.TCPAddr).Port
}

func swallow(nc net.Conn, to string) {
	first := make([]byte, 4<<10)
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	n, err := nc.Read(first)
	if err != nil {
		return
	}
	if n > 1400 {
		_, _ = io.Copy(io.Discard, nc) // until the other side gives up
		return
	}
	behind, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer behind.Close()
	if _, err := behind.Write(first[:n]); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(behind, nc)
		behind.Close()
	}()
	_, _ = io.Copy(nc, behind)
	nc.Close()
	<-done
}
