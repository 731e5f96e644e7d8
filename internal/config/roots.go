package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"runtime"
)

// Roots are the certificate authorities by which endpoints, and an https egress proxy, are verified.
type Roots struct {
	Pool *x509.CertPool
	// Count is how many there are; -1 where the system keeps them to itself (macOS, Windows).
	Count int
	// Source says where they come from, for people.
	Source string
}

// Empty reports that no certificate can be verified.
func (r Roots) Empty() bool { return r.Count == 0 }

// Roots reads the authorities of the system, or those that SSL_CERT_FILE and SSL_CERT_DIR name, and adds
// EgressCAFile. That there are none is no error.
func (c Config) Roots() (Roots, error) {
	pool, err := x509.SystemCertPool() // which the process reads once
	return c.roots(pool, err)
}

func (c Config) roots(pool *x509.CertPool, err error) (Roots, error) {
	r := Roots{Source: "the system"}
	for _, name := range [...]string{"SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v := os.Getenv(name); v != "" {
			r.Source += ", " + name + "=" + v
		}
	}
	if err != nil {
		r.Source += fmt.Sprintf(" (%v)", err)
		pool = x509.NewCertPool()
	}
	r.Pool, r.Count = pool, len(pool.Subjects()) //nolint:staticcheck // right where the system's pool is read from files, and only there is it used
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" || runtime.GOOS == "windows" {
		r.Count = -1
	}
	if c.EgressCAFile == "" {
		return r, nil
	}
	own, err := readCertificates(c.EgressCAFile)
	if err != nil {
		return Roots{}, &Problem{"egress_ca_file", err}
	}
	for _, cert := range own {
		r.Pool.AddCert(cert)
	}
	if r.Count >= 0 {
		r.Count = len(r.Pool.Subjects()) //nolint:staticcheck // as above
	}
	r.Source += fmt.Sprintf(", egress_ca_file=%s (%d)", c.EgressCAFile, len(own))
	return r, nil
}

// readCertificates reads a file of certificates in PEM and nothing else.
func readCertificates(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var list []*x509.Certificate
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if text = rest; block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s holds a %s; it must hold certificates only", path, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of %s: %w", len(list)+1, path, err)
		}
		list = append(list, cert)
	}
	if len(list) == 0 {
		return nil, errors.New(path + " holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
	}
	return list, nil
}
