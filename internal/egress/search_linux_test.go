package egress

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

const searchListChild = "EGRESS_TEST_SEARCH_LIST_CHILD"

// The search list of this machine, as Kubernetes writes it into resolv.conf, is not for endpoints: a
// customer's name is looked up as it is, with one question for each family. The test runs itself again
// where /etc/resolv.conf has such a list.
func TestSearchList(t *testing.T) {
	if os.Getenv(searchListChild) != "" { //nolint:forbidigo // set by the test itself
		underSearchList(t)
		return
	}
	if _, err := exec.LookPath("unshare"); err != nil || os.Geteuid() != 0 {
		t.Skip("needs root and the command unshare, to have a resolv.conf of its own")
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.53\nsearch corp.test svc.cluster.local\noptions ndots:5\n"), 0o644); err != nil { //nolint:gosec // resolv.conf is for everybody
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, "unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, conf, os.Args[0], "-test.run=^TestSearchList$", "-test.v")
	child.Env = append(os.Environ(), searchListChild+"=1") //nolint:forbidigo // the child is this test again
	out, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestSearchList") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func underSearchList(t *testing.T) {
	ns := newNameServer(t, func(name string, _ int) *dnsAnswer {
		switch {
		case strings.HasSuffix(name, ".corp.test"): // as where the company has a wildcard of its own
			return &dnsAnswer{addrs: []string{"127.9.9.9"}}
		case name == "api.customer.example":
			return &dnsAnswer{addrs: []string{"127.0.0.1"}}
		}
		return &dnsAnswer{code: dnsmessage.RCodeNameError}
	})
	port, hits := canary(t, "127.0.0.1:0")
	c := newClient(t, func(config *Config) { config.Resolver = ns.resolver() })
	_, err := c.Do(t.Context(), request("http://api.customer.example:"+port+"/", 5*time.Second))
	wantClass(t, err, hook.ErrReset) // the canary hangs up
	got := ns.questions()
	slices.Sort(got)
	if want := []string{"A api.customer.example.", "AAAA api.customer.example."}; !slices.Equal(got, want) || hits.Load() != 1 {
		t.Errorf("asked %v, want %v; %d connections", got, want, hits.Load())
	}
	// The control: without the dot at its end, the name becomes the company's own.
	addrs, err := ns.resolver().LookupNetIP(t.Context(), "ip4", "api.customer.example")
	if err != nil || addrs[0].String() != "127.9.9.9" {
		t.Errorf("control: %v, %v", addrs, err)
	}
}

// Names of one label that this machine's hosts file has resolve, although name servers know nothing of
// them; others do not become what the hosts file has.
func TestHostsFile(t *testing.T) {
	ns := newNameServer(t, func(string, int) *dnsAnswer { return &dnsAnswer{code: dnsmessage.RCodeNameError} })
	port, hits := canary(t, "127.0.0.1:0")
	c := newClient(t, func(config *Config) { config.Resolver = ns.resolver() })
	_, err := c.Do(t.Context(), request("http://localhost:"+port+"/", 5*time.Second))
	wantClass(t, err, hook.ErrReset) // the canary hangs up
	if hits.Load() != 1 || len(ns.questions()) != 0 {
		t.Errorf("%d connections; asked %v", hits.Load(), ns.questions())
	}
	_, err = c.Do(t.Context(), request("http://nowhere:"+port+"/", 5*time.Second))
	wantClass(t, err, hook.ErrDNS)
	// The control: with the dot at its end, as all other names are looked up, it is not found.
	if addrs, err := ns.resolver().LookupNetIP(t.Context(), "ip4", "localhost."); err == nil {
		t.Errorf("control: %v", addrs)
	}
}
