package source

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Kind makes a source of its entry in the file, which decode reads into a struct whose fields have tags; a
// field that the struct does not have is refused. The struct embeds [Common].
type Kind func(decode func(into any) error) (Definition, error)

// Common is what the entries of all kinds have.
type Common struct {
	Name    string `yaml:"name"`
	Kind    string `yaml:"kind"`
	Company string `yaml:"company_id"`
}

// Definition begins one of what all kinds have.
func (c Common) Definition() Definition {
	return Definition{Name: c.Name, Kind: c.Kind, Company: c.Company}
}

const (
	maxFile    = 1 << 20
	maxSources = 64
)

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// ReadFile reads a file of sources, YAML or JSON: a member "sources", a list of entries. What is wrong is
// named by line, entry and field, all of it at once.
func ReadFile(path string, kinds map[string]Kind) ([]Definition, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: is larger than %d bytes", path, maxFile)
	}
	list, err := Parse(data, kinds)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return list, nil
}

// Parse is [ReadFile] for what stands in the file.
func Parse(data []byte, kinds map[string]Kind) ([]Definition, error) {
	var file struct {
		Sources yaml.Node `yaml:"sources"`
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithKnownFields())
	if err != nil {
		return nil, err
	}
	if err := loader.Load(&file); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("must have one member, sources, which is a list")
		}
		return nil, err
	}
	var more yaml.Node
	if err := loader.Load(&more); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more than one document in the file")
	}
	entries := file.Sources.Content
	switch {
	case file.Sources.Kind != yaml.SequenceNode:
		return nil, errors.New("sources: must be a list")
	case len(entries) > maxSources:
		return nil, fmt.Errorf("sources: there may be %d", maxSources)
	}
	var list []Definition
	var wrong []error
	for i, n := range entries {
		d, err := entry(n, kinds)
		if slices.ContainsFunc(list, func(o Definition) bool { return o.Name == d.Name }) && err == nil {
			err = errors.New("name: stands there twice")
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("line %d: sources[%d] %s: %w", n.Line, i, d.Name, err))
			continue
		}
		list = append(list, d)
	}
	return list, errors.Join(wrong...)
}

func entry(n *yaml.Node, kinds map[string]Kind) (Definition, error) {
	if n.Kind != yaml.MappingNode {
		return Definition{}, errors.New("must be a mapping, as name: orders")
	}
	var c Common
	if err := n.Load(&c); err != nil {
		return Definition{}, err
	}
	d := c.Definition()
	if !validName.MatchString(c.Name) {
		return d, errors.New("name: must be 1–64 of a-z 0-9 _ -, and begin with a letter or a digit")
	}
	if c.Company != "" && !hook.ValidCompanyID(c.Company) {
		return d, errors.New("company_id: must be 1–64 of A-Z a-z 0-9 _ : -")
	}
	kind, ok := kinds[c.Kind]
	if !ok {
		var known []string
		for name := range kinds {
			known = append(known, name)
		}
		slices.Sort(known)
		return d, fmt.Errorf("kind: must be one of %s", strings.Join(known, ", "))
	}
	made, err := kind(func(into any) error { return n.Load(into, yaml.WithKnownFields()) })
	if err != nil {
		return d, err
	}
	return made, nil
}

// TLS is how a connection is encrypted.
type TLS struct {
	CAFile     string `yaml:"ca_file"`     // PEM; the system's authorities when empty
	CertFile   string `yaml:"cert_file"`   // of the client, PEM
	KeyFile    string `yaml:"key_file"`    // of the client, PEM
	ServerName string `yaml:"server_name"` // that the certificate must be for; the host's when empty
}

// Config reads the files.
func (t *TLS) Config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, errors.New("tls.ca_file: holds no certificate in PEM")
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("tls: cert_file and key_file go together")
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// Password is that of a source: itself, or what stands in a file. It is not both.
func Password(text, file string) (string, error) {
	switch {
	case file == "":
		return text, nil
	case text != "":
		return "", errors.New("password: goes without password_file")
	}
	content, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	return strings.TrimRight(string(content), "\r\n"), nil
}

// CheckURL reads the address of a server, of one of some schemes. What it says of a wrong one holds none of its text.
func CheckURL(text string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
		return nil, fmt.Errorf("url: must be %s://[user:password@]host[:port]", strings.Join(schemes, ":// or "))
	}
	return u, nil
}

// SecretsOf are the texts of a URL that nobody may see, as they are written and as they are meant.
func SecretsOf(u *url.URL) []string {
	password, ok := u.User.Password()
	if !ok || password == "" {
		return nil
	}
	return []string{url.UserPassword("", password).String()[1:], password}
}
