package egress

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"code.dny.dev/ssrf"
)

// Policy says where requests may go. The zero value is the safe default: https to public addresses
// on any port that browsers do not block. It must not be changed once a [Client] has it.
type Policy struct {
	// AllowHTTP also lets endpoints be plain http.
	AllowHTTP bool
	// AllowNetworks opens ranges that are refused otherwise (private, loopback, reserved).
	AllowNetworks []netip.Prefix
	// DenyNetworks closes ranges for good: it wins over AllowNetworks.
	DenyNetworks []netip.Prefix
	// AllowPorts restricts the ports; empty means any. Blocked ports stay blocked either way.
	AllowPorts []uint16
	// OwnAddresses is where this process itself listens: never a destination, even inside
	// AllowNetworks. An unspecified address (":8080") stands for every address of this machine.
	OwnAddresses []netip.AddrPort
}

// Refusal is a verdict against a destination. Code is stable (address_not_allowed,
// port_not_allowed), Rule a sentence that names the rule. Hint is for the operator alone: which of
// their settings it is about. "" for none.
type Refusal struct {
	Code, Rule string
	Hint       string
}

func (r *Refusal) Error() string { return r.Rule }

// refusedAddress is all that owners of webhooks hear of a refused address to which a name led: which
// one it was, and what there is in our network, is nobody's business.
const refusedAddress = "the name leads to an address that this server does not connect to"

// closed is a refusal of an address that stands in an endpoint itself. The rule tells nothing of the
// operator's settings.
func closed(addr netip.Addr, kind, hint string) *Refusal {
	return &Refusal{Code: CodeAddress, Rule: fmt.Sprintf("%s is %s, to which no connection is made", addr, kind), Hint: hint}
}

const noneOfYours = "an address that is not open to webhooks"

// Codes of a [Refusal] and of the errors of [CheckEndpoint].
const (
	CodeInvalidURL = "invalid_url"
	CodeScheme     = "scheme_not_allowed"
	CodeAddress    = "address_not_allowed"
	CodePort       = "port_not_allowed"
)

// With returns the policy for one company, whose own list opens further ranges.
func (p *Policy) With(company []netip.Prefix) *Policy {
	if len(company) == 0 {
		return p
	}
	q := *p
	q.AllowNetworks = slices.Concat(p.AllowNetworks, company)
	return &q
}

// Judge says whether a connection to that very address may be made: nil, or the *[Refusal]. It is
// what the dialer asks for every address that it is about to connect to, after DNS.
func (p *Policy) Judge(to netip.AddrPort) error {
	if err := p.judgePort(to.Port()); err != nil {
		return err
	}
	if p.own(to) {
		return closed(to.Addr(), noneOfYours, "this server listens there itself")
	}
	return p.judgeAddr(to.Addr())
}

func (p *Policy) judgePort(port uint16) error {
	switch {
	case Blocked(port):
		return &Refusal{Code: CodePort, Rule: fmt.Sprintf("port %d is never used for webhooks (it belongs to another protocol)", port)}
	case len(p.AllowPorts) > 0 && !slices.Contains(p.AllowPorts, port):
		return &Refusal{Code: CodePort, Rule: fmt.Sprintf("port %d is not among the ports that this server allows", port)}
	}
	return nil
}

// judgeAddr is the rule: denied ranges, then every IPv4 address that the address carries inside,
// then the opened ranges, then the special-purpose registries of IANA.
func (p *Policy) judgeAddr(addr netip.Addr) error {
	if !addr.IsValid() {
		return &Refusal{Code: CodeAddress, Rule: "not an address"}
	}
	if addr.Zone() != "" {
		return closed(addr, "an address of a local interface", "")
	}
	addr = addr.Unmap() // the kernel connects a mapped address by IPv4
	if contains(p.DenyNetworks, addr) {
		return closed(addr, noneOfYours, "deny_networks closes it")
	}
	for _, inner := range embedded(addr) {
		if err := p.judgeAddr(inner); err != nil {
			return closed(addr, noneOfYours, fmt.Sprintf("it leads to %s, which is refused", inner))
		}
	}
	if contains(p.AllowNetworks, addr) {
		return nil
	}
	if err := public.SafeAddr(addr); err != nil {
		return closed(addr, kind(addr), "allow_networks can open it")
	}
	return nil
}

// public knows IANA's tables. To them we add Azure's host address, which answers like a link-local
// one, and the returned 6bone range, which nobody announces.
var public = ssrf.New(
	ssrf.WithAnyPort(),
	ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix("168.63.129.16/32")),
	ssrf.WithDeniedV6Prefixes(netip.MustParsePrefix("3ffe::/16")),
)

// Ranges whose addresses carry an IPv4 address to which a translator or relay forwards.
var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")   // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")      // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")      // RFC 4380
	compatible = netip.MustParsePrefix("::/96")          // RFC 4291 section 2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96")
)

// embedded returns the IPv4 addresses that an IPv6 address stands for. All of its ranges are closed
// by default; this matters where the operator opened one, as 64:ff9b::/96 behind a NAT64.
func embedded(addr netip.Addr) []netip.Addr {
	if addr.Is4() {
		return nil
	}
	b := addr.As16()
	v4 := func(at int) netip.Addr { return netip.AddrFrom4([4]byte(b[at : at+4])) }
	switch {
	case addr.IsLoopback() || addr.IsUnspecified():
		return nil
	case nat64.Contains(addr), compatible.Contains(addr), translated.Contains(addr):
		return []netip.Addr{v4(12)}
	case nat64Local.Contains(addr):
		// A prefix of 48 bits carries the address around the octet 8; one of 96 bits at the end.
		return []netip.Addr{netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}), v4(12)}
	case sixToFour.Contains(addr):
		return []netip.Addr{v4(2)}
	case teredo.Contains(addr):
		client := netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
		return []netip.Addr{v4(4), client}
	}
	return nil
}

// own reports whether the destination is one of our own listeners. When the machine's addresses
// cannot be read, everything on one of our ports counts as ours.
func (p *Policy) own(to netip.AddrPort) bool {
	addr := to.Addr().Unmap().WithZone("")
	for _, o := range p.OwnAddresses {
		if o.Port() != to.Port() {
			continue
		}
		// The kernel connects the unspecified address to this machine.
		if o.Addr().Unmap() == addr || addr.IsUnspecified() || o.Addr().IsUnspecified() && local(addr) {
			return true
		}
	}
	return false
}

func local(addr netip.Addr) bool {
	if addr.IsLoopback() || addr.IsUnspecified() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err != nil || p.Addr().Unmap().WithZone("") == addr {
			return true
		}
	}
	return false
}

func contains(networks []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// kind puts a refused address into words.
func kind(addr netip.Addr) string {
	switch {
	case addr.IsLoopback():
		return "a loopback address"
	case addr.IsPrivate():
		return "a private address"
	case addr.IsLinkLocalUnicast():
		return "a link-local address"
	case addr.IsMulticast():
		return "a multicast address"
	}
	return "a reserved address"
}

// ParseNetworks reads ranges in CIDR notation, or single addresses, for Policy's lists. Host bits
// that are set are an error: 10.1.2.3/8 is more often a slip than a wish for 10.0.0.0/8.
func ParseNetworks(texts []string) ([]netip.Prefix, error) {
	var networks []netip.Prefix
	for _, text := range texts {
		n, err := parseNetwork(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("network %q: %w", text, err)
		}
		networks = append(networks, n)
	}
	return networks, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("not a network in CIDR notation or an address")
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	n, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("not a network in CIDR notation or an address")
	}
	if n.Addr().Is4In6() && n.Bits() >= 96 {
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	if n.Masked() != n {
		return netip.Prefix{}, fmt.Errorf("bits are set beyond the prefix; write %s", n.Masked())
	}
	return n, nil
}
