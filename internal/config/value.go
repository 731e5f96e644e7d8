package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const mask = "••••"

// Secret is a text that nobody may see: however it is printed, logged or marshalled, only a mask
// comes out. [Secret.Reveal] is the one way to its value.
type Secret string

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// GoString masks the secret for %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText masks the secret for encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue masks the secret in logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// SecretURL is a URL that may hold credentials. Printed, it is its scheme and host only.
type SecretURL string

// Reveal is the URL itself.
func (u SecretURL) Reveal() string { return string(u) }

func (u SecretURL) String() string {
	if u == "" {
		return ""
	}
	p, err := url.Parse(string(u))
	if err != nil || p.Host == "" {
		return mask
	}
	return p.Scheme + "://" + p.Host
}

// GoString masks the URL for %#v.
func (u SecretURL) GoString() string { return strconv.Quote(u.String()) }

// MarshalText masks the URL for encoders.
func (u SecretURL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// LogValue masks the URL in logs.
func (u SecretURL) LogValue() slog.Value { return slog.StringValue(u.String()) }

// SecretURLs is a list of URLs that may hold credentials. Each begins with a scheme: commas between hosts are part
// of a URL.
type SecretURLs []SecretURL

// nextURL is what separates URLs.
var nextURL = regexp.MustCompile(`,\s*[a-z]+://`)

// UnmarshalText reads URLs separated by commas. What it says of one does not repeat it.
func (u *SecretURLs) UnmarshalText(text []byte) error {
	rest := strings.TrimSpace(string(text))
	var all SecretURLs
	for rest != "" {
		end := len(rest)
		if at := nextURL.FindStringIndex(rest); at != nil {
			end = at[0]
		}
		one := SecretURL(strings.TrimSpace(rest[:end]))
		if slices.Contains(all, one) {
			return errors.New("a URL stands there twice")
		}
		all = append(all, one)
		rest = strings.TrimLeft(rest[end:], ", ")
	}
	*u = all
	return nil
}

func (u SecretURLs) String() string { return join(u) }

// Networks is a list of CIDRs.
type Networks []netip.Prefix

// UnmarshalText reads CIDRs separated by commas. One whose address has bits beyond its length is
// refused: its author meant something else than what it says.
func (n *Networks) UnmarshalText(text []byte) error {
	return each(text, n, func(s string) (netip.Prefix, error) {
		p, err := netip.ParsePrefix(s)
		switch {
		case err != nil:
			return p, fmt.Errorf("%q is not a network in CIDR notation, as 10.0.0.0/8", s)
		case p.Masked() != p:
			return p, fmt.Errorf("%q has address bits beyond its length; did you mean %s?", s, p.Masked())
		}
		return p, nil
	})
}

func (n Networks) String() string { return join(n) }

// Ports is a list of TCP ports.
type Ports []uint16

// UnmarshalText reads port numbers separated by commas.
func (p *Ports) UnmarshalText(text []byte) error {
	return each(text, p, func(s string) (uint16, error) {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("%q is not a port, 1 to 65535", s)
		}
		return uint16(n), nil
	})
}

func (p Ports) String() string { return join(p) }

// Destinations is a list of names, domains and networks.
type Destinations []string

// UnmarshalText reads destinations separated by commas.
func (d *Destinations) UnmarshalText(text []byte) error {
	return each(text, d, func(s string) (string, error) {
		if _, err := netip.ParsePrefix(s); err != nil && (strings.Trim(s, ".*") == "" || strings.ContainsAny(s, "/@ ")) {
			return "", fmt.Errorf("%q is no name, domain or network, as hooks.example.com, .corp.example or 10.0.0.0/8", s)
		}
		return s, nil
	})
}

func (d Destinations) String() string { return join(d) }

// Origins is a list of web origins, as a Content-Security-Policy names them.
type Origins []string

// UnmarshalText reads origins separated by commas.
func (o *Origins) UnmarshalText(text []byte) error {
	return each(text, o, func(s string) (string, error) {
		if u, err := url.Parse(s); err != nil || !isOrigin(u) || strings.ContainsAny(s, " ;,'\"") {
			return "", fmt.Errorf("%q is not an origin, as https://app.example.com", s)
		}
		return s, nil
	})
}

func (o Origins) String() string { return join(o) }

// isOrigin reports whether u is scheme://host[:port] and nothing else.
func isOrigin(u *url.URL) bool {
	rest := *u
	rest.Scheme, rest.Host = "", ""
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && rest == url.URL{}
}

// each parses a list separated by commas into *list. Blanks around an item do not count, and
// neither do items that stand there twice; an empty item is refused.
func each[T comparable, L ~[]T](text []byte, list *L, one func(string) (T, error)) error {
	var all L
	for s := range strings.SplitSeq(string(text), ",") {
		s = strings.TrimSpace(s)
		if s == "" {
			return errors.New("there is an empty item in the list")
		}
		v, err := one(s)
		if err != nil {
			return err
		}
		if !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	*list = all
	return nil
}

func join[T any](list []T) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}
