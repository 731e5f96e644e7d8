package egress

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// Of a refused address that a name leads to, nobody is told more than that: neither by the check of an
// endpoint nor by an attempt. Otherwise names that somebody else answers for would map our network.
func TestRefusedAddressesAreNotTold(t *testing.T) {
	ns := newNameServer(t, func(string, int) *dnsAnswer {
		return &dnsAnswer{addrs: []string{"10.1.2.3", "192.168.7.9", "fd00::17"}}
	})
	c := newClient(t, func(config *Config) { config.Policy, config.Resolver = Policy{AllowHTTP: true}, ns.resolver() })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r := c.Preflight(ctx, "http://inside.example/", nil, false)
	if r.OK() || r.Failure == nil || len(r.Addresses) != 1 || r.Addresses[0].Rule == "" || r.Addresses[0].Address.IsValid() {
		t.Errorf("preflight: %+v", r)
	}
	_, err := c.Do(ctx, request("http://inside.example/", time.Second))
	var e *Error
	if !errors.As(err, &e) || e.Detail != r.Failure.Detail {
		t.Fatalf("attempt: %v, preflight: %v", err, r.Failure)
	}
	for _, part := range []string{"10.1", "192.168", "fd00", "private"} {
		if strings.Contains(e.Detail+r.Addresses[0].Rule, part) {
			t.Errorf("%q tells %q", e.Detail, part)
		}
	}
	// Control: what stands in the endpoint itself is no secret, and its rule is named.
	_, err = c.Do(ctx, request("http://10.1.2.3/", time.Second))
	if !errors.As(err, &e) || !strings.Contains(e.Detail, "10.1.2.3 is a private address") {
		t.Errorf("control: %v", err)
	}
}
