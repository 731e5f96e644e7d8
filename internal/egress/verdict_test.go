package egress

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
)

// The oracle of this test is written from IANA's special-purpose registries as ranges of numbers, so
// that it shares neither tables nor prefix arithmetic with the code.
var specialV4 = [][2]string{
	{"0.0.0.0", "0.255.255.255"},
	{"10.0.0.0", "10.255.255.255"},
	{"100.64.0.0", "100.127.255.255"},
	{"127.0.0.0", "127.255.255.255"},
	{"168.63.129.16", "168.63.129.16"},
	{"169.254.0.0", "169.254.255.255"},
	{"172.16.0.0", "172.31.255.255"},
	{"192.0.0.0", "192.0.0.255"},
	{"192.0.2.0", "192.0.2.255"},
	{"192.31.196.0", "192.31.196.255"},
	{"192.52.193.0", "192.52.193.255"},
	{"192.88.99.0", "192.88.99.255"},
	{"192.168.0.0", "192.168.255.255"},
	{"192.175.48.0", "192.175.48.255"},
	{"198.18.0.0", "198.19.255.255"},
	{"198.51.100.0", "198.51.100.255"},
	{"203.0.113.0", "203.0.113.255"},
	{"224.0.0.0", "255.255.255.255"},
}

var specialV6 = [][2]string{
	{"::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},           // below global unicast
	{"2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"},        // IETF protocols, Teredo, ORCHID
	{"2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"},    // documentation
	{"2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},       // 6to4
	{"2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"}, // AS112
	{"3ffe::", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},       // 6bone
	{"3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"},        // documentation
	{"4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},       // beyond global unicast
	{"64:ff9b::", "64:ff9b::ffff:ffff"},                         // NAT64 (also in the first)
	{"64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"},       // local NAT64 (likewise)
	{"100::", "100::ffff:ffff:ffff:ffff"},                       // discard (likewise)
	{"5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},       // segment routing (beyond)
	{"fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},       // unique local (beyond)
	{"fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},       // link-local (beyond)
	{"ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},       // multicast (beyond)
	{"2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff"},      // ORCHIDv2 (in IETF)
	{"2001:4:112::", "2001:4:112:ffff:ffff:ffff:ffff:ffff"},     // AS112-v6 (in IETF)
	{"2001:3::", "2001:3:ffff:ffff:ffff:ffff:ffff:ffff"},        // AMT (in IETF)
	{"2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"},           // benchmarking (in IETF)
	{"2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff"},      // drone remote id (in IETF)
	{"::ffff:0:0:0", "::ffff:0:ffff:ffff"},                      // translated (in the first)
}

type wide struct{ hi, lo uint64 }

func wideOf(a netip.Addr) wide {
	b := a.As16()
	return wide{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (w wide) less(v wide) bool { return w.hi < v.hi || w.hi == v.hi && w.lo < v.lo }

func (w wide) addr() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], w.hi)
	binary.BigEndian.PutUint64(b[8:], w.lo)
	return netip.AddrFrom16(b)
}

// step is w ± 1.
func (w wide) step(up bool) wide {
	if up {
		if w.lo++; w.lo == 0 {
			w.hi++
		}
		return w
	}
	if w.lo == 0 {
		w.hi--
	}
	w.lo--
	return w
}

var ranges4, ranges6 = func() (four, six [][2]wide) {
	for _, r := range specialV4 {
		four = append(four, [2]wide{wideOf(netip.MustParseAddr(r[0])), wideOf(netip.MustParseAddr(r[1]))})
	}
	for _, r := range specialV6 {
		six = append(six, [2]wide{wideOf(netip.MustParseAddr(r[0])), wideOf(netip.MustParseAddr(r[1]))})
	}
	return
}()

// oracle says whether the default policy must let an address pass. A mapped address is what it maps.
func oracle(a netip.Addr) bool {
	w := wideOf(a)
	ranges := ranges6
	if w.hi == 0 && w.lo>>32 == 0xffff {
		ranges = ranges4
	}
	for _, r := range ranges {
		if !w.less(r[0]) && !r[1].less(w) {
			return false
		}
	}
	return true
}

// forms are an IPv4 address and the IPv6 addresses that carry it.
func forms(a netip.Addr) []netip.Addr {
	four := a.As4()
	var mapped, nat, nat48, six, teredoServer, teredoClient, compatible [16]byte
	mapped[10], mapped[11] = 0xff, 0xff
	copy(mapped[12:], four[:])
	copy(nat[:], []byte{0, 0x64, 0xff, 0x9b})
	copy(nat[12:], four[:])
	copy(nat48[:], []byte{0, 0x64, 0xff, 0x9b, 0, 1, four[0], four[1], 0, four[2], four[3]})
	copy(six[:], []byte{0x20, 0x02, four[0], four[1], four[2], four[3]})
	copy(teredoServer[:], []byte{0x20, 0x01, 0, 0, four[0], four[1], four[2], four[3]})
	copy(teredoClient[:], []byte{0x20, 0x01, 0, 0, 8, 8, 8, 8, 0, 0, 0, 0, ^four[0], ^four[1], ^four[2], ^four[3]})
	copy(compatible[12:], four[:])
	all := []netip.Addr{a}
	for _, b := range [][16]byte{mapped, nat, nat48, six, teredoServer, teredoClient, compatible} {
		all = append(all, netip.AddrFrom16(b))
	}
	return all
}

func checkVerdict(t *testing.T, p *Policy, a netip.Addr) {
	err := p.Judge(netip.AddrPortFrom(a, 443))
	if allowed := err == nil; allowed != oracle(a) {
		t.Errorf("%s: allowed = %v (%v), the oracle says %v", a, allowed, err, oracle(a))
	}
	var r *Refusal
	if err != nil && (!errors.As(err, &r) || r.Code != CodeAddress || r.Rule == "") {
		t.Errorf("%s: %#v is no proper refusal", a, err)
	}
}

// S1: both ends of every special range and their neighbours, in every form.
func TestVerdictAtTheBorders(t *testing.T) {
	p := &Policy{}
	for _, r := range ranges4 {
		for _, w := range []wide{r[0], r[0].step(false), r[1], r[1].step(true)} {
			if w.hi != 0 || w.lo>>32 != 0xffff {
				continue // before 0.0.0.0, after 255.255.255.255
			}
			for _, a := range forms(w.addr().Unmap()) {
				checkVerdict(t, p, a)
			}
		}
	}
	for _, r := range ranges6 {
		for _, w := range []wide{r[0], r[0].step(false), r[1], r[1].step(true)} {
			checkVerdict(t, p, w.addr())
		}
	}
}

// S1: a million random addresses: all over, and crowded around the special ranges.
func TestVerdictOnRandomAddresses(t *testing.T) {
	const each = 250_000
	p := &Policy{}
	var workers sync.WaitGroup
	defer workers.Wait()
	for worker := range 4 {
		workers.Go(func() {
			seed := rand.Uint64()
			dice := rand.New(rand.NewPCG(seed, uint64(worker)))
			for range each {
				checkVerdict(t, p, randomAddr(dice))
				if t.Failed() {
					t.Errorf("seed %d, worker %d", seed, worker)
					return
				}
			}
		})
	}
}

func randomAddr(dice *rand.Rand) netip.Addr {
	four := func(n uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	switch dice.IntN(6) {
	case 0:
		return four(dice.Uint32())
	case 1: // near a range
		r := ranges4[dice.IntN(len(ranges4))]
		return four(uint32(r[dice.IntN(2)].lo) + uint32(dice.IntN(513)) - 256)
	case 2:
		all := forms(four(dice.Uint32()))
		return all[dice.IntN(len(all))]
	case 3:
		return wide{dice.Uint64(), dice.Uint64()}.addr()
	case 4: // in global unicast
		return wide{dice.Uint64()>>3 | 1<<61, dice.Uint64()}.addr()
	default:
		r := ranges6[dice.IntN(len(ranges6))]
		w := r[dice.IntN(2)]
		return wide{w.hi + uint64(dice.IntN(5)) - 2, w.lo + dice.Uint64()>>dice.IntN(64)}.addr()
	}
}

func FuzzVerdict(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add(netip.MustParseAddr("64:ff9b::a9fe:a9fe").AsSlice())
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := netip.AddrFromSlice(b); ok {
			checkVerdict(t, &Policy{}, a)
		}
	})
}

func prefixes(t *testing.T, texts ...string) []netip.Prefix {
	t.Helper()
	n, err := ParseNetworks(texts)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPolicy(t *testing.T) {
	own := []netip.AddrPort{netip.MustParseAddrPort("[::]:8080"), netip.MustParseAddrPort("127.0.0.1:9090")}
	tests := []struct {
		name    string
		policy  Policy
		to      string
		allowed bool
	}{
		{"public", Policy{}, "93.184.216.34:443", true},
		{"any other port", Policy{}, "93.184.216.34:8443", true},
		{"ssh", Policy{}, "93.184.216.34:22", false},
		{"smtp", Policy{}, "93.184.216.34:25", false},
		{"irc", Policy{}, "93.184.216.34:6667", false},
		{"port 0", Policy{}, "93.184.216.34:0", false},
		{"blocked although listed", Policy{AllowPorts: []uint16{25}}, "93.184.216.34:25", false},
		{"not listed", Policy{AllowPorts: []uint16{443}}, "93.184.216.34:8443", false},
		{"listed", Policy{AllowPorts: []uint16{443, 8443}}, "93.184.216.34:8443", true},
		{"opened", Policy{AllowNetworks: prefixes(t, "10.0.0.0/8")}, "10.1.2.3:443", true},
		{"opened, mapped", Policy{AllowNetworks: prefixes(t, "10.0.0.0/8")}, "[::ffff:10.1.2.3]:443", true},
		{"opened by a mapped range", Policy{AllowNetworks: prefixes(t, "::ffff:10.0.0.0/104")}, "10.1.2.3:443", true},
		{"beside what is opened", Policy{AllowNetworks: prefixes(t, "10.0.0.0/8")}, "11.0.0.1:443", true},
		{"other private", Policy{AllowNetworks: prefixes(t, "10.0.0.0/8")}, "192.168.0.1:443", false},
		{"denied", Policy{DenyNetworks: prefixes(t, "93.184.216.0/24")}, "93.184.216.34:443", false},
		{"denied wins", Policy{AllowNetworks: prefixes(t, "10.0.0.0/8"), DenyNetworks: prefixes(t, "10.0.0.1")}, "10.0.0.1:443", false},
		{"denied, mapped", Policy{DenyNetworks: prefixes(t, "93.184.216.0/24")}, "[::ffff:93.184.216.34]:443", false},
		{"NAT64 opened, public inside", Policy{AllowNetworks: prefixes(t, "64:ff9b::/96")}, "[64:ff9b::5db8:d822]:443", true},
		{"NAT64 opened, metadata inside", Policy{AllowNetworks: prefixes(t, "64:ff9b::/96")}, "[64:ff9b::a9fe:a9fe]:443", false},
		{"NAT64 opened, denied inside", Policy{AllowNetworks: prefixes(t, "64:ff9b::/96"), DenyNetworks: prefixes(t, "93.184.216.0/24")}, "[64:ff9b::5db8:d822]:443", false},
		{"6to4 opened, private inside", Policy{AllowNetworks: prefixes(t, "2002::/16")}, "[2002:a00:1::1]:443", false},
		{"Teredo opened, private client", Policy{AllowNetworks: prefixes(t, "2001::/32")}, "[2001:0:808:808::f5ff:fffe]:443", false},
		{"everything opened", Policy{AllowNetworks: prefixes(t, "0.0.0.0/0")}, "127.0.0.1:443", true},
		{"own port, any address", Policy{AllowNetworks: prefixes(t, "127.0.0.0/8"), OwnAddresses: own}, "127.0.0.5:8080", false},
		{"own port, IPv6", Policy{AllowNetworks: prefixes(t, "::1"), OwnAddresses: own}, "[::1]:8080", false},
		{"own port elsewhere", Policy{OwnAddresses: own}, "93.184.216.34:8080", true},
		{"own address", Policy{AllowNetworks: prefixes(t, "127.0.0.0/8"), OwnAddresses: own}, "127.0.0.1:9090", false},
		{"own port, spelled as any address", Policy{AllowNetworks: prefixes(t, "0.0.0.0/0"), OwnAddresses: own}, "0.0.0.0:9090", false},
		{"own port, spelled as any IPv6 address", Policy{AllowNetworks: prefixes(t, "::/0"), OwnAddresses: own}, "[::]:9090", false},
		{"own port, spelled as any address, mapped", Policy{AllowNetworks: prefixes(t, "0.0.0.0/0", "::/0"), OwnAddresses: own}, "[::ffff:0.0.0.0]:9090", false},
		{"any address, opened, another port", Policy{AllowNetworks: prefixes(t, "0.0.0.0/0"), OwnAddresses: own}, "0.0.0.0:9091", true},
		{"not own address", Policy{AllowNetworks: prefixes(t, "127.0.0.0/8"), OwnAddresses: own}, "127.0.0.2:9090", true},
		{"zone", Policy{AllowNetworks: prefixes(t, "fe80::/10")}, "[fe80::1%lo]:443", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.policy.Judge(netip.MustParseAddrPort(tt.to)); (err == nil) != tt.allowed {
				t.Errorf("%s: %v, want allowed = %v", tt.to, err, tt.allowed)
			}
		})
	}
}

func TestPolicyWith(t *testing.T) {
	p := &Policy{DenyNetworks: prefixes(t, "10.9.0.0/16")}
	q := p.With(prefixes(t, "10.0.0.0/8"))
	for to, allowed := range map[string]bool{"10.1.0.1:443": true, "10.9.0.1:443": false, "192.168.0.1:443": false} {
		if err := q.Judge(netip.MustParseAddrPort(to)); (err == nil) != allowed {
			t.Errorf("%s with the company's list: %v", to, err)
		}
		if err := p.Judge(netip.MustParseAddrPort(to)); err == nil {
			t.Errorf("%s passes without the company's list", to)
		}
	}
}

func TestParseNetworks(t *testing.T) {
	for _, bad := range []string{"", "10.0.0.0/33", "10.1.2.3/8", "example.com", "10.0.0.0/8/8", "fe80::1%eth0"} {
		if n, err := ParseNetworks([]string{bad}); err == nil {
			t.Errorf("%q was read as %v", bad, n)
		}
	}
	if n := prefixes(t, " 10.0.0.0/8 ", "::1", "192.168.1.1"); n[1].Bits() != 128 || n[2].Bits() != 32 {
		t.Errorf("got %v", n)
	}
}
