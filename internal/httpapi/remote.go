package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// BehindProxies serves requests as if each came from its client and not from a proxy in front of us:
// where a request's sender lies in one of the networks, the sender becomes the last address of
// X-Forwarded-For that lies in none of them. What anybody else says of itself is not read.
func BehindProxies(trusted []netip.Prefix, next http.Handler) http.Handler {
	if len(trusted) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if peer := peerOf(r); isIn(trusted, peer) {
			if client := forwardedFor(trusted, peer, r.Header["X-Forwarded-For"]); client != peer {
				seen := *r
				seen.RemoteAddr = netip.AddrPortFrom(client, 0).String()
				r = &seen
			}
		}
		next.ServeHTTP(w, r)
	})
}

// forwardedFor goes back through what proxies wrote, each behind what it was told, as long as the one
// that wrote is trusted. What is no address ends the way.
func forwardedFor(trusted []netip.Prefix, peer netip.Addr, headers []string) netip.Addr {
	told := strings.Split(strings.Join(headers, ","), ",")
	for _, text := range slices.Backward(told) {
		before := addressOf(strings.TrimSpace(text))
		if !before.IsValid() {
			return peer
		}
		if peer = before; !isIn(trusted, peer) {
			break
		}
	}
	return peer
}

// addressOf reads an address with or without port; the zero Addr is none.
func addressOf(text string) netip.Addr {
	if a, err := netip.ParseAddrPort(text); err == nil {
		return a.Addr().Unmap().WithZone("")
	}
	a, _ := netip.ParseAddr(strings.Trim(text, "[]"))
	return a.Unmap().WithZone("")
}

func isIn(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// peerOf is the address that a request came from.
func peerOf(r *http.Request) netip.Addr { return addressOf(r.RemoteAddr) }

// neighbourhood is what counts as one sender: an IPv4 address, or the 64 bits that a network of IPv6
// hands to whoever is in it.
func neighbourhood(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits)
	return p
}
