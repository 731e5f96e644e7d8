package egress

import (
	"context"
	"crypto/tls"
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
	TLS       *TLSFacts         // nil for http, and when the receiver said nothing of TLS
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

// TLSFacts describes the handshake, also one that failed.
type TLSFacts struct {
	Version string             // "TLS 1.3"; "" when the receiver had not chosen one
	Chain   []CertificateFacts // as sent, the receiver's own first; empty when none came
	Names   []string           // that its own certificate is valid for
	// Verified says that the certificate was found good.
	Verified bool
	// ClientCertificate says that the receiver asked for one.
	ClientCertificate bool
}

// CertificateFacts describes one certificate.
type CertificateFacts struct {
	Subject, Issuer     string
	NotBefore, NotAfter time.Time
}

// Preflight does everything that a delivery does up to the point of sending, and sends nothing. It
// is bounded by ctx, which must have a deadline, and uses no kept connection.
// The addresses are those that it connects to. With compat, TLS offers what old middleboxes let
// through.
func (c *Client) Preflight(ctx context.Context, endpoint string, company []netip.Prefix, compat bool) Report {
	start := time.Now()
	var report Report
	policy := c.dialer.policy.With(company)
	if report.Endpoint, report.Refused = CheckEndpoint(endpoint, policy); report.Refused != nil {
		return report
	}
	t, _ := parseEndpoint(report.Endpoint)
	report.Failure = c.try(ctx, t, company, compat, &report)
	report.Phases.Total = time.Since(start)
	return report
}

func (c *Client) try(ctx context.Context, t *target, company []netip.Prefix, compat bool, report *Report) *Error {
	d, err := c.dialer.dial(ctx, t, company, compat)
	report.Phases = d.phases
	for _, addr := range d.addrs {
		verdict := AddressVerdict{Address: addr}
		if c.dialer.policy.With(company).Judge(netip.AddrPortFrom(addr, t.port)) != nil {
			verdict = AddressVerdict{Rule: refusedAddress}
		}
		if !slices.Contains(report.Addresses, verdict) {
			report.Addresses = append(report.Addresses, verdict)
		}
	}
	if d.tls != nil {
		report.TLS = d.facts(err)
	}
	if err != nil {
		return networkError(PhaseConnect, err)
	}
	defer d.nc.Close()
	report.Protocol = "http/1.1"
	if d.tls == nil {
		return nil
	}
	if d.http2() {
		report.Protocol = "h2"
	}
	return d.outlast(refusalTime)
}

// refusalTime is how long a receiver has, beyond the time that a message takes to it and back, to
// refuse us after the handshake. A server of TLS 1.3 looks at a client's certificate only then.
const refusalTime = 100 * time.Millisecond

// outlast waits for a receiver that refuses a connection that it has just accepted.
func (d *dialed) outlast(wait time.Duration) *Error {
	if d.tls.ConnectionState().Version != tls.VersionTLS13 {
		return nil
	}
	d.nc.SetReadDeadline(time.Now().Add(wait + min(d.phases.Connect, time.Second)))
	for buf := make([]byte, 512); ; {
		_, err := d.nc.Read(buf)
		switch {
		case err == nil: // the settings of HTTP/2
		case timedOut(err):
			return nil
		default:
			return networkError(PhaseTLS, demand(networkError(PhaseFirstByte, err), d.asked))
		}
	}
}

// facts describes the handshake, as far as it went.
func (d *dialed) facts(failure error) *TLSFacts {
	state := d.tls.ConnectionState()
	chain := state.PeerCertificates
	if unverified, ok := errors.AsType[*tls.CertificateVerificationError](failure); ok {
		chain = unverified.UnverifiedCertificates
	}
	f := &TLSFacts{Verified: failure == nil, ClientCertificate: d.asked}
	if state.Version != 0 {
		f.Version = tls.VersionName(state.Version)
	}
	for _, c := range chain {
		f.Chain = append(f.Chain, CertificateFacts{Subject: c.Subject.String(), Issuer: c.Issuer.String(), NotBefore: c.NotBefore, NotAfter: c.NotAfter})
	}
	if len(chain) > 0 {
		f.Names = namesOf(chain[0])
	}
	if f.Version == "" && len(chain) == 0 {
		return nil
	}
	return f
}
