package egress

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
)

// authority signs certificates for tests.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t), pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool.AddCert(a.cert)
	return a
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate for an address or a name; change may spoil it.
func (a *authority) issue(host string, change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	if change != nil {
		change(template)
	}
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) server(host string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.issue(host, nil)}}
}

// S13: whatever is wrong with TLS, no byte of the request is sent, and the class is tls.
func TestBadTLS(t *testing.T) {
	good, stranger := newAuthority(t), newAuthority(t)
	config := func(c tls.Certificate, change ...func(*tls.Config)) *tls.Config {
		config := &tls.Config{Certificates: []tls.Certificate{c}}
		for _, f := range change {
			f(config)
		}
		return config
	}
	const host = "127.0.0.1"
	corrupt := good.issue(host, nil)
	corrupt.Certificate = [][]byte{append([]byte(nil), corrupt.Certificate[0]...)}
	corrupt.Certificate[0][len(corrupt.Certificate[0])-5] ^= 1
	wrongKey := good.issue(host, nil)
	wrongKey.PrivateKey = mismatched{newKey(t), &wrongKey.PrivateKey.(*ecdsa.PrivateKey).PublicKey}
	tests := map[string]struct {
		config *tls.Config // nil: raw
		raw    string
		words  string // that the detail contains
	}{
		"expired":          {config: config(good.issue(host, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), words: "the certificate expired on "},
		"not yet valid":    {config: config(good.issue(host, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) })), words: "the certificate is not yet valid: it begins on "},
		"another name":     {config: config(good.issue("other.example", nil)), words: "another name: for other.example, not for 127.0.0.1"},
		"unknown issuer":   {config: config(stranger.issue(host, nil)), words: "the certificate is signed by test authority, which is no known authority"},
		"no server usage":  {config: config(good.issue(host, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })), words: "usage"},
		"broken signature": {config: config(corrupt)},
		"wrong key":        {config: config(wrongKey)},
		"TLS 1.1 only":     {config: config(good.issue(host, nil), func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }), words: "version"},
		"wants a client certificate": {config: config(good.issue(host, nil), func(c *tls.Config) {
			c.ClientAuth, c.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
		}), words: "client certificate"},
		"wants a client certificate, TLS 1.3": {config: config(good.issue(host, nil), func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }), words: "client certificate"},
		"no name":                             {config: config(good.issue(host, func(c *x509.Certificate) { c.IPAddresses = nil })), words: "no subject alternative name"},
		"other protocols only":                {config: config(good.issue(host, nil), func(c *tls.Config) { c.NextProtos = []string{"imap"} })},
		"plain HTTP":                          {raw: "HTTP/1.1 400 Bad Request\r\n\r\n", words: "does not speak TLS but HTTP"},
		"garbage record":                      {raw: "\x16\x03\x03\x00\x05\x63\x00\x00\x01\x00"},
		"alert":                               {raw: "\x15\x03\x03\x00\x02\x02\x28", words: "handshake failure"},
		"hangs up":                            {raw: ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var leaked atomic.Int64
			address := rawServer(t, func(nc net.Conn) {
				if tt.config == nil {
					nc.Read(make([]byte, 4<<10))
					io.WriteString(nc, tt.raw)
					return
				}
				s := tls.Server(nc, tt.config)
				n, _ := s.Read(make([]byte, 10))
				leaked.Add(int64(n))
			})
			c := newClient(t, func(config *Config) { config.RootCAs = good.pool })
			_, err := c.Do(t.Context(), request("https://"+address+"/", 5*time.Second))
			e := wantClass(t, err, hook.ErrTLS)
			if !strings.Contains(e.Detail, tt.words) {
				t.Errorf("the detail is %q, want %q in it", e.Detail, tt.words)
			}
			if strings.Contains(e.Detail, "tls: ") || strings.Contains(e.Detail, "x509: ") {
				t.Errorf("the detail is %q", e.Detail)
			}
			if leaked.Load() != 0 {
				t.Errorf("%d bytes were sent", leaked.Load())
			}
		})
	}
}

// mismatched signs with another key than the certificate's.
type mismatched struct {
	*ecdsa.PrivateKey
	public *ecdsa.PublicKey
}

func (m mismatched) Public() crypto.PublicKey { return m.public }

// The control of the above, and of HTTP/2: good TLS delivers, on one connection.
func TestGoodTLS(t *testing.T) {
	a := newAuthority(t)
	for _, protocols := range [][]string{{"h2", "http/1.1"}, {"http/1.1"}, nil} {
		var mu sync.Mutex
		var got []receiver.Delivery
		config := a.server("127.0.0.1")
		config.NextProtos = protocols
		r := newReceiver(t, receiver.Config{TLS: config, Journal: func(d receiver.Delivery) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, d)
		}})
		c := newClient(t, func(config *Config) { config.RootCAs = a.pool })
		for range 3 {
			q := request(r.URL()+"a%20b?c=d", 5*time.Second)
			answer, err := c.Do(t.Context(), q)
			if err != nil || answer.Status != 200 {
				t.Fatalf("%v: status %d, %v", protocols, answer.Status, err)
			}
		}
		if len(got) != 3 || r.Connections() != 1 {
			t.Errorf("%v: %d requests on %d connections", protocols, len(got), r.Connections())
		}
		for _, d := range got {
			if d.Path != "/a%20b?c=d" || string(d.Body) != `{"event":"conversation","data":"{}"}` || d.Header.Get("Accept-Encoding") != "" {
				t.Errorf("%v: %s %s %v", protocols, d.Path, d.Body, d.Header)
			}
		}
	}
}

// A receiver that asks for a client certificate and does not insist on one gets its deliveries; where it
// then answers 400 or 403, that is told. The certificate that is missing shows in the check of the
// endpoint, although TLS 1.3 lets a client believe that it was accepted.
func TestClientCertificate(t *testing.T) {
	a := newAuthority(t)
	server := func(auth tls.ClientAuthType, protocol string) *receiver.Receiver {
		config := a.server("127.0.0.1")
		config.ClientAuth, config.NextProtos = auth, []string{protocol}
		return newReceiver(t, receiver.Config{TLS: config})
	}
	c := newClient(t, func(config *Config) { config.RootCAs = a.pool })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, protocol := range []string{"h2", "http/1.1"} {
		asks, insists, none := server(tls.RequestClientCert, protocol), server(tls.RequireAnyClientCert, protocol), server(tls.NoClientCert, protocol)
		for r, asked := range map[*receiver.Receiver]bool{asks: true, none: false} {
			answer, err := c.Do(ctx, request(r.URL(), 5*time.Second))
			if err != nil || answer.Status != 200 || answer.ClientCertificate != asked {
				t.Errorf("%s: %+v, %v", protocol, answer, err)
			}
			if p := c.Preflight(ctx, r.URL(), nil, false); !p.OK() || p.TLS.ClientCertificate != asked {
				t.Errorf("%s: %+v", protocol, p)
			}
		}
		_, err := c.Do(ctx, request(insists.URL(), 5*time.Second))
		if e := wantClass(t, err, hook.ErrTLS); !strings.Contains(e.Detail, demanded) {
			t.Errorf("%s: %q", protocol, e.Detail)
		}
		p := c.Preflight(ctx, insists.URL(), nil, false)
		if p.OK() || p.Failure.Class != hook.ErrTLS || !p.TLS.ClientCertificate || p.TLS.Version != "TLS 1.3" || len(p.TLS.Chain) != 1 {
			t.Errorf("%s: %+v %+v", protocol, p, p.TLS)
		}
	}
}

// Without any authority nothing can be verified, and that is nobody's fault but ours.
func TestNoAuthority(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, receiver.Config{TLS: a.server("127.0.0.1")})
	c := newClient(t, func(config *Config) { config.RootCAs = x509.NewCertPool() })
	_, err := c.Do(t.Context(), request(r.URL(), 5*time.Second))
	wantClass(t, err, hook.ErrOwnFault)
	plain := newReceiver(t, receiver.Config{})
	if answer, err := c.Do(t.Context(), request(plain.URL(), 5*time.Second)); err != nil || answer.Status != 200 {
		t.Errorf("control: %+v, %v", answer, err)
	}
}

// Some middleboxes swallow a ClientHello of two packets. One of 1,400 bytes at most is what tls_compat
// sends.
func TestCompatibleHello(t *testing.T) {
	for _, compat := range []bool{false, true} {
		first := make(chan int, 1)
		address := rawServer(t, func(nc net.Conn) {
			b := make([]byte, 4<<10)
			n, _ := nc.Read(b)
			first <- n
			if n > 1400 {
				io.Copy(io.Discard, nc) // swallowed
			}
		})
		c := newClient(t)
		q := request("https://"+address+"/", time.Second)
		q.TLSCompat = compat
		_, err := c.Do(t.Context(), q)
		size := <-first
		if compat {
			wantClass(t, err, hook.ErrTLS) // the server hangs up
		} else if e := wantClass(t, err, hook.ErrTimeout); !strings.Contains(e.Detail, "nothing came back") {
			t.Errorf("%q", e.Detail)
		}
		if compat != (size < 1400) {
			t.Errorf("compat %t: a ClientHello of %d bytes", compat, size)
		}
		t.Logf("compat %t: a ClientHello of %d bytes", compat, size)
	}
}

func TestDaysInWords(t *testing.T) {
	at := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	for want, now := range map[string]time.Time{
		"expired on 27 November 2026, 2 days ago":       at.Add(50 * time.Hour),
		"expired on 27 November 2026, 47 hours ago":     at.Add(47 * time.Hour),
		"expired on 27 November 2026, 59 minutes ago":   at.Add(59 * time.Minute),
		"expired on 27 November 2026, 30 days from now": at.Add(-30 * 24 * time.Hour),
	} {
		if got := onDay("expired", at, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestHTTP2SharesAConnection(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, receiver.Config{TLS: a.server("127.0.0.1")}, "slow 100ms")
	c := newClient(t, func(config *Config) { config.RootCAs = a.pool })
	if _, err := c.Do(t.Context(), request(r.URL(), 5*time.Second)); err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	for range 20 {
		sending.Go(func() {
			answer, err := c.Do(t.Context(), request(r.URL(), 5*time.Second))
			if err != nil || answer.Status != 200 {
				t.Errorf("status %d, %v", answer.Status, err)
			}
		})
	}
	sending.Wait()
	if r.Connections() != 1 {
		t.Errorf("%d connections", r.Connections())
	}
}

// On HTTP/2 a request is repeated, once, when the receiver says that it has not looked at it.
func TestGoAwayBeforeTheRequest(t *testing.T) {
	a := newAuthority(t)
	r := newReceiver(t, receiver.Config{TLS: a.server("127.0.0.1")}, "h2-goaway")
	c := newClient(t, func(config *Config) { config.RootCAs = a.pool })
	_, err := c.Do(t.Context(), request(r.URL(), 2*time.Second))
	wantClass(t, err, hook.ErrReset)
	if r.Connections() != 1 {
		t.Errorf("%d connections: a connection of one's own gets no second chance", r.Connections())
	}
}

func TestPreflight(t *testing.T) {
	a := newAuthority(t)
	secure := newReceiver(t, receiver.Config{TLS: a.server("127.0.0.1")})
	expired := newReceiver(t, receiver.Config{TLS: &tls.Config{Certificates: []tls.Certificate{
		a.issue("127.0.0.1", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
	}}})
	received := atomic.Int64{}
	plain := newReceiver(t, receiver.Config{Journal: func(receiver.Delivery) { received.Add(1) }})
	c := newClient(t, func(config *Config) { config.RootCAs = a.pool })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()

	r := c.Preflight(ctx, secure.URL(), nil, false)
	if !r.OK() || r.Protocol != "h2" || r.TLS == nil || !r.TLS.Verified || r.TLS.Version != "TLS 1.3" || r.TLS.Names[0] != "127.0.0.1" || len(r.TLS.Chain) != 1 || len(r.Addresses) != 1 {
		t.Errorf("secure: %+v %+v", r, r.TLS)
	}
	r = c.Preflight(ctx, expired.URL(), nil, false)
	if r.OK() || r.Failure.Class != hook.ErrTLS || r.TLS == nil || r.TLS.Verified || r.TLS.Version != "TLS 1.3" || r.TLS.Chain[0].NotAfter.After(time.Now()) {
		t.Errorf("expired: %+v %+v", r, r.TLS)
	}
	if r = c.Preflight(ctx, plain.URL(), nil, false); !r.OK() || r.Protocol != "http/1.1" || r.TLS != nil || received.Load() != 0 {
		t.Errorf("plain: %+v", r)
	}
	if r = c.Preflight(ctx, "https://127.0.0.1:22/", nil, false); r.OK() || r.Refused[0].Code != CodePort {
		t.Errorf("refused: %+v", r)
	}
	if idle, _ := c.idle(); idle != 0 {
		t.Errorf("%d connections were kept", idle)
	}
}
