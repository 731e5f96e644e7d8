package egress

import (
	"errors"
	"net"
	"net/netip"
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
}

type dnsAnswer struct {
	addrs []string
	code  dnsmessage.RCode
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
	query := s.asked[name]
	if q.Type == dnsmessage.TypeA {
		s.asked[name]++
	}
	s.mu.Unlock()
	a := s.answer(name, query)
	if a == nil {
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

func TestNameErrors(t *testing.T) {
	var silent atomic.Bool
	ns := newNameServer(t, func(name string, _ int) *dnsAnswer {
		switch name {
		case "missing.example":
			return &dnsAnswer{code: dnsmessage.RCodeNameError}
		case "broken.example":
			return &dnsAnswer{code: dnsmessage.RCodeServerFailure}
		case "other.example":
			return &dnsAnswer{addrs: []string{"127.0.0.1"}}
		case "private.example":
			return &dnsAnswer{addrs: []string{"127.2.0.1", "::1"}} // outside what is allowed below
		}
		if silent.Load() {
			return nil
		}
		return &dnsAnswer{addrs: []string{"127.0.0.1"}}
	})
	port, _ := canary(t, "127.0.0.1:0")
	c := newClient(t, func(config *Config) {
		config.Resolver, config.Policy.AllowNetworks = ns.resolver(), prefixes(t, "127.0.0.0/16")
	})
	do := func(host string, timeout time.Duration) error {
		_, err := c.Do(t.Context(), request("http://"+host+":"+port+"/", timeout))
		return err
	}
	wantClass(t, do("missing.example", 5*time.Second), hook.ErrDNS)
	wantClass(t, do("broken.example", 5*time.Second), hook.ErrDNS)
	wantClass(t, do("private.example", 5*time.Second), hook.ErrAddress)
	wantClass(t, do("known.example", 5*time.Second), hook.ErrReset) // it resolved; the canary hangs up
	silent.Store(true)
	if e := wantClass(t, do("known.example", 300*time.Millisecond), hook.ErrOwnFault); e.Phase != PhaseDNS {
		t.Errorf("phase %s", e.Phase)
	}
	if e := wantClass(t, do("never-seen.example", 300*time.Millisecond), hook.ErrTimeout); e.Phase != PhaseDNS {
		t.Errorf("phase %s", e.Phase)
	}
	// Somebody else gets an answer meanwhile, so the resolver is alive and the name is dead.
	var waiting sync.WaitGroup
	waiting.Go(func() {
		var e *Error
		if err := do("known.example", time.Second); !errors.As(err, &e) || e.Class != hook.ErrTimeout {
			t.Errorf("%+v although the resolver answers others", err)
		}
	})
	for asked := 0; asked < 2; { // until the name has been asked for again
		ns.mu.Lock()
		asked = ns.asked["known.example"] - 1
		ns.mu.Unlock()
	}
	wantClass(t, do("other.example", 5*time.Second), hook.ErrReset)
	waiting.Wait()
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
	wantClass(t, do("never-seen.example"), hook.ErrDNS)
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
	var in, want []netip.Addr
	for _, a := range []string{"2600::1", "2600::2", "1.1.1.1", "::ffff:2.2.2.2", "2600::3"} {
		in = append(in, netip.MustParseAddr(a))
	}
	for _, a := range []string{"2600::1", "1.1.1.1", "2600::2", "2.2.2.2", "2600::3"} {
		want = append(want, netip.MustParseAddr(a))
	}
	got := interleave(in)
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %v, want %v", got, want)
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
