package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Report is what [Client.Preflight] found out about an endpoint, step by step. A step after the one
// that failed was not taken.
type Report struct {
	Endpoint  string            // normalised; "" when Refused
	Refused   []hook.FieldError // by the rules that need no network
	Addresses []AddressVerdict  // that the name resolves to; empty behind an egress proxy
	Protocol  string            // "h2" or "http/1.1"
	TLS       *TLSFacts         // nil for http, and when the receiver showed no certificate
	Phases    hook.Phases
	Failure   *Error // of DNS, connecting or TLS; nil = a request could be sent
}

// OK reports that a request could be sent.
func (r *Report) OK() bool { return len(r.Refused) == 0 && r.Failure == nil }

// AddressVerdict is one address and why it is refused; Rule is "" when it is not. Of a refused one
// there is nothing but the verdict: what a name means in our network is nobody's business.
type AddressVerdict struct {
	Address netip.Addr // zero for a refused one
	Rule    string
}

// TLSFacts describes the handshake and the receiver's own certificate.
type TLSFacts struct {
	Version   string // "TLS 1.3"; "" when the handshake failed
	Subject   string
	Issuer    string
	Names     []string // that it is valid for
	NotBefore time.Time
	NotAfter  time.Time
	Verified  bool
}

// Preflight does everything that a delivery does up to the point of sending, and sends nothing. It
// is bounded by ctx, which must have a deadline, and uses no kept connection.
func (c *Client) Preflight(ctx context.Context, endpoint string, company []netip.Prefix) Report {
	start := time.Now()
	var report Report
	policy := c.dialer.policy.With(company)
	if report.Endpoint, report.Refused = CheckEndpoint(endpoint, policy); report.Refused != nil {
		return report
	}
	t, _ := parseEndpoint(report.Endpoint)
	report.Failure = c.try(ctx, t, company, &report)
	report.Phases.Total = time.Since(start)
	return report
}

func (c *Client) try(ctx context.Context, t *target, company []netip.Prefix, report *Report) *Error {
	if c.dialer.proxy == nil {
		addrs, err := c.dialer.lookup(ctx, t)
		if err != nil {
			return networkError(PhaseDNS, err)
		}
		for _, addr := range addrs {
			verdict := AddressVerdict{Address: addr}
			if err := c.dialer.policy.With(company).Judge(netip.AddrPortFrom(addr, t.port)); err != nil {
				verdict = AddressVerdict{Rule: refusedAddress}
			}
			if !slices.Contains(report.Addresses, verdict) {
				report.Addresses = append(report.Addresses, verdict)
			}
		}
	}
	d, err := c.dialer.dial(ctx, t, company)
	report.Phases = d.phases
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) && len(unverified.UnverifiedCertificates) > 0 {
		report.TLS = certificateFacts(unverified.UnverifiedCertificates[0])
	}
	if err != nil {
		return networkError(PhaseConnect, err)
	}
	defer d.nc.Close()
	report.Protocol = "http/1.1"
	if d.tls == nil {
		return nil
	}
	state := d.tls.ConnectionState()
	if d.http2() {
		report.Protocol = "h2"
	}
	report.TLS = certificateFacts(state.PeerCertificates[0])
	report.TLS.Version, report.TLS.Verified = tls.VersionName(state.Version), true
	return nil
}

func certificateFacts(cert *x509.Certificate) *TLSFacts {
	names := cert.DNSNames
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return &TLSFacts{
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Names: names,
		NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
	}
}
