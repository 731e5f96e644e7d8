package egress

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// S6: what is refused when an endpoint is saved, with the code of the rule.
func TestCheckEndpoint(t *testing.T) {
	tests := []struct{ raw, want string }{ // want: the normalised endpoint, or a code
		{"https://example.com", "https://example.com/"},
		{"HTTPS://Example.COM:443/Path?Query=1", "https://example.com/Path?Query=1"},
		{"https://example.com:8443", "https://example.com:8443/"},
		{"https://example.com?x=1", "https://example.com/?x=1"},
		{"https://example.com/a%20b/../c//d;e?x=%0a&", "https://example.com/a%20b/../c//d;e?x=%0a&"},
		{"https://example.com/?", "https://example.com/?"},
		// One rule for path and query: what RFC 3986 does not allow is percent-encoded, all else is kept.
		{`https://example.com/"<>[]^` + "`" + `{|}?"<>[]^` + "`" + `{|}`, "https://example.com/%22%3C%3E%5B%5D%5E%60%7B%7C%7D?%22%3C%3E%5B%5D%5E%60%7B%7C%7D"},
		{"https://example.com/50%/%zz?a=%&b=%4&c=%4g&d=100%", "https://example.com/50%25/%25zz?a=%25&b=%254&c=%254g&d=100%25"},
		{"https://example.com/%2f%2F+//../.;?a[]=1&b=%5b%5B+", "https://example.com/%2f%2F+//../.;?a%5B%5D=1&b=%5b%5B+"},
		{"https://example.com/-._~!$&'()*+,;=:@/?-._~!$&'()*+,;=:@/?", "https://example.com/-._~!$&'()*+,;=:@/?-._~!$&'()*+,;=:@/?"},
		{"https://example.com?{x}", "https://example.com/?%7Bx%7D"},
		{"https://example.com//two", "https://example.com//two"},
		{"https://bücher.example/", "https://xn--bcher-kva.example/"},
		{"https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"},
		{"https://my_host.example.com/", "https://my_host.example.com/"},
		{"https://ab--api.example.com/", "https://ab--api.example.com/"},
		{"https://example.com./", "https://example.com/"},
		{"https://example.com.:8443/a", "https://example.com:8443/a"},
		{"https://93.184.216.34/", "https://93.184.216.34/"},
		{"https://[2606:2800:220:1:248:1893:25C8:1946]:8443/", "https://[2606:2800:220:1:248:1893:25c8:1946]:8443/"},
		{"https://[::ffff:93.184.216.34]/", "https://93.184.216.34/"},

		{"", CodeInvalidURL},
		{"example.com", CodeInvalidURL},
		{"//example.com/", CodeInvalidURL},
		{"https:example.com", CodeInvalidURL},
		{"https:/example.com", CodeInvalidURL},
		{"https://", CodeInvalidURL},
		{"https:///path", CodeInvalidURL},
		{"https://example.com/" + strings.Repeat("a", 2048), CodeInvalidURL},
		{"https://user@example.com/", CodeInvalidURL},
		{"https://user:secret@example.com/", CodeInvalidURL},
		{"https://@example.com/", CodeInvalidURL},
		{"https://example.com#x", CodeInvalidURL},
		{"https://example.com/#", CodeInvalidURL},
		{"https://example.com/a b", CodeInvalidURL},
		{"https://example.com/\r\nX-Evil: 1", CodeInvalidURL},
		{"https://example.com/\x00", CodeInvalidURL},
		{" https://example.com/", CodeInvalidURL},
		{"https://example.com\\@evil.example/", CodeInvalidURL},
		{"https://example.com/é", CodeInvalidURL},
		{"https://example.com/?é", CodeInvalidURL},
		{"https://example.com/" + strings.Repeat("[", 700), CodeInvalidURL}, // too long when encoded
		{"https://exa%6dple.com/", CodeInvalidURL},
		{"https://example.com../", CodeInvalidURL},
		{"https://./", CodeInvalidURL},
		{"https://-api.example.com/", CodeInvalidURL},
		{"https://.example.com/", CodeInvalidURL},
		{"https://-example.com/", CodeInvalidURL},
		{"https://exam ple.com/", CodeInvalidURL},
		{"https://example.com:/", CodeInvalidURL},
		{"https://example.com:0/", CodeInvalidURL},
		{"https://example.com:65536/", CodeInvalidURL},
		{"https://example.com:-1/", CodeInvalidURL},
		{"https://example.com:+443/", CodeInvalidURL},
		{"https://example.com:443:443/", CodeInvalidURL},
		{"https://[::1/", CodeInvalidURL},
		{"https://[fe80::1%25eth0]/", CodeInvalidURL},
		{"https://[127.0.0.1]/", CodeInvalidURL},
		{"https://::1/", CodeInvalidURL},

		{"http://example.com/", CodeScheme},
		{"ftp://example.com/", CodeScheme},
		{"file:///etc/passwd", CodeScheme},
		{"gopher://example.com/", CodeScheme},
		{"javascript://example.com/", CodeScheme},
		{"httpss://example.com/", CodeScheme},
		{"http+unix://example.com/", CodeScheme},

		{"https://example.com:22/", CodePort},
		{"https://example.com:25/", CodePort},
		{"https://example.com:6667/", CodePort},
		{"https://example.com:2049/", CodePort},

		{"https://127.0.0.1/", CodeAddress},
		{"https://10.0.0.1/", CodeAddress},
		{"https://169.254.169.254/latest/meta-data/", CodeAddress},
		{"https://168.63.129.16/", CodeAddress},
		{"https://0.0.0.0/", CodeAddress},
		{"https://[::1]/", CodeAddress},
		{"https://[::]/", CodeAddress},
		{"https://[::ffff:127.0.0.1]/", CodeAddress},
		{"https://[::ffff:7f00:1]/", CodeAddress},
		{"https://[64:ff9b::169.254.169.254]/", CodeAddress},
		{"https://[2002:7f00:1::]/", CodeAddress},
		{"https://[fd00:ec2::254]/", CodeAddress},
		{"https://localhost/", CodeAddress},
		{"https://LOCALHOST:8080/", CodeAddress},
		{"https://a.localhost/", CodeAddress},
		// Full-width digits and dots are mapped to ASCII before they are judged.
		{"https://１２７．０．０．１/", CodeAddress},
		{"https://127。0。0。1/", CodeAddress},
		{"https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", CodeAddress},

		// Other spellings of 127.0.0.1 are no names.
		{"https://2130706433/", CodeInvalidURL},
		{"https://0x7f000001/", CodeInvalidURL},
		{"https://0x7f.1/", CodeInvalidURL},
		{"https://0x7F.0.0.0x1/", CodeInvalidURL},
		{"https://0177.0.0.1/", CodeInvalidURL},
		{"https://017700000001/", CodeInvalidURL},
		{"https://127.1/", CodeInvalidURL},
		{"https://127.0.1/", CodeInvalidURL},
		{"https://127.0.0.1./", CodeAddress},
		{"https://localhost./", CodeAddress},
		{"https://127.0.0.01/", CodeInvalidURL},
		{"https://127.0.0.256/", CodeInvalidURL},
		{"https://1.1.1.1.1/", CodeInvalidURL},
		{"https://example.0x/", CodeInvalidURL},
		{"https://example.123/", CodeInvalidURL},
	}
	for _, tt := range tests {
		got, errs := CheckEndpoint(tt.raw, &Policy{})
		if len(errs) == 1 && errs[0].Field == "endpoint" && errs[0].Detail != "" {
			got = errs[0].Code
		}
		if got != tt.want {
			t.Errorf("%q: got %q %v, want %q", tt.raw, got, errs, tt.want)
		}
	}
}

// A refusal of path or query names the character.
func TestCheckEndpointNamesTheCharacter(t *testing.T) {
	for raw, want := range map[string]string{
		"https://example.com/é":      "'é' (U+00E9)",
		"https://example.com/?a=😀":   "'😀' (U+1F600)",
		"https://example.com/\u2028": "U+2028",
		"https://example.com/\xff":   "no UTF-8",
		"https://example.com/a b":    "a space at character 22",
		"https://example.com/a\\b":   `'\\' (U+005C) at character 22`,
		"https://example.com/a\x00":  "U+0000",
	} {
		if _, errs := CheckEndpoint(raw, &Policy{}); len(errs) != 1 || !strings.Contains(errs[0].Detail, want) {
			t.Errorf("%q: %v, want %s", raw, errs, want)
		}
	}
}

func TestCheckEndpointByPolicy(t *testing.T) {
	dev := &Policy{AllowHTTP: true, AllowNetworks: prefixes(t, "127.0.0.0/8")}
	for raw, ok := range map[string]bool{
		"http://127.0.0.1:9000/": true, "http://localhost:9000/": true, "http://example.com/": true,
		"http://10.0.0.1/": false, "http://127.0.0.1:22/": false, "http://[::1]/": false,
	} {
		if _, errs := CheckEndpoint(raw, dev); (errs == nil) != ok {
			t.Errorf("%s: %v, want ok = %v", raw, errs, ok)
		}
	}
}

// What is refused for its scheme is told which ones are allowed here.
func TestSchemesAllowedHere(t *testing.T) {
	for _, policy := range []*Policy{{}, {AllowHTTP: true}} {
		_, errs := CheckEndpoint("ftp://example.com/", policy)
		if len(errs) != 1 || errs[0].Code != CodeScheme || strings.Contains(errs[0].Detail, "http://") != policy.AllowHTTP {
			t.Errorf("allowed %v: %v", policy.AllowHTTP, errs)
		}
	}
}

func TestBlockedPortsAreSorted(t *testing.T) {
	for i := range blockedPorts[1:] {
		if blockedPorts[i] >= blockedPorts[i+1] {
			t.Fatalf("%d stands before %d", blockedPorts[i], blockedPorts[i+1])
		}
	}
}

// requestTarget is path and query by RFC 3986.
var requestTarget = regexp.MustCompile(`^/([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*(\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?$`)

// What is accepted is stable, names a public place, and reads the same to the standard parser.
func FuzzCheckEndpoint(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/a?b", "https://[::1]:80/", "https://bücher.example", "https://0x7f.1/", "http://a@b/",
		"https://１２７.0.0.1", "https://example.com:8443//x/%2e?#", "https://ⅷ.example/",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, errs := CheckEndpoint(raw, &Policy{})
		if errs != nil {
			if errs[0].Code == "" || errs[0].Detail == "" || got != "" {
				t.Fatalf("%q: %+v", raw, errs)
			}
			return
		}
		if again, errs := CheckEndpoint(got, &Policy{}); errs != nil || again != got {
			t.Fatalf("%q became %q, and that %q %v", raw, got, again, errs)
		}
		u, err := url.Parse(got)
		if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Host == "" {
			t.Fatalf("%q became %q: %v", raw, got, err)
		}
		if a, err := netip.ParseAddr(u.Hostname()); err == nil && !oracle(a) {
			t.Fatalf("%q became %q", raw, got)
		}
		if !requestTarget.MatchString(u.RequestURI()) || !strings.HasSuffix(got, u.RequestURI()) {
			t.Fatalf("%q became %q", raw, got)
		}
	})
}
