package egress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// MaxEndpoint bounds an endpoint's length in bytes, as written and as normalised.
const MaxEndpoint = 2048

// CheckEndpoint is the check of an endpoint when it is saved. It returns the endpoint normalised
// (scheme and host in lower case, international names in ASCII, default port dropped, a path
// always), or what is wrong with it. It does no I/O: a name is judged by its addresses each time
// that it is connected to; an address written in the URL is judged here already, too.
func CheckEndpoint(rawURL string, policy *Policy) (string, []hook.FieldError) {
	t, err := parseEndpoint(rawURL)
	if err == nil {
		err = policy.judgeTarget(t)
	} else if err.Code == CodeScheme && policy.AllowHTTP {
		err = refuse(CodeScheme, "the endpoint must begin with https:// or http://")
	}
	if err != nil {
		return "", []hook.FieldError{{Field: "endpoint", Code: err.Code, Detail: err.Rule, Hint: err.Hint}}
	}
	return t.endpoint, nil
}

// target is an endpoint taken apart, as far as requests need it.
type target struct {
	endpoint string // normalised
	tls      bool
	host     string     // for the resolver and for SNI; no brackets
	ip       netip.Addr // where host is a literal address
	port     uint16
	hostPort string // as the Host header and :authority carry it
	path     string // the request target
	// prelude is the request line of HTTP/1.1, with Host and Connection. The latter says nothing that
	// HTTP/1.1 does not mean anyway, but some (Apache, Tomcat) tell only then how long they keep it.
	prelude []byte
	url     *url.URL // for HTTP/2
	http1   bool     // HTTP/2 is not offered
}

func (t *target) address() string { return net.JoinHostPort(t.host, strconv.Itoa(int(t.port))) }

func refuse(code, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Rule: fmt.Sprintf(format, args...)}
}

// judgeTarget applies the rules that need no resolver.
func (p *Policy) judgeTarget(t *target) *Refusal {
	if !t.tls && !p.AllowHTTP {
		return refuse(CodeScheme, "the endpoint must begin with https://")
	}
	var err error
	if t.ip.IsValid() {
		err = p.Judge(netip.AddrPortFrom(t.ip, t.port))
	} else if err = p.judgePort(t.port); err == nil && localName(t.host) {
		// RFC 6761 section 6.3: these names are loopback everywhere.
		if err = p.Judge(netip.AddrPortFrom(netip.IPv6Loopback(), t.port)); err != nil {
			err = p.Judge(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), t.port))
		}
	}
	var refusal *Refusal
	errors.As(err, &refusal)
	return refusal
}

func localName(host string) bool { return host == "localhost" || strings.HasSuffix(host, ".localhost") }

// parseEndpoint reads a URL more narrowly than RFC 3986: whatever two parsers might read in two
// ways is refused, with the rule.
func parseEndpoint(raw string) (*target, *Refusal) {
	if raw == "" {
		return nil, refuse(CodeInvalidURL, "an endpoint is needed, as https://example.com/webhooks")
	}
	if len(raw) > MaxEndpoint {
		return nil, refuse(CodeInvalidURL, "the endpoint is longer than %d bytes", MaxEndpoint)
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c == 0x7f || c == '\\' {
			return nil, refuse(CodeInvalidURL, "the endpoint must not contain spaces, control characters or backslashes: %s at character %d", named(rune(c)), i+1)
		}
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return nil, refuse(CodeInvalidURL, "the endpoint must be a full URL, as https://example.com/webhooks")
	}
	scheme = strings.ToLower(scheme)
	if scheme != "https" && scheme != "http" {
		return nil, refuse(CodeScheme, "the endpoint must begin with https://")
	}
	cut := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		cut = i
	}
	authority, path := rest[:cut], rest[cut:]
	if strings.Contains(authority, "@") {
		return nil, refuse(CodeInvalidURL, "the endpoint must not contain a user name or password; use a custom header")
	}
	if strings.Contains(path, "#") {
		return nil, refuse(CodeInvalidURL, "the endpoint must not have a fragment (#…); it would not be sent")
	}
	t := &target{tls: scheme == "https"}
	if err := t.setAuthority(authority); err != nil {
		return nil, err
	}
	if err := t.setPath(path); err != nil {
		return nil, err
	}
	t.endpoint = scheme + "://" + t.hostPort + t.path
	if len(t.endpoint) > MaxEndpoint {
		return nil, refuse(CodeInvalidURL, "the endpoint is longer than %d bytes", MaxEndpoint)
	}
	var err error
	if t.url, err = url.Parse(t.endpoint); err != nil || t.url.RequestURI() != t.path {
		return nil, refuse(CodeInvalidURL, "path or query is malformed (check the percent-encoding)")
	}
	t.prelude = []byte("POST " + t.path + " HTTP/1.1\r\nHost: " + t.hostPort + "\r\nConnection: keep-alive\r\n")
	return t, nil
}

func (t *target) setAuthority(authority string) *Refusal {
	host, port := authority, ""
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") {
		host, port = authority[:i], authority[i+1:]
		if port == "" {
			return refuse(CodeInvalidURL, "a port is missing after the colon")
		}
	}
	t.port = 80
	if t.tls {
		t.port = 443
	}
	fallback := t.port
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || port[0] == '+' || port[0] == '0' {
			return refuse(CodeInvalidURL, "%q is not a port number", port)
		}
		t.port = uint16(n)
	}
	if err := t.setHost(host); err != nil {
		return err
	}
	t.hostPort = t.host
	if t.ip.Is6() {
		t.hostPort = "[" + t.host + "]"
	}
	if t.port != fallback {
		t.hostPort += ":" + strconv.Itoa(int(t.port))
	}
	return nil
}

func (t *target) setHost(host string) *Refusal {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		ip, err := netip.ParseAddr(inner)
		if !closed || err != nil || !ip.Is6() || ip.Zone() != "" {
			return refuse(CodeInvalidURL, "%q is not an IPv6 address", host)
		}
		t.ip = ip.Unmap()
		t.host = t.ip.String()
		return nil
	}
	host = strings.TrimSuffix(host, ".") // the root, which every name ends in, written out
	ascii, err := names.ToASCII(host)
	if again, err2 := names.ToASCII(ascii); err != nil || err2 != nil || again != ascii || !validName(ascii) {
		return refuse(CodeInvalidURL, "%q is not a host name", host) // or one that reads differently each time
	}
	t.host = ascii
	if !endsInNumber(ascii) {
		return nil
	}
	// What remains is an IPv4 address, or one of the spellings that some parsers take for one
	// (decimal, octal, hexadecimal, fewer than four parts).
	if t.ip, err = netip.ParseAddr(ascii); err != nil {
		return refuse(CodeInvalidURL, "%q: an address must be written as four decimal numbers", host)
	}
	return nil
}

// names maps international names as browsers do for a look-up (UTS 46, non-transitional, and hyphens
// wherever the name servers have them).
var names = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.VerifyDNSLength(true),
	idna.StrictDomainName(false), idna.CheckHyphens(false))

// validName accepts letters, digits, hyphens and underscores in labels of 1 to 63.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
				return false
			}
		}
	}
	return true
}

// endsInNumber is the URL standard's test for a host that must be an IPv4 address.
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	digits := strings.Trim(last, "0123456789") == ""
	hex := strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == ""
	return digits || hex
}

// setPath takes path and query by one rule: what RFC 3986 allows there is kept as it is written, to
// the letter case of an escape; of the rest of ASCII, which some servers answer with 400 for ever,
// the percent-encoded form is sent.
func (t *target) setPath(path string) *Refusal {
	if path == "" || path[0] == '?' {
		path = "/" + path
	}
	const hex = "0123456789ABCDEF"
	encoded := make([]byte, 0, len(path)+16)
	for i, r := range path {
		switch {
		case r > 0x7e:
			return refuse(CodeInvalidURL, "path and query must be ASCII, and there is %s in them: percent-encode it, as UTF-8", named(r))
		case strings.ContainsRune(disallowed, r), r == '%' && !isEscape(path[i:]):
			encoded = append(encoded, '%', hex[r>>4], hex[r&15])
		default:
			encoded = append(encoded, byte(r))
		}
	}
	t.path = string(encoded)
	return nil
}

// disallowed is the printable ASCII that has no place in a path or a query (RFC 3986 sections 3.3
// and 3.4); beside the percent sign that begins no escape, and what was refused before.
const disallowed = "\"<>[]^`{|}"

func isEscape(s string) bool {
	isHex := func(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }
	return len(s) >= 3 && isHex(s[1]) && isHex(s[2])
}

// named is a character in an error: itself and its number, the number alone where it cannot be seen.
func named(r rune) string {
	switch {
	case r == ' ':
		return "a space"
	case r == utf8.RuneError:
		return "a byte that is no UTF-8"
	case unicode.IsPrint(r):
		return fmt.Sprintf("%q (U+%04X)", r, r)
	default:
		return fmt.Sprintf("U+%04X", r)
	}
}
