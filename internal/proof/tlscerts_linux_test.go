package proof_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// chains are the certificates of TestTLSStacks, as files: name.pem (the chain as sent, the receiver's own
// first), name.own.pem (its own alone), name.rest.pem (the others), name.key, and name.all.pem (chain and
// key). The authority in root is what the server trusts.
type chains struct {
	t         *testing.T
	dir, root string
	key       *rsa.PrivateKey
}

// signer is a certificate with its key.
type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newChains(t *testing.T) *chains {
	t.Helper()
	c := &chains{t: t, dir: t.TempDir(), key: rsaKey(t, 2048)}
	root := c.authority("Root", nil, nil)
	c.root = c.write("root", root.cert.Raw)
	between := c.authority("Intermediate", root, nil)
	sent := func(name string, by *signer, change func(*x509.Certificate)) {
		c.save(name, c.key, c.leaf(by, change), by.cert.Raw)
	}
	sent("good", between, nil)
	sent("expired", between, func(l *x509.Certificate) { l.NotAfter = time.Now().Add(-50 * time.Hour) })
	sent("future", between, func(l *x509.Certificate) { l.NotBefore = time.Now().Add(50 * time.Hour) })
	sent("other", between, func(l *x509.Certificate) {
		l.Subject.CommonName, l.DNSNames, l.IPAddresses = "other.example", []string{"other.example"}, nil
	})
	sent("cn", between, func(l *x509.Certificate) { l.DNSNames, l.IPAddresses = nil, nil })
	sent("usage", between, func(l *x509.Certificate) { l.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	sent("sha1", between, func(l *x509.Certificate) { l.SignatureAlgorithm = x509.ECDSAWithSHA1 })
	sent("above-sha1", c.authority("Old intermediate", root, func(a *x509.Certificate) { a.SignatureAlgorithm = x509.ECDSAWithSHA1 }), nil)
	sent("above-expired", c.authority("Past intermediate", root, func(a *x509.Certificate) { a.NotAfter = time.Now().Add(-50 * time.Hour) }), nil)
	sent("constraints", c.authority("Bound intermediate", root, func(a *x509.Certificate) {
		a.PermittedDNSDomains, a.PermittedDNSDomainsCritical = []string{"example.com"}, true
	}), nil)
	sent("own", c.authority("Company Root", nil, nil), nil)
	c.save("missing", c.key, c.leaf(between, func(l *x509.Certificate) { l.IssuingCertificateURL = []string{"http://ca.example/intermediate.crt"} }))
	c.save("disorder", c.key, c.leaf(between, nil), root.cert.Raw, between.cert.Raw)
	c.save("serial", c.key, negative(t, c.leaf(between, nil), between.key), between.cert.Raw)
	self := &signer{key: c.key}
	c.save("self", c.key, c.leaf(self, nil))
	short := c.shortKey()
	own := c.key
	c.key = short
	c.save("short", short, c.leaf(between, nil), between.cert.Raw)
	c.key = own
	return c
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// shortKey is one that Go makes only when it is told to. The server, which starts later, is not.
func (c *chains) shortKey() *rsa.PrivateKey {
	c.t.Helper()
	was := os.Getenv("GODEBUG") //nolint:forbidigo // put back below
	os.Setenv("GODEBUG", "rsa1024min=0")
	defer os.Setenv("GODEBUG", was)
	return rsaKey(c.t, 768)
}

// authority makes one below another, or one of its own.
func (c *chains) authority(name string, above *signer, change func(*x509.Certificate)) *signer {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-100 * time.Hour), NotAfter: time.Now().Add(100 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	if change != nil {
		change(template)
	}
	if above == nil {
		above = &signer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, above.cert, &key.PublicKey, above.key)
	if err != nil {
		c.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return &signer{cert, key}
}

// leaf makes a certificate of this machine's for c.key; a signer without one of its own makes it sign
// itself.
func (c *chains) leaf(by *signer, change func(*x509.Certificate)) []byte {
	c.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x7a11223344556677), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-100 * time.Hour), NotAfter: time.Now().Add(100 * time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	parent := by.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &c.key.PublicKey, by.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return der
}

// negative makes the serial number of leaf's certificates negative, and signs anew.
func negative(t *testing.T, der []byte, key crypto.Signer) []byte {
	t.Helper()
	var cert struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &cert); err != nil {
		t.Fatal(err)
	}
	was := []byte{0x02, 0x08, 0x7a, 0x11, 0x22, 0x33}
	cert.TBS.FullBytes = bytes.Replace(cert.TBS.FullBytes, was, []byte{0x02, 0x08, 0xfa, 0x11, 0x22, 0x33}, 1)
	digest := sha256.Sum256(cert.TBS.FullBytes)
	signature, err := key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	cert.Signature = asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}
	der, err = asn1.Marshal(cert)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// save writes a chain, its key, and what some programs want instead.
func (c *chains) save(name string, key *rsa.PrivateKey, chain ...[]byte) {
	c.t.Helper()
	c.write(name, chain...)
	c.write(name+".own", chain[0])
	c.write(name+".rest", chain[1:]...)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	c.put(name+".key", text)
	all, err := os.ReadFile(filepath.Join(c.dir, name+".pem"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.put(name+".all.pem", append(all, text...))
}

func (c *chains) write(name string, certs ...[]byte) (path string) {
	var text []byte
	for _, der := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return c.put(name+".pem", text)
}

func (c *chains) put(name string, text []byte) (path string) {
	path = filepath.Join(c.dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}
