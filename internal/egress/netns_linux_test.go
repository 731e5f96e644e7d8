package egress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// S2 runs in a network namespace in which every address of the Internet, public and private, is this
// process: a canary there sees each connection that any spelling of a URL can bring about, and where
// it was meant to go. The test runs itself again inside; the child prints what it found.

const namespaceChild = "EGRESS_TEST_NAMESPACE_CHILD"

// findings is what the child prints.
type findings struct {
	Spellings   int
	CanaryHits  []string // addresses that must not be reached and were
	Controls    []string // that should have been delivered and were not
	Unguarded   int      // canary hits with the guard off
	NoRoute     string   // class of an attempt without any route
	Descriptors string   // class of an attempt without a descriptor left
	NoIPv6      withoutIPv6
	Trouble     string
}

// withoutIPv6 is what attempts come to on a machine that has none.
type withoutIPv6 struct {
	Errno    string // of a connection to an address of version 6
	Class    string // of an attempt to reach one
	Both     int    // status of an attempt to reach a name that has one of each version
	Before   int    // idle connections, of another webhook
	After    int    // of those, what is left
	Unmended string // the class where the error's number is all that is looked at
}

func TestNoSpellingReachesAPrivateAddress(t *testing.T) {
	if _, err := exec.LookPath("ip"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("CI") != "" { //nolint:forbidigo // a test may ask where it runs
			t.Fatal("this needs root and the command ip (package iproute2) to make a network namespace")
		}
		t.Skip("needs root and the command ip to make a network namespace; CI insists on it")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), namespaceChild+"=1") //nolint:forbidigo // the child is this test again
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	child.Stderr = os.Stderr
	out, err := child.Output()
	if err != nil {
		t.Fatalf("child: %v\n%s", err, out)
	}
	var f findings
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%d spellings; %d canary hits with the guard off", f.Spellings, f.Unguarded)
	if f.Trouble != "" {
		t.Fatal(f.Trouble)
	}
	if len(f.CanaryHits) > 0 {
		t.Errorf("reached: %v", f.CanaryHits)
	}
	if len(f.Controls) > 0 {
		t.Errorf("controls not delivered: %v", f.Controls)
	}
	if f.Spellings < 300 {
		t.Errorf("%d spellings, at least 300 wanted", f.Spellings)
	}
	if f.Unguarded < 60 {
		t.Errorf("with the guard off %d canary hits: this harness cannot show one", f.Unguarded)
	}
	if f.NoRoute != string(hook.ErrOwnFault) {
		t.Errorf("without a route the class is %q", f.NoRoute)
	}
	if x := f.NoIPv6; x.Class != string(hook.ErrConnect) || x.Both != 200 || x.Before == 0 || x.After != x.Before {
		t.Errorf("without IPv6: %+v", x)
	}
	if x := f.NoIPv6; x.Errno != syscall.EADDRNOTAVAIL.Error() || x.Unmended != string(hook.ErrOwnFault) {
		t.Errorf("without IPv6 this machine says %q, and that is of class %q: this harness cannot show what the mend is for", x.Errno, x.Unmended)
	}
	if f.Descriptors != string(hook.ErrOwnFault) {
		t.Errorf("without descriptors the class is %q", f.Descriptors)
	}
}

// runNetworkNamespaceChild is the child's main; TestMain calls it.
func runNetworkNamespaceChild() bool {
	if os.Getenv(namespaceChild) == "" { //nolint:forbidigo // how the child knows itself
		return false
	}
	var f findings
	if err := f.find(); err != nil {
		f.Trouble = err.Error()
	}
	json.NewEncoder(os.Stdout).Encode(f)
	return true
}

func (f *findings) find() error {
	if err := ip("link set lo up"); err != nil {
		return err
	}
	ns, err := listenNames()
	if err != nil {
		return err
	}
	defer ns.nc.Close()
	guarded, err := namespaceClient(ns)
	if err != nil {
		return err
	}
	defer guarded.Close()
	f.NoRoute = classOf(guarded, "http://93.184.216.34/")
	for _, command := range []string{"route add local 0.0.0.0/0 dev lo", "-6 route add local ::/0 dev lo"} {
		if err := ip(command); err != nil {
			return err
		}
	}
	seen := &sightings{hits: make(map[netip.Addr]int)}
	if err := seen.listen("[::]:80", "[::]:443", "[::]:8080"); err != nil {
		return err
	}
	for _, url := range spellings() {
		f.Spellings++
		tryEveryWay(guarded, url)
	}
	f.CanaryHits = seen.private()
	for _, url := range []string{
		"http://93.184.216.34/", "http://[2606:2800:220:1::1]/", "http://public.example/", "http://10.99.0.1/", "http://93.184.216.34:8080/",
	} {
		if a, err := guarded.Do(context.Background(), request(url, 5*time.Second)); err != nil || a.Status != 200 {
			f.Controls = append(f.Controls, fmt.Sprintf("%s: %d %v", url, a.Status, err))
		}
	}
	unguarded, err := namespaceClient(ns)
	if err != nil {
		return err
	}
	defer unguarded.Close()
	unguarded.dialer.unsafe = true
	seen.reset()
	for _, url := range spellings() {
		unguarded.Do(context.Background(), request(url, time.Second))
	}
	f.Unguarded = len(seen.private())
	if f.Descriptors, err = withoutDescriptors(guarded); err != nil {
		return err
	}
	return f.NoIPv6.find(guarded)
}

// find switches IPv6 off. That an address of version 6 has nothing to speak from is about that endpoint,
// and says nothing about the ports of this machine.
func (x *withoutIPv6) find(c *Client) error {
	kept, err := net.Listen("tcp", "93.184.216.34:8081")
	if err != nil {
		return err
	}
	defer kept.Close()
	go func() {
		if nc, err := kept.Accept(); err == nil {
			serveRaw(nc, okAnswer)
			io.Copy(io.Discard, nc)
		}
	}()
	other := request("http://93.184.216.34:8081/", 5*time.Second)
	if _, err := c.Do(context.Background(), other); err != nil {
		return err
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil {
		return err
	}
	x.Before, _ = c.idle()
	_, err = (&net.Dialer{Timeout: time.Second}).Dial("tcp", "[2606:2800:220:1::2]:80")
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		x.Errno = errno.Error()
	}
	x.Unmended = string(networkError(PhaseConnect, err).Class)
	six := request("http://[2606:2800:220:1::2]/", 2*time.Second)
	six.Webhook = 2
	_, err = c.Do(context.Background(), six)
	if e, ok := errors.AsType[*Error](err); ok {
		x.Class = string(e.Class)
	}
	both := request("http://both.example/", 5*time.Second)
	both.Webhook = 3
	answer, err := c.Do(context.Background(), both)
	x.Both = answer.Status
	x.After, _ = c.idle()
	return err
}

func ip(arguments string) error {
	out, err := exec.Command("ip", strings.Fields(arguments)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", arguments, err, out)
	}
	return nil
}

func namespaceClient(ns *nameServer) (*Client, error) {
	networks, err := ParseNetworks([]string{"10.99.0.0/16"})
	if err != nil {
		return nil, err
	}
	return New(Config{
		Policy:   Policy{AllowHTTP: true, AllowNetworks: networks, OwnAddresses: []netip.AddrPort{netip.MustParseAddrPort("[::]:8080")}},
		Resolver: ns.resolver(),
	})
}

// listenNames answers a-10-0-0-1.example and b-fc00--1.example with those addresses, and public.example.
func listenNames() (*nameServer, error) {
	nc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &nameServer{nc: nc, asked: make(map[string]int), answer: func(name string, _ int) *dnsAnswer {
		name = strings.TrimSuffix(name, ".example")
		if name == "public" {
			return &dnsAnswer{addrs: []string{"93.184.216.34"}}
		}
		if name == "both" {
			return &dnsAnswer{addrs: []string{"2606:2800:220:1::2", "93.184.216.34"}}
		}
		text, six := strings.CutPrefix(name, "b-")
		separator := "."
		if six {
			separator = ":"
		}
		text = strings.ReplaceAll(strings.TrimPrefix(text, "a-"), "-", separator)
		if _, err := netip.ParseAddr(text); err != nil {
			return &dnsAnswer{code: dnsmessage.RCodeNameError}
		}
		return &dnsAnswer{addrs: []string{text}}
	}}
	go s.serve()
	return s, nil
}

// sightings counts connections by the address that they were made to.
type sightings struct {
	mu   sync.Mutex
	hits map[netip.Addr]int
}

func (s *sightings) listen(addresses ...string) error {
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				s.mu.Lock()
				s.hits[nc.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()]++
				s.mu.Unlock()
				go func() {
					defer nc.Close()
					serveRaw(nc, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
				}()
			}
		}()
	}
	return nil
}

func (s *sightings) private() (addrs []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := netip.MustParsePrefix("10.99.0.0/16")
	for a := range s.hits {
		if !oracle(netip.AddrFrom16(a.As16())) && !open.Contains(a) {
			addrs = append(addrs, a.String())
		}
	}
	return addrs
}

func (s *sightings) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.hits)
}

// tryEveryWay takes every path by which an endpoint can lead to a connection.
func tryEveryWay(c *Client, url string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c.Preflight(ctx, url, nil, false)
	c.Do(ctx, request(url, 2*time.Second)) // as if it had been saved by an older version
	if normal, errs := CheckEndpoint(url, c.Policy()); errs == nil {
		c.Do(ctx, request(normal, 2*time.Second))
	}
}

func classOf(c *Client, url string) string {
	_, err := c.Do(context.Background(), request(url, 2*time.Second))
	if e, ok := errors.AsType[*Error](err); ok {
		return string(e.Class)
	}
	return fmt.Sprint(err)
}

// withoutDescriptors makes an attempt while the process has no descriptor left.
func withoutDescriptors(c *Client) (class string, err error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return "", err
	}
	none := syscall.Rlimit{Cur: 3, Max: limit.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		return "", err
	}
	defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	return classOf(c, "http://93.184.216.35/"), nil
}

// spellings are URLs of refused addresses, as people and parsers write them.
func spellings() (urls []string) {
	four := []string{
		"127.0.0.1", "127.255.255.254", "10.0.0.1", "10.255.255.254", "172.16.0.1", "172.31.255.254", "192.168.0.1", "192.168.255.254",
		"169.254.169.254", "169.254.0.1", "100.64.0.1", "100.100.100.200", "100.127.255.254", "192.0.0.192", "192.0.2.1", "198.18.0.1",
		"198.19.255.254", "198.51.100.7", "203.0.113.9", "168.63.129.16", "192.88.99.1", "192.31.196.1", "192.52.193.1", "192.175.48.1",
		"0.0.0.0", "0.1.2.3", "240.0.0.1",
	}
	six := []string{
		"::1", "fd00:ec2::254", "fc00::1", "fdff::1", "fec0::1", "64:ff9b::1", "64:ff9b:1::1", "100::1", "2001::1", "2001:2::1",
		"2001:20::1", "2001:db8::1", "2002:a00:1::1", "2620:4f:8000::1", "3ffe::1", "3fff::1", "4000::1", "5f00::1", "8000::1", "e000::1",
		"2001:10::1", "2001:1::1", "2001:3::1", "2001:4:112::1", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
		"::", "::7f00:1", "::ffff:0:7f00:1",
	}
	for _, a := range four {
		var b [4]int
		fmt.Sscanf(a, "%d.%d.%d.%d", &b[0], &b[1], &b[2], &b[3])
		n := b[0]<<24 | b[1]<<16 | b[2]<<8 | b[3]
		wide := strings.NewReplacer("0", "０", "1", "１", "2", "２", "5", "５", "6", "６", "9", "９").Replace(a)
		urls = append(urls,
			a, a+":80", a+":8080", a+".", fmt.Sprint(n), fmt.Sprintf("0x%x", n), fmt.Sprintf("0X%X", n), fmt.Sprintf("0%o", n),
			fmt.Sprintf("0x%x.0x%x.0x%x.0x%x", b[0], b[1], b[2], b[3]), fmt.Sprintf("0%o.0%o.0%o.0%o", b[0], b[1], b[2], b[3]),
			fmt.Sprintf("%d.%d", b[0], n&0xffffff), fmt.Sprintf("%d.%d.%d", b[0], b[1], n&0xffff), fmt.Sprintf("%03d.%03d.%03d.%03d", b[0], b[1], b[2], b[3]),
			wide, strings.ReplaceAll(a, ".", "。"), strings.ReplaceAll(a, ".", "%2e"), "93.184.216.34@"+a, "user:93.184.216.34@"+a,
			"93.184.216.34#@"+a, "93.184.216.34\\@"+a, a+"#.public.example", a+"?.public.example", "["+a+"]",
			"[::ffff:"+a+"]", fmt.Sprintf("[::ffff:%x:%x]", n>>16, n&0xffff), "[::"+a+"]", "[64:ff9b::"+a+"]",
			fmt.Sprintf("[2002:%x:%x::1]", n>>16, n&0xffff), "a-"+strings.ReplaceAll(a, ".", "-")+".example",
		)
	}
	for _, a := range six {
		urls = append(urls, "["+a+"]", "["+strings.ToUpper(a)+"]:80", "["+a+"]:8080", "["+a+"%25lo]", "["+a+"%lo]", "b-"+strings.ReplaceAll(a, ":", "-")+".example")
	}
	urls = append(urls, "localhost", "LOCALHOST", "localhost.", "a.localhost", "localhost:8080", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "0", "00", "0x0", "127.1", "127.0.1", "0x7f.1", "0177.1")
	for i, u := range urls {
		urls[i] = "http://" + u + "/"
	}
	return urls
}
