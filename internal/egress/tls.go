package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// compatCurves are offered to endpoints that ask for it: without the post-quantum key shares, which
// make a ClientHello of two packets, of which some old middleboxes drop the second.
var compatCurves = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}

// secure makes the TLS handshake on c.meter. Its error is an *Error, and leaves c.tls to be looked at.
func (d *dialer) secure(ctx context.Context, c *dialed, t *target, compat bool) error {
	if d.rootless {
		c.meter.Close()
		return fail(hook.ErrOwnFault, PhaseTLS, nil, "this server knows no certificate authority")
	}
	start := time.Now()
	config := d.tls.Clone()
	config.ServerName = t.host
	if t.http1 {
		config.NextProtos = []string{"http/1.1"}
	}
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c.asked = true
		return new(tls.Certificate), nil // none
	}
	if compat {
		config.CurvePreferences = compatCurves
	}
	c.tls = tls.Client(c.meter, config)
	err := c.tls.HandshakeContext(ctx)
	c.phases.TLS = time.Since(start)
	if err != nil {
		c.meter.Close()
		return handshakeError(c, t, ended(ctx, err))
	}
	c.nc = c.tls
	return nil
}

// handshakeError says why there was no handshake.
func handshakeError(c *dialed, t *target, err error) *Error {
	version := c.tls.ConnectionState().Version
	name := "TLS"
	if version != 0 {
		name = tls.VersionName(version)
	}
	var cert *tls.CertificateVerificationError
	switch {
	case timedOut(err) && version == 0:
		return fail(hook.ErrTimeout, PhaseTLS, err, "no answer within the deadline (TLS handshake: nothing came back)")
	case timedOut(err), outOfResources(err):
		return networkError(PhaseTLS, err)
	case errors.As(err, &cert):
		return fail(hook.ErrTLS, PhaseTLS, err, "%s: %s", name, certificateReason(cert, time.Now()))
	case c.asked:
		return fail(hook.ErrTLS, PhaseTLS, err, "%s: %s: %s", name, demanded, reason(err))
	case remoteAlert(err) != "":
		return fail(hook.ErrTLS, PhaseTLS, err, "%s: %s", name, alertReason(remoteAlert(err), t, version))
	case version == 0 && cutOff(err):
		return fail(hook.ErrTLS, PhaseTLS, err, "%s: the receiver ended the connection without an answer to our first message: %s", name, reason(err))
	}
	return fail(hook.ErrTLS, PhaseTLS, err, "%s: %s", name, localReason(err))
}

// demanded is what goes before the reason why a connection ended on which a client certificate was
// asked for.
const demanded = "the receiver asked for a client certificate, and there is none"

// demand takes the failure of a new connection on which a client certificate was asked for as what it
// most likely is. Since TLS 1.3 a server refuses a client only after the handshake, as the client sees
// it.
func demand(err error, asked bool) error {
	var e *Error
	if !asked || !errors.As(err, &e) || e.Class != hook.ErrReset && e.Class != hook.ErrProtocol {
		return err
	}
	return fail(hook.ErrTLS, PhaseTLS, err, "TLS: %s: %s", demanded, e.Detail)
}

// remoteAlert is the description of the alert that the other side sent; "" when the error is no alert.
func remoteAlert(err error) string {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return ""
	}
	return strings.TrimPrefix(op.Err.Error(), "tls: ")
}

// alertReason puts the alerts that receivers send into words.
func alertReason(alert string, t *target, version uint16) string {
	switch {
	case version == 0 && (alert == "handshake failure" || alert == "insufficient security level"):
		return "the receiver found no cipher suite in common (alert: " + alert + ")"
	case alert == "protocol version not supported":
		return noVersion
	case alert == "unrecognized name" && t.ip.IsValid():
		return "the receiver wants to be asked by a name it serves (alert: unrecognized name), and to an address no name is sent"
	case alert == "unrecognized name":
		return "the receiver serves no site of the name " + t.host + " (alert: unrecognized name)"
	case alert == "no application protocol":
		return "the receiver speaks neither HTTP/2 nor HTTP/1.1 there (alert: no application protocol)"
	}
	return "the receiver gave the handshake up (alert: " + alert + ")"
}

const noVersion = "the receiver offers no TLS 1.2 or newer (protocol version)"

// cutOff reports that a connection ended, by whatever means.
func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// localReason is why we gave a handshake up.
func localReason(err error) string {
	text := reason(err)
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &record) && bytes.HasPrefix(record.RecordHeader[:], []byte("HTTP")):
		return "what answered does not speak TLS but HTTP without it"
	case strings.Contains(text, "selected unsupported protocol version"):
		return noVersion
	case strings.Contains(text, "bit keys are insecure"):
		return "the certificate's RSA key is too short: less than 1024 bits"
	}
	if what, ok := strings.CutPrefix(text, "failed to parse certificate from server: "); ok {
		return "the certificate cannot be read: " + strings.TrimPrefix(what, "x509: ")
	}
	return text
}

// certificateReason says what is wrong with a certificate, and with which.
func certificateReason(err *tls.CertificateVerificationError, now time.Time) string {
	chain := err.UnverifiedCertificates
	var host x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	text := strings.TrimPrefix(err.Err.Error(), "x509: ")
	switch {
	case errors.As(err.Err, &host):
		text = hostReason(host)
	case errors.As(err.Err, &unknown):
		text = unknownReason(chain)
	case errors.As(err.Err, &invalid):
		text = invalidReason(invalid, chain, now)
	}
	var subjects []string
	for _, c := range chain[:min(len(chain), 5)] {
		subjects = append(subjects, subject(c))
	}
	return text + "; the chain sent: " + strings.Join(subjects, " < ")
}

func hostReason(err x509.HostnameError) string {
	c := err.Certificate
	names := namesOf(c)
	if len(names) == 0 {
		return fmt.Sprintf("the certificate names no host: it has a common name (%s) and no subject alternative name", short(c.Subject.CommonName))
	}
	more := ""
	if len(names) > 5 {
		names, more = names[:5], ", ..."
	}
	return fmt.Sprintf("the certificate is for another name: for %s%s, not for %s", short(strings.Join(names, ", ")), more, err.Host)
}

// unknownReason tells the causes apart by what the receiver sent: a public authority writes into a
// certificate where its own can be had.
func unknownReason(chain []*x509.Certificate) string {
	last := chain[len(chain)-1]
	for _, c := range chain {
		if weak := c.SignatureAlgorithm; (weak == x509.SHA1WithRSA || weak == x509.ECDSAWithSHA1) && !selfIssued(c) {
			return "a certificate of the chain is signed with SHA-1 (" + subject(c) + ")"
		}
	}
	switch {
	case len(chain) == 1 && selfIssued(last):
		return "the certificate is self-signed, not signed by a known authority"
	case selfIssued(last):
		return "the certificate's chain ends at an authority of its own (" + subject(last) + "), not at a known authority"
	case len(last.IssuingCertificateURL) > 0:
		return "the certificate is not signed by a known authority, and the intermediate certificate (" + short(name(last.Issuer.CommonName, last.Issuer.String())) + ") is missing"
	}
	return "the certificate is signed by " + short(name(last.Issuer.CommonName, last.Issuer.String())) + ", which is no known authority"
}

func invalidReason(err x509.CertificateInvalidError, chain []*x509.Certificate, now time.Time) string {
	which := "the certificate"
	if err.Cert != nil && len(chain) > 0 && !err.Cert.Equal(chain[0]) {
		which = "the intermediate certificate (" + subject(err.Cert) + ")"
		if selfIssued(err.Cert) {
			which = "the authority's certificate (" + subject(err.Cert) + ")"
		}
	}
	switch why := err.Reason; {
	case why == x509.Expired:
		if err.Cert != nil && now.Before(err.Cert.NotBefore) {
			return which + " is not yet valid: " + onDay("it begins", err.Cert.NotBefore, now)
		}
		if err.Cert != nil {
			return which + " " + onDay("expired", err.Cert.NotAfter, now)
		}
	case why == x509.CANotAuthorizedForThisName:
		return "an authority of the chain may not sign for this name (name constraints)"
	case why == x509.IncompatibleUsage, why == x509.CANotAuthorizedForExtKeyUsage:
		return which + " may not be used for servers (extended key usage)"
	case why == x509.NotAuthorizedToSign:
		return "a certificate of the chain may not sign others (" + subject(err.Cert) + ")"
	case why == x509.TooManyIntermediates:
		return "the chain is longer than its authority allows"
	}
	return which + ": " + strings.TrimPrefix(err.Error(), "x509: ")
}

// onDay is a date as people say it: "expired on 27 November 2026, 2 days ago".
func onDay(what string, at, now time.Time) string {
	apart, ago := now.Sub(at), " ago"
	if apart < 0 {
		apart, ago = -apart, " from now"
	}
	words := fmt.Sprintf("%d days", int(apart/(24*time.Hour)))
	switch {
	case apart < time.Hour:
		words = fmt.Sprintf("%d minutes", int(apart/time.Minute))
	case apart < 48*time.Hour:
		words = fmt.Sprintf("%d hours", int(apart/time.Hour))
	}
	return what + " on " + at.UTC().Format("2 January 2006") + ", " + words + ago
}

func selfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }

func subject(c *x509.Certificate) string {
	return short(name(c.Subject.CommonName, c.Subject.String()))
}

func name(common, whole string) string {
	if common != "" {
		return common
	}
	if whole != "" {
		return whole
	}
	return "no subject"
}

// short bounds what a stranger's certificate may add to a sentence.
func short(text string) string {
	const most = 80
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "..."
	}
	return text
}

// namesOf are the hosts that a certificate is valid for.
func namesOf(c *x509.Certificate) []string {
	names := slices.Clip(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}
