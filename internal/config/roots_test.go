package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is a certificate in PEM form.
func authority(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestRoots(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	two := write("two.pem", append(authority(t, "a"), authority(t, "b")...))
	one := write("one.pem", authority(t, "c"))
	empty := t.TempDir()
	t.Setenv("SSL_CERT_FILE", two)
	t.Setenv("SSL_CERT_DIR", empty)

	r, err := Config{}.Roots()
	if err != nil || r.Count != 2 || r.Empty() || !strings.Contains(r.Source, two) {
		t.Errorf("SSL_CERT_FILE: %+v, %v", r, err)
	}
	r, err = Config{EgressCAFile: one}.Roots()
	if err != nil || r.Count != 3 || !strings.Contains(r.Source, "egress_ca_file="+one+" (1)") {
		t.Errorf("added to it: %+v, %v", r, err)
	}
	for _, err := range []error{nil, errors.New("unreadable")} {
		if r, err := (Config{}).roots(x509.NewCertPool(), err); err != nil || !r.Empty() {
			t.Errorf("none: %+v, %v", r, err)
		}
		if r, err := (Config{EgressCAFile: one}).roots(x509.NewCertPool(), err); err != nil || r.Count != 1 {
			t.Errorf("one's own alone: %+v, %v", r, err)
		}
	}
	for path, words := range map[string]string{
		filepath.Join(dir, "missing.pem"): "no such file",
		write("text", []byte("hello")):    "holds no certificate",
		write("key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})):    "holds a PRIVATE KEY",
		write("broken", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1}})): "certificate 1 of",
	} {
		if _, err := (Config{EgressCAFile: path}).Roots(); err == nil || !strings.Contains(err.Error(), words) || !strings.HasPrefix(err.Error(), "egress_ca_file: ") {
			t.Errorf("%s: %v, want %q", path, err, words)
		}
	}
}
