package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

// TestReference fails when docs/configuration.md is not what the settings say.
func TestReference(t *testing.T) {
	const page = "../../docs/configuration.md"
	if *update {
		if err := os.WriteFile(page, []byte(Reference()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(data), Reference()); diff != "" {
		t.Errorf("docs/configuration.md is stale, run `make generate`:\n%s", diff)
	}
}

func TestZeroConfigWithDefaultsIsValid(t *testing.T) {
	c := Config{}.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(Default(), c); diff != "" {
		t.Error(diff)
	}
}

func TestWithDefaultsKeepsWhatIsSet(t *testing.T) {
	c := Config{Listen: "127.0.0.1:0", RetentionDays: 9}.WithDefaults()
	if c.Listen != "127.0.0.1:0" || c.RetentionDays != 9 || c.MaxInFlight != 512 {
		t.Errorf("%+v", c)
	}
	if diff := cmp.Diff(c, c.WithDefaults()); diff != "" {
		t.Error(diff)
	}
}

// TestEverySettingIsDescribed keeps the struct's tags whole: they are flag, variable, key, help and
// page at once.
func TestEverySettingIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	check := func(f field) {
		if f.name == "" || f.doc == "" || !strings.HasSuffix(f.doc, ".") || seen[f.name] {
			t.Errorf("%+v: has no name of its own, or no sentence", f)
		}
		if kubernetes.MatchString(f.env()) {
			t.Errorf("%s: a cluster sets a variable of this name", f.name)
		}
		seen[f.name] = true
	}
	for _, f := range fields(Config{}) {
		check(f)
		if f.group == "" {
			t.Errorf("%s: has no group", f.name)
		}
	}
	for _, f := range fields(Client{}) {
		check(f)
	}
}

// loadWith runs load as the command line would: file is the content of a YAML file, "" for none.
func loadWith(t *testing.T, file string, environ, args []string) (Config, map[string]Setting, error) {
	t.Helper()
	fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	Flags(fs)
	if file != "" {
		t.Chdir(t.TempDir())
		if err := os.WriteFile("atlas.yaml", []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--config=atlas.yaml"}, args...)
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, list, err := load(fs, environ)
	settings := map[string]Setting{}
	for _, s := range list {
		settings[s.Name] = s
	}
	return c, settings, err
}

func TestPrecedence(t *testing.T) {
	file := "retention_days: 10\nmax_in_flight: 20\nlisten: :1\n"
	environ := []string{"ATLAS_WEBHOOKS_RETENTION_DAYS=11", "ATLAS_WEBHOOKS_MAX_IN_FLIGHT=21", "HOME=/"}
	c, settings, err := loadWith(t, file, environ, []string{"--retention-days=12"})
	if err != nil {
		t.Fatal(err)
	}
	if c.RetentionDays != 12 || c.MaxInFlight != 21 || c.Listen != ":1" || c.DataDir != "./data" {
		t.Errorf("%+v", c)
	}
	for name, want := range map[string]string{
		"retention_days": "--retention-days", "max_in_flight": "ATLAS_WEBHOOKS_MAX_IN_FLIGHT",
		"listen": "atlas.yaml:3", "data_dir": "default",
	} {
		if got := settings[name].Origin; got != want {
			t.Errorf("%s comes from %q, want %q", name, got, want)
		}
	}
}

// TestEachSpelling sets every setting in its three spellings to a value other than its default and
// expects the same Config from each.
func TestEachSpelling(t *testing.T) {
	texts := map[string]string{
		"listen": "127.0.0.1:9", "metrics_listen": ":9", "public_url": "https://hooks.example.com", "trusted_proxies": "10.0.0.0/8,::1/128", "node_url": "http://10.0.0.1:9",
		"data_dir": "/d", "database_url": "postgres://u:p@db/x", "outbox_url": "postgres://u:p@a,b/x,mariadb://u:p@c/y", "lease_seconds": "5", "hold_when_went_back": "true", "operator_key": "awo_" + strings.Repeat("k", 32), "operator_key_previous": "awo_" + strings.Repeat("p", 32),
		"master_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "allow_networks": "10.0.0.0/8,fd00::/8",
		"deny_networks": "10.1.0.0/16", "allow_ports": "443,8443", "allow_http": "true", "egress_proxy": "http://proxy:3128", "egress_ca_file": "/c.pem", "egress_proxy_bypass": "hooks.example.com,.corp.example,10.0.0.0/8",
		"default_signature_scheme": "base64", "default_data_format": "object", "max_event_bytes": "2048",
		"max_in_flight": "3", "max_in_flight_per_webhook": "2", "rate_limit_company_key": "7", "retention_days": "8", "topics_file": "/t.yaml", "sources_file": "/s.yaml",
		"audit_retention_days": "30", "max_webhooks_per_company": "5", "max_keys_per_company": "4", "max_links_per_company": "3", "max_scheduled_per_company": "9",
		"max_connections": "100", "max_connections_per_address": "50", "answer_stall_seconds": "30", "max_answer_bytes": "33554432",
		"max_answer_bytes_per_company": "8388608", "max_streams": "7", "max_streams_per_company": "2",
		"log_format": "json", "log_level": "debug", "otlp_endpoint": "http://otel:4318",
		"console_frame_ancestors": "https://a.example.com,https://b.example.com", "console_session_hours": "9", "dev": "true",
	}
	for _, f := range fields(Config{}) {
		t.Run(f.name, func(t *testing.T) {
			text := texts[f.name]
			byFlag, _, err1 := loadWith(t, "", nil, []string{"--" + f.flag() + "=" + text})
			byEnv, _, err2 := loadWith(t, "", []string{f.env() + "=" + text}, nil)
			byFile, _, err3 := loadWith(t, f.name+": '"+text+"'\n", nil, nil)
			if err1 != nil || err2 != nil || err3 != nil {
				t.Fatal(err1, err2, err3)
			}
			if reflect.DeepEqual(byFlag, Default()) {
				t.Error("the flag changed nothing")
			}
			if !reflect.DeepEqual(byFlag, byEnv) || !reflect.DeepEqual(byFlag, byFile) {
				t.Errorf("differ: %+v\n%+v\n%+v", byFlag, byEnv, byFile)
			}
		})
	}
}

func TestYAMLListsAndBareFlags(t *testing.T) {
	c, _, err := loadWith(t, "allow_ports: [443, 8443]\nallow_networks:\n  - 10.0.0.0/8\n", nil, []string{"--allow-http"})
	if err != nil {
		t.Fatal(err)
	}
	if c.AllowPorts.String() != "443, 8443" || c.AllowNetworks.String() != "10.0.0.0/8" || !c.AllowHTTP {
		t.Errorf("%+v", c)
	}
}

func TestDev(t *testing.T) {
	c, settings, err := loadWith(t, "", []string{"ATLAS_WEBHOOKS_ALLOW_NETWORKS=10.0.0.0/8"}, []string{"--dev"})
	if err != nil {
		t.Fatal(err)
	}
	if !c.AllowHTTP || c.AllowNetworks.String() != "10.0.0.0/8, 127.0.0.0/8, ::1/128" {
		t.Errorf("%+v", c)
	}
	if settings["allow_http"].Origin != "--dev" || settings["allow_networks"].Origin != "ATLAS_WEBHOOKS_ALLOW_NETWORKS and --dev" {
		t.Errorf("%+v", settings)
	}
	w := strings.Join(c.Warnings(), "\n")
	if !strings.Contains(w, "dev is on") || !strings.Contains(w, "10.0.0.0/8") || strings.Contains(w, "127.0.0.0/8") {
		t.Error(w)
	}
	if w := Default().Warnings(); w != nil {
		t.Error(w)
	}
}

func TestRefusals(t *testing.T) {
	long := "awo_" + strings.Repeat("k", 31)
	for _, tc := range []struct{ name, file, env, arg, want string }{
		{name: "unknown variable", env: "ATLAS_WEBHOOKS_RETENTION=9", want: "ATLAS_WEBHOOKS_RETENTION: there is no such setting"},
		{name: "unknown key", file: "listen: :1\nretention: 9\n", want: "retention (from atlas.yaml:2): there is no such setting"},
		{name: "key twice", file: "listen: :1\nlisten: :2\n", want: "listen (from atlas.yaml:2): is set twice"},
		{name: "nested", file: "listen:\n  port: 1\n", want: "listen (from atlas.yaml:1): must be a single value or a list"},
		{name: "null", file: "listen:\n", want: "listen (from atlas.yaml:1): has no value"},
		{name: "not a mapping", file: "- listen\n", want: "config: atlas.yaml: is not a list of settings"},
		{name: "two documents", file: "listen: :1\n---\nlisten: :2\n", want: "more than one document"},
		{name: "broken yaml", file: "listen: [\n", want: "config: atlas.yaml:"},
		{name: "word for a number", file: "retention_days: many\n", want: "retention_days (from atlas.yaml:1): must be a whole number"},
		{name: "fraction", arg: "--max-in-flight=1.5", want: "max_in_flight (from --max-in-flight): must be a whole number"},
		{name: "word for a boolean", env: "ATLAS_WEBHOOKS_ALLOW_HTTP=sure", want: "allow_http (from ATLAS_WEBHOOKS_ALLOW_HTTP): must be true or false"},
		{name: "empty number", arg: "--retention-days=", want: "retention_days (from --retention-days): is empty"},
		{name: "explicit zero", arg: "--retention-days=0", want: "0 is not between 8 and 3650"},
		{name: "short retention", arg: "--retention-days=7", want: "7 is not between 8 and 3650"},
		{name: "address", arg: "--listen=8080", want: `listen (from --listen): "8080" is not an address`},
		{name: "big port", arg: "--listen=:70000", want: "is not an address"},
		{name: "short operator key", env: "ATLAS_WEBHOOKS_OPERATOR_KEY=" + long, want: "operator_key (from ATLAS_WEBHOOKS_OPERATOR_KEY): must be awo_"},
		{name: "odd operator key", arg: "--operator-key=awo_" + strings.Repeat("-", 40), want: "must be awo_"},
		{name: "odd previous operator key", arg: "--operator-key-previous=awo_short", want: "operator_key_previous (from --operator-key-previous): must be awo_"},
		{name: "same operator key twice", file: "operator_key: awo_" + strings.Repeat("k", 32) + "\noperator_key_previous: awo_" + strings.Repeat("k", 32), want: "is the same as operator_key"},
		{name: "short master key", arg: "--master-key=AAAA", want: "must be the base64 of 32 bytes"},
		{name: "address for a network", arg: "--allow-networks=10.0.0.1", want: `"10.0.0.1" is not a network`},
		{name: "bits beyond the length", arg: "--allow-networks=10.0.0.1/8", want: "did you mean 10.0.0.0/8?"},
		{name: "empty item", arg: "--deny-networks=10.0.0.0/8,", want: "empty item"},
		{name: "port zero", arg: "--allow-ports=443,0", want: `"0" is not a port`},
		{name: "public url that ends with a slash", arg: "--public-url=https://a.example.com/hooks/", want: "without a slash at its end"},
		{name: "public url with a query", arg: "--public-url=https://a.example.com/hooks?x=1", want: "must be scheme://host[:port][/path]"},
		{name: "public url with a path that must be quoted", arg: "--public-url=https://a.example.com/a%22b", want: "must be scheme://host[:port][/path]"},
		{name: "public url with dots", arg: "--public-url=https://a.example.com/../x", want: "must be scheme://host[:port][/path]"},
		{name: "public url with a path of ours", arg: "--public-url=https://a.example.com/v1/hooks", want: "must not have a path that begins with /v1"},
		{name: "database of another kind", arg: "--database-url=mysql://u:hunter2@db/x", want: "must be a URL that begins with postgres://"},
		{name: "database without a host", arg: "--database-url=postgres:///x", want: "must be a URL that begins with postgres://"},
		{name: "short lease", arg: "--lease-seconds=2", want: "2 is not between 3 and 60"},
		{name: "node url with a path", arg: "--node-url=http://10.0.0.1/x", want: "node_url"},
		{name: "proxy", arg: "--egress-proxy=proxy:3128", want: "must be a URL that begins with http:// or https://"},
		{name: "scheme", arg: "--default-signature-scheme=HEX", want: `"HEX" is not one of hex, base64`},
		{name: "python-dict of an object", arg: "--default-signature-scheme=python-dict", env: "ATLAS_WEBHOOKS_DEFAULT_DATA_FORMAT=object", want: "must be string where"},
		{name: "level", arg: "--log-level=trace", want: `"trace" is not one of`},
		{name: "frame ancestor", arg: "--console-frame-ancestors=https://a.example.com; script-src *", want: "is not an origin"},
		{name: "missing file", arg: "--config=missing.yaml", want: "config: open missing.yaml"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var environ, args []string
			if tc.env != "" {
				environ = []string{tc.env}
			}
			if tc.arg != "" {
				args = []string{tc.arg}
			}
			_, _, err := loadWith(t, tc.file, environ, args)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "kkkk") || strings.Contains(err.Error(), "hunter2")) {
				t.Errorf("the message shows a secret: %v", err)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, _, err := loadWith(t, "listn: :1\nretentions: 9\n", []string{"ATLAS_WEBHOOKS_LISTN=:1"}, nil)
	if err == nil || strings.Count(err.Error(), "no such setting") != 3 {
		t.Error(err)
	}
	_, _, err = loadWith(t, "listn: :1\n", nil, []string{"--retention-days=many"})
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Error(err)
	}
	_, _, err = loadWith(t, "listen: 1\nretention_days: 1\n", nil, nil)
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Error(err)
	}
}

// TestClusterVariables: a Service called atlas-webhooks puts these beside our own.
func TestClusterVariables(t *testing.T) {
	_, _, err := loadWith(t, "", []string{
		"ATLAS_WEBHOOKS_SERVICE_HOST=10.0.0.1", "ATLAS_WEBHOOKS_SERVICE_PORT=80", "ATLAS_WEBHOOKS_SERVICE_PORT_HTTP=80",
		"ATLAS_WEBHOOKS_PORT=tcp://10.0.0.1:80", "ATLAS_WEBHOOKS_PORT_80_TCP_ADDR=10.0.0.1", "ATLAS_WEBHOOKS_URL=http://x",
	}, nil)
	if err != nil {
		t.Error(err)
	}
}

func TestEmptyFileAndVariables(t *testing.T) {
	c, _, err := loadWith(t, "# nothing yet\n", []string{"ATLAS_WEBHOOKS_LISTEN=", "ATLAS_WEBHOOKS_DEV="}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c); diff != "" {
		t.Error(diff)
	}
}

// TestSecretsStayHidden prints a configuration in every way that the standard library knows.
func TestSecretsStayHidden(t *testing.T) {
	key, user := "awo_"+strings.Repeat("S3cret", 8), "p4ssw0rd"
	c, settings, err := loadWith(t, "", nil, []string{
		"--operator-key=" + key, "--master-key=" + strings.Repeat("A", 43) + "=",
		"--database-url=postgres://u:" + user + "@db/x", "--egress-proxy=http://u:" + user + "@proxy:1",
	})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%v %+v %#v %s %q %v", c, c, c, c.OperatorKey, c.DatabaseURL, settings)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "config", c, "key", c.OperatorKey, "url", c.EgressProxy)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "config", c, "key", c.OperatorKey, "url", c.EgressProxy)
	if err := json.NewEncoder(&b).Encode(c); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"S3cret", user, "AAAA"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("%s is in %s", secret, b.String())
		}
	}
	if got := settings["database_url"].Value; got != "postgres://db" {
		t.Error(got)
	}
}

// Whatever setting takes a URL with a password, it does not come out again: not from the configuration
// where the URL is taken, not from what is said where it is refused.
func TestPasswordsInURLsStayHidden(t *testing.T) {
	const password = "p4ssw0rd"
	var taken []string
	for _, f := range fields(Config{}) {
		if f.name == "data_dir" || f.name == "egress_ca_file" || f.name == "topics_file" || f.name == "sources_file" {
			continue // any text is a path
		}
		takes := false
		for _, text := range []string{"http://", "https://", "postgres://", "ftp://", "http://%"} {
			text += "user:" + password + "@example.com:1234"
			c, settings, err := loadWith(t, "", []string{f.env() + "=" + text}, nil)
			said := fmt.Sprint(err)
			if err == nil {
				takes = true
				text, err := json.Marshal(c)
				said = fmt.Sprintf("%+v %#v %v %s %v", c, c, settings, text, err)
			}
			_, secret := reflect.TypeAssert[SecretURL](reflect.ValueOf(c).Field(f.index))
			if (err == nil || secret) && strings.Contains(said, password) {
				t.Errorf("%s=%s is told in %s", f.name, text, said)
			}
		}
		if takes {
			taken = append(taken, f.name)
		}
	}
	if want := []string{"database_url", "egress_proxy", "outbox_url", "otlp_endpoint"}; !slices.Equal(taken, want) {
		t.Errorf("a URL with a password is taken by %q, want %q", taken, want)
	}
}

// TestOutboxURLs: hosts of one URL are separated by commas, and so are URLs.
func TestOutboxURLs(t *testing.T) {
	var u SecretURLs
	if err := u.UnmarshalText([]byte("postgres://u:p@a:1,b:2/x?sslmode=require, mariadb://u:p@c/y,mysql://d/z")); err != nil {
		t.Fatal(err)
	}
	if want := (SecretURLs{"postgres://u:p@a:1,b:2/x?sslmode=require", "mariadb://u:p@c/y", "mysql://d/z"}); !slices.Equal(u, want) {
		t.Errorf("%d URLs", len(u))
	}
	for text, want := range map[string]string{
		"mariadb://u:secret@c":                          "must name a database",
		"oracle://u:secret@c/d":                         "must be a URL that begins with",
		"mariadb://u:secret@c/d,mariadb://u:secret@c/d": "twice",
		"mariadb://u:secret@c/d,http://u:secret@c/d":    "must be a URL that begins with",
	} {
		_, _, err := loadWith(t, "", []string{"ATLAS_WEBHOOKS_OUTBOX_URL=" + text}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, _, err := loadWith(t, "", []string{"ATLAS_WEBHOOKS_OUTBOX_URL=mariadb://u@/d?socket=/run/s,postgres:///d?host=/run"}, nil); err != nil {
		t.Error(err)
	}
}

func TestBaseURL(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv6zero, Port: 8181}
	if got := (Config{}).BaseURL(addr); got != "http://localhost:8181" {
		t.Error(got)
	}
	for public, path := range map[string]string{"https://h.example.com": "", "https://h.example.com/webhooks": "/webhooks", "http://h.example.com:8080/a/b-1": "/a/b-1"} {
		c := Config{PublicURL: public}
		if err := c.WithDefaults().Validate(); err != nil {
			t.Error(err)
		}
		if got := c.BaseURL(addr); got != public {
			t.Error(got)
		}
		if got := c.PublicPath(); got != path {
			t.Errorf("%s has the path %q", public, got)
		}
	}
}

func TestClient(t *testing.T) {
	fs := pflag.NewFlagSet("trigger", pflag.ContinueOnError)
	ClientFlags(fs)
	if err := fs.Parse([]string{"--company=c1"}); err != nil {
		t.Fatal(err)
	}
	c, err := loadClient(fs, []string{"ATLAS_WEBHOOKS_API_KEY=awo_x", "ATLAS_WEBHOOKS_COMPANY=c2", "ATLAS_WEBHOOKS_CONFIG=" + filepath.Join(t.TempDir(), "none")}, &Profiles{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Client{URL: "http://localhost:8080", APIKey: "awo_x", Company: "c1", Profile: "default"}, c); diff != "" {
		t.Error(diff)
	}
	_, err = loadClient(fs, []string{"ATLAS_WEBHOOKS_URL=localhost:8080"}, &Profiles{})
	if err == nil || !strings.Contains(err.Error(), "url (from ATLAS_WEBHOOKS_URL)") {
		t.Error(err)
	}
}
