package egress

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// nameServer answers on loopback what answer says: addresses, or none with a code. A nil answer is
// silence.
type nameServer struct {
	nc     net.PacketConn
	answer func(name string, query int) *dnsAnswer
	mu     sync.Mutex
	asked  map[string]int // queries of each name
	all    []string       // every question, as "A name."
}

type dnsAnswer struct {
	addrs  []string
	code   dnsmessage.RCode
	silent dnsmessage.Type // questions of this type are dropped
}

func newNameServer(t *testing.T, answer func(name string, query int) *dnsAnswer) *nameServer {
	t.Helper()
	nc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{nc: nc, answer: answer, asked: make(map[string]int)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.serve()
	}()
	t.Cleanup(func() {
		nc.Close()
		<-ended
	})
	return s
}

func (s *nameServer) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// resolver asks this server and no other.
func (s *nameServer) resolver() *net.Resolver { return newResolver(s.nc.LocalAddr().String()) }

func (s *nameServer) serve() {
	buf := make([]byte, 1<<10)
	for {
		n, from, err := s.nc.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		if s.reply(&m) {
			if out, err := m.Pack(); err == nil {
				s.nc.WriteTo(out, from)
			}
		}
	}
}

func (s *nameServer) reply(m *dnsmessage.Message) bool {
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	s.mu.Lock()
	s.all = append(s.all, strings.TrimPrefix(q.Type.String(), "Type")+" "+q.Name.String())
	query := s.asked[name]
	if q.Type == dnsmessage.TypeA {
		s.asked[name]++
	}
	s.mu.Unlock()
	a := s.answer(name, query)
	if a == nil || a.silent == q.Type {
		return false
	}
	m.Response, m.RecursionAvailable, m.RCode = true, true, a.code
	m.Additionals = nil
	for _, text := range a.addrs {
		addr := netip.MustParseAddr(text)
		h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
		switch {
		case q.Type == dnsmessage.TypeA && addr.Is4():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: addr.As4()}})
		case q.Type == dnsmessage.TypeAAAA && addr.Is6():
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	return true
}

// canary counts connections on an address that must see none.
func canary(t *testing.T, address string) (port string, hits *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	hits = new(atomic.Int64)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			hits.Add(1)
			nc.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, hits
}

// rebind sends deliveries to a name that resolves now to an open address, now to a refused one, now
// to both. 127.1.0.0/16 plays the public network here, the rest of 127.0.0.0/8 the private one: also
// where a guard is off or broken, nothing leaves this machine.
func rebind(t *testing.T, deliveries int, unsafe bool) (delivered, hits int64) {
	port, seen := canary(t, "127.2.0.1:0")
	l, err := net.Listen("tcp", "127.1.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	open := &acceptor{Listener: l}
	open.run(t)
	ns := newNameServer(t, func(_ string, query int) *dnsAnswer {
		return []*dnsAnswer{
			{addrs: []string{"127.1.0.1"}},
			{addrs: []string{"127.2.0.1"}},
			{addrs: []string{"127.2.0.1", "127.1.0.1"}},
			{addrs: []string{"::ffff:127.2.0.1"}},
			{addrs: []string{"127.1.0.1", "127.2.0.1", "::1", "127.3.0.1"}},
		}[query%5]
	})
	c := newClient(t, func(config *Config) {
		config.Policy = Policy{AllowHTTP: true, AllowNetworks: prefixes(t, "127.1.0.0/16")}
		config.Resolver = ns.resolver()
	})
	c.dialer.unsafe = unsafe
	var ok atomic.Int64
	var sending sync.WaitGroup
	for range 4 {
		sending.Go(func() {
			for range deliveries / 4 {
				a, err := c.Do(t.Context(), request("http://rebind.example:"+port+"/", 10*time.Second))
				if err == nil && a.Status == 200 {
					ok.Add(1)
				}
			}
		})
	}
	sending.Wait()
	return ok.Load(), seen.Load()
}

// acceptor answers one request on each connection and closes it, so that every delivery resolves.
type acceptor struct{ net.Listener }

func (a *acceptor) run(t *testing.T) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 4<<10)
		for {
			nc, err := a.Accept()
			if err != nil {
				return
			}
			nc.SetDeadline(time.Now().Add(time.Second))
			nc.Read(buf)
			nc.Write([]byte("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"))
			nc.Close()
		}
	}()
	t.Cleanup(func() {
		a.Close()
		<-ended
	})
}

// S3: however a name changes its mind, no connection reaches a refused address.
func TestRebinding(t *testing.T) {
	const deliveries = 10_000
	delivered, hits := rebind(t, deliveries, false)
	if hits != 0 {
		t.Errorf("%d connections to the refused address", hits)
	}
	if delivered < deliveries*2/5 {
		t.Errorf("%d of %d delivered, although three answers of five hold an open address", delivered, deliveries)
	}
}

func TestControlRebindingWithoutVerdicts(t *testing.T) {
	if _, hits := rebind(t, 200, true); hits < 60 {
		t.Errorf("%d connections to the refused address: this harness cannot show one", hits)
	}
}

// Whose fault it is that a name has no address is decided by what the name servers do now: a name that
// was never seen is treated as one that resolved before.
func TestNameErrors(t *testing.T) {
	var silent, failing, root atomic.Bool
	root.Store(true)
	ns := newNameServer(t, func(name string, _ int) *dnsAnswer {
		switch {
		case name == "" && failing.Load():
			return &dnsAnswer{code: dnsmessage.RCodeServerFailure}
		case name == "" && root.Load():
			return &dnsAnswer{}
		case name == "missing.example":
			return &dnsAnswer{code: dnsmessage.RCodeNameError}
		case name == "broken.example":
			return &dnsAnswer{code: dnsmessage.RCodeServerFailure}
		case name == "refused.example":
			return &dnsAnswer{code: dnsmessage.RCodeRefused}
		case name == "empty.example":
			return &dnsAnswer{}
		case name == "private.example":
			return &dnsAnswer{addrs: []string{"127.2.0.1", "::1"}} // outside what is allowed below
		case silent.Load():
			return nil
		}
		return &dnsAnswer{addrs: []string{"127.0.0.1"}}
	})
	port, _ := canary(t, "127.0.0.1:0")
	c := newClient(t, func(config *Config) {
		config.Resolver, config.Policy.AllowNetworks = ns.resolver(), prefixes(t, "127.0.0.0/16")
	})
	want := func(host string, timeout time.Duration, class hook.ErrorClass, words string) {
		t.Helper()
		_, err := c.Do(t.Context(), request("http://"+host+":"+port+"/", timeout))
		e := wantClass(t, err, class)
		if !strings.Contains(e.Detail, words) || strings.Contains(e.Detail, "127.") || strings.Contains(e.Detail, "allow_networks") {
			t.Errorf("%s: %q, want %q in it and nothing of our network", host, e.Detail, words)
		}
		if class != hook.ErrReset && class != hook.ErrAddress && e.Phase != PhaseDNS {
			t.Errorf("%s: phase %s", host, e.Phase)
		}
	}
	want("missing.example", 5*time.Second, hook.ErrDNS, "no such host")
	want("empty.example", 5*time.Second, hook.ErrDNS, "neither A nor AAAA")
	want("broken.example", 5*time.Second, hook.ErrDNS, "SERVFAIL")
	want("refused.example", 5*time.Second, hook.ErrDNS, "REFUSED")
	want("private.example", 5*time.Second, hook.ErrAddress, "the name leads to an address")
	want("known.example", 5*time.Second, hook.ErrReset, "") // it resolved; the canary hangs up

	silent.Store(true) // for these names, while the root is known: they are dead, and the resolver is not
	want("known.example", 400*time.Millisecond, hook.ErrTimeout, "resolving")
	want("never-seen.example", 400*time.Millisecond, hook.ErrTimeout, "resolving")
	root.Store(false) // for everything
	want("known.example", 400*time.Millisecond, hook.ErrOwnFault, "does not answer")
	want("never-seen.example", 400*time.Millisecond, hook.ErrOwnFault, "does not answer")
	failing.Store(true) // a forwarder whose own name servers are gone
	want("broken.example", 5*time.Second, hook.ErrOwnFault, "cannot resolve anything")
}

// A name server whose process is gone refuses, which is no answer either.
func TestRefusingResolverIsOurFault(t *testing.T) {
	ns := newNameServer(t, func(string, int) *dnsAnswer { return &dnsAnswer{addrs: []string{"127.0.0.1"}} })
	port, _ := canary(t, "127.0.0.1:0")
	c := newClient(t, func(config *Config) { config.Resolver = ns.resolver() })
	do := func(host string) error {
		_, err := c.Do(t.Context(), request("http://"+host+":"+port+"/", 5*time.Second))
		return err
	}
	wantClass(t, do("known.example"), hook.ErrReset)
	ns.nc.Close()
	wantClass(t, do("known.example"), hook.ErrOwnFault)
	wantClass(t, do("never-seen.example"), hook.ErrOwnFault)
}

// A name server that drops the question for IPv6 addresses costs a moment, not ten seconds.
func TestDroppedQuestion(t *testing.T) {
	ns := newNameServer(t, func(string, int) *dnsAnswer {
		return &dnsAnswer{addrs: []string{"127.0.0.1"}, silent: dnsmessage.TypeAAAA}
	})
	port, _ := canary(t, "127.0.0.1:0")
	c := newClient(t, func(config *Config) { config.Resolver = ns.resolver() })
	const timeout = 4 * time.Second // under the five seconds after which the standard resolver asks again
	_, err := c.Do(t.Context(), request("http://four.example:"+port+"/", timeout))
	wantClass(t, err, hook.ErrReset)
	// The control: one look-up for both does not end in that time.
	ctx, cancel := context.WithTimeout(t.Context(), timeout/4)
	defer cancel()
	if addrs, err := ns.resolver().LookupNetIP(ctx, "ip", "four.example."); err == nil {
		t.Errorf("control: got %v although half of the answer is missing", addrs)
	}
}

// All addresses of a name get their turn, and the error tells of all of them.
func TestManyAddresses(t *testing.T) {
	var addrs []string
	for i := range 20 {
		addrs = append(addrs, fmt.Sprintf("127.9.0.%d", i+1))
	}
	ns := newNameServer(t, func(name string, _ int) *dnsAnswer {
		if name == "dead.example" {
			return &dnsAnswer{addrs: append(addrs[:3:3], "::1")}
		}
		return &dnsAnswer{addrs: append(addrs[:19:19], "127.0.0.1")}
	})
	port, hits := canary(t, "127.0.0.1:0")
	c := newClient(t, func(config *Config) { config.Resolver = ns.resolver() })
	_, err := c.Do(t.Context(), request("http://many.example:"+port+"/", 5*time.Second))
	wantClass(t, err, hook.ErrReset)
	if hits.Load() != 1 {
		t.Errorf("the last of 20 addresses saw %d connections", hits.Load())
	}
	_, err = c.Do(t.Context(), request("http://dead.example:"+port+"/", 5*time.Second))
	e := wantClass(t, err, hook.ErrConnect)
	if !strings.Contains(e.Detail, "connection refused (3 IPv4 addresses)") || !strings.Contains(e.Detail, "(1 IPv6 address)") {
		t.Errorf("the detail is %q", e.Detail)
	}
	// However many there are, they all begin within half of the deadline.
	for _, n := range []int{1, 8, 500} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		r := &race{}
		r.add(ctx, make([]netip.Addr, n))
		if len(r.addrs) != min(n, mostAddresses) || r.interval > stagger || r.interval*time.Duration(len(r.addrs)) > 500*time.Millisecond {
			t.Errorf("%d addresses: %d tried, one every %s", n, len(r.addrs), r.interval)
		}
		cancel()
	}
}

// Preflight connects to the very addresses that it shows: the name is asked for once.
func TestPreflightAsksOnce(t *testing.T) {
	ns := newNameServer(t, func(_ string, query int) *dnsAnswer {
		if query > 0 {
			return &dnsAnswer{code: dnsmessage.RCodeServerFailure}
		}
		return &dnsAnswer{addrs: []string{"127.0.0.1", "127.2.0.1"}}
	})
	port, _ := canary(t, "127.0.0.1:0")
	c := newClient(t, func(config *Config) {
		config.Resolver, config.Policy.AllowNetworks = ns.resolver(), prefixes(t, "127.0.0.0/16")
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r := c.Preflight(ctx, "http://once.example:"+port+"/", nil, false)
	if !r.OK() || len(r.Addresses) != 2 {
		t.Errorf("%+v", r)
	}
	for _, v := range r.Addresses {
		if v.Address.IsValid() != (v.Rule == "") {
			t.Errorf("%+v", v)
		}
	}
	got := slices.DeleteFunc(ns.questions(), func(q string) bool { return strings.HasPrefix(q, "AAAA") })
	if len(got) != 1 {
		t.Errorf("asked %v", got)
	}
}

func TestRefusedAndUnreachable(t *testing.T) {
	c := newClient(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, err = c.Do(t.Context(), request("http://"+address+"/", 5*time.Second))
	e := wantClass(t, err, hook.ErrConnect)
	if e.Phase != PhaseConnect || strings.Contains(e.Detail, "127.0.0.1") {
		t.Errorf("%+v", e)
	}
}

func TestInterleave(t *testing.T) {
	addrs := func(texts ...string) (list []netip.Addr) {
		for _, a := range texts {
			list = append(list, netip.MustParseAddr(a))
		}
		return list
	}
	families := [][]netip.Addr{addrs("1.1.1.1", "::ffff:2.2.2.2"), addrs("2600::1", "2600::2", "2600::3")}
	for _, tt := range []struct {
		routed bool
		want   []netip.Addr
	}{
		{true, addrs("2600::1", "1.1.1.1", "2600::2", "2.2.2.2", "2600::3")},
		{false, addrs("1.1.1.1", "2600::1", "2.2.2.2", "2600::2", "2600::3")},
	} {
		if got := interleave(families, func(netip.Addr) bool { return tt.routed }); !slices.Equal(got, tt.want) {
			t.Errorf("routed %t: %v, want %v", tt.routed, got, tt.want)
		}
	}
}

// One address that does not answer delays the next by no more than the stagger.
func TestRacePassesOverTheDead(t *testing.T) {
	port, hits := canary(t, "127.0.0.1:0")
	ns := newNameServer(t, func(string, int) *dnsAnswer { return &dnsAnswer{addrs: []string{"127.0.0.9", "127.0.0.1"}} })
	c := newClient(t, func(config *Config) { config.Resolver = ns.resolver() })
	_, err := c.Do(t.Context(), request("http://two.example:"+port+"/", 5*time.Second))
	wantClass(t, err, hook.ErrReset)
	if hits.Load() != 1 {
		t.Errorf("%d connections", hits.Load())
	}
}
