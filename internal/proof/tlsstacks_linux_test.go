package proof_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tlsSite is a port on which a program serves one kind of TLS.
type tlsSite struct {
	Port            int
	Cert, Key, Root string // files
	chains          *chains
	tlsServes
}

// tlsServes is what a program is told of a site.
type tlsServes struct {
	chain   string // of [chains]; "" = good
	Version string // the only one that it speaks, as TLSv1.2; "" = 1.2 and 1.3
	Suites  string // of TLS 1.2, by OpenSSL's names; "" = the program's own
	Client  string // "demands" or "asks" for a client certificate
	Strict  bool   // serves other.example alone
	ALPN    string // the only protocol that it offers
	Plain   bool   // no TLS
}

func (s *tlsSite) file(ending string) string { return strings.TrimSuffix(s.Cert, ".pem") + ending }

func (s *tlsSite) address() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// tlsStack is a program with a TLS of its own, or with its own use of one.
type tlsStack struct {
	name, program string
	silent        bool // shakes hands, and does not answer a POST
	can           func(s *tlsServes) bool
	// start makes the commands that serve the sites; dir is for what they read.
	start func(t *testing.T, dir string, sites []*tlsSite) [][]string
}

var tlsStacks = []tlsStack{
	{"openssl", "openssl", true, func(s *tlsServes) bool { return !s.Plain }, startOpenSSL},
	{"gnutls", "gnutls-serv", true, func(s *tlsServes) bool { return !s.Plain }, startGnuTLS},
	{"nginx", "/usr/sbin/nginx", false, func(s *tlsServes) bool { return s.ALPN == "" }, startNginx},
	{"apache", "/usr/sbin/apache2", false, func(s *tlsServes) bool { return s.ALPN == "" }, startApache},
	{"haproxy", "/usr/sbin/haproxy", false, func(s *tlsServes) bool {
		return !slices.Contains([]string{"serial", "short", "sha1", "above-sha1"}, s.chain)
	}, startHAProxy}, // it loads none of these
	{"stunnel", "stunnel4", false, func(s *tlsServes) bool { return s.ALPN == "" && !s.Plain && !s.Strict }, startStunnel},
	{"node", "node", false, func(*tlsServes) bool { return true }, startNode},
	{"java", "java", false, func(s *tlsServes) bool { return s.chain != "disorder" }, startJava}, // its key store wants order
}

// startOpenSSL serves a site with each process. With -www it wants no input.
func startOpenSSL(_ *testing.T, _ string, sites []*tlsSite) (commands [][]string) {
	for _, s := range sites {
		c := []string{"openssl", "s_server", "-www", "-accept", s.address(), "-cert", s.file(".own.pem"), "-key", s.Key, "-CAfile", s.Root}
		if rest, err := os.ReadFile(s.file(".rest.pem")); err == nil && len(rest) > 0 {
			c = append(c, "-cert_chain", s.file(".rest.pem"))
		}
		suites := s.Suites
		if suites == "" {
			suites = "DEFAULT"
		}
		c = append(c, "-cipher", suites+":@SECLEVEL=0")
		if s.Version != "" {
			c = append(c, "-"+strings.NewReplacer("TLSv1.", "tls1_").Replace(s.Version))
		}
		switch s.Client {
		case "demands":
			c = append(c, "-Verify", "2", "-verify_return_error")
		case "asks":
			c = append(c, "-verify", "2")
		}
		if s.Strict {
			c = append(c, "-servername", "other.example", "-servername_fatal", "-cert2", s.file(".own.pem"), "-key2", s.Key)
		}
		if s.ALPN != "" {
			c = append(c, "-alpn", s.ALPN)
		}
		commands = append(commands, c)
	}
	return commands
}

// gnutlsSuites are OpenSSL's names of suites as priorities.
var gnutlsSuites = map[string]string{
	rsaExchange: ":-KX-ALL:+RSA", dheOnly: ":-KX-ALL:+DHE-RSA", cbcOnly: ":-CIPHER-ALL:+AES-128-CBC:-MAC-ALL:+SHA256",
}

func startGnuTLS(_ *testing.T, _ string, sites []*tlsSite) (commands [][]string) {
	for _, s := range sites {
		priority := "NORMAL:%VERIFY_ALLOW_BROKEN" + gnutlsSuites[s.Suites]
		if s.Version != "" {
			priority += ":-VERS-ALL:+VERS-" + strings.Replace(s.Version, "TLSv", "TLS", 1)
		}
		c := []string{"gnutls-serv", "--http", "--port", fmt.Sprint(s.Port), "--x509certfile", s.Cert, "--x509keyfile", s.Key, "--x509cafile", s.Root, "--priority", priority}
		switch s.Client {
		case "demands":
			c = append(c, "--require-client-cert", "--verify-client-cert")
		case "":
			c = append(c, "--disable-client-cert")
		}
		if s.Strict {
			c = append(c, "--sni-hostname", "other.example", "--sni-hostname-fatal")
		}
		if s.ALPN != "" {
			c = append(c, "--alpn", s.ALPN, "--alpn-fatal")
		}
		commands = append(commands, c)
	}
	return commands
}

// versions are a site's, as nginx and Apache write them.
func (s *tlsSite) versions(separator string) string {
	if s.Version != "" {
		return s.Version
	}
	return "TLSv1.2" + separator + "TLSv1.3"
}

func (s *tlsSite) suites() string {
	if s.Suites != "" {
		return s.Suites + ":@SECLEVEL=0"
	}
	return "DEFAULT:@SECLEVEL=0"
}

func startNginx(t *testing.T, dir string, sites []*tlsSite) [][]string {
	var b strings.Builder
	fmt.Fprintf(&b, "daemon off; master_process off; pid %s/pid; error_log %s/error.log;\nevents {}\nhttp {\naccess_log off;\n", dir, dir)
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "%s_temp_path %s/%s;\n", name, dir, name)
	}
	for _, s := range sites {
		if s.Plain {
			fmt.Fprintf(&b, "server { listen %s; location / { return 200; } }\n", s.address())
			continue
		}
		name := "_"
		if s.Strict {
			name = "other.example"
			fmt.Fprintf(&b, "server { listen %s ssl default_server; ssl_reject_handshake on; }\n", s.address())
		}
		verify := map[string]string{"": "off", "asks": "optional", "demands": "on"}[s.Client]
		fmt.Fprintf(&b, "server { listen %s ssl; server_name %s; ssl_certificate %s; ssl_certificate_key %s; ssl_protocols %s; ssl_ciphers %s; ssl_client_certificate %s; ssl_verify_client %s; location / { return 200; } }\n",
			s.address(), name, s.Cert, s.Key, s.versions(" "), s.suites(), s.Root, verify)
	}
	b.WriteString("}\n")
	return [][]string{{"/usr/sbin/nginx", "-p", dir, "-e", dir + "/error.log", "-c", writeConfig(t, dir, b.String())}}
}

func startApache(t *testing.T, dir string, sites []*tlsSite) [][]string {
	var b strings.Builder
	fmt.Fprintf(&b, "ServerRoot %s\nPidFile %s/pid\nErrorLog %s/error.log\nServerName localhost\nUser www-data\nGroup www-data\nDefaultRuntimeDir %s\nMutex sem\n", dir, dir, dir, dir)
	for _, m := range []string{"mpm_event", "authz_core", "alias", "socache_shmcb", "ssl"} {
		fmt.Fprintf(&b, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", m, m)
	}
	b.WriteString("StartServers 1\nSSLStrictSNIVHostCheck on\n<Directory />\nRequire all granted\n</Directory>\n")
	for _, s := range sites {
		fmt.Fprintf(&b, "Listen %s\n", s.address())
		site := "Redirect 204 /\n"
		if !s.Plain {
			verify := map[string]string{"": "none", "asks": "optional", "demands": "require"}[s.Client]
			site += fmt.Sprintf("SSLEngine on\nSSLCertificateFile %s\nSSLCertificateKeyFile %s\nSSLProtocol %s\nSSLCipherSuite %s\nSSLCACertificateFile %s\nSSLVerifyClient %s\nSSLVerifyDepth 2\n",
				s.Cert, s.Key, s.versions(" "), s.suites(), s.Root, verify)
		}
		names := []string{"localhost\nServerAlias 127.0.0.1"}
		if s.Strict {
			names = []string{"other.example", "another.example"} // one alone takes everybody
		}
		for _, name := range names {
			fmt.Fprintf(&b, "<VirtualHost %s>\nServerName %s\n%s</VirtualHost>\n", s.address(), name, site)
		}
	}
	return [][]string{{"/usr/sbin/apache2", "-X", "-d", dir, "-f", writeConfig(t, dir, b.String())}}
}

func startHAProxy(t *testing.T, dir string, sites []*tlsSite) [][]string {
	var b strings.Builder
	b.WriteString("global\n  tune.ssl.default-dh-param 2048\n  ssl-default-bind-options ssl-min-ver TLSv1.2\ndefaults\n  mode http\n  timeout client 10s\n  timeout server 10s\n  timeout connect 10s\n")
	for _, s := range sites {
		fmt.Fprintf(&b, "frontend f%d\n  http-request return status 200\n  bind %s", s.Port, s.address())
		if !s.Plain {
			all := s.file(".all.pem")
			if s.Strict {
				all = filepath.Join(s.chains.dir, "other.all.pem") // its names are what strict-sni goes by
			}
			fmt.Fprintf(&b, " ssl crt %s ciphers %s", all, s.suites())
			if s.Version != "" {
				fmt.Fprintf(&b, " ssl-min-ver %s ssl-max-ver %s", s.Version, s.Version)
			}
			if s.Client != "" {
				fmt.Fprintf(&b, " ca-file %s verify %s", s.Root, map[string]string{"asks": "optional", "demands": "required"}[s.Client])
			}
			if s.Strict {
				b.WriteString(" strict-sni")
			}
			if s.ALPN != "" {
				b.WriteString(" alpn " + s.ALPN)
			}
		}
		b.WriteString("\n")
	}
	return [][]string{{"/usr/sbin/haproxy", "-db", "-f", writeConfig(t, dir, b.String())}}
}

func startStunnel(t *testing.T, dir string, sites []*tlsSite) [][]string {
	behind := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(behind.Close)
	var b strings.Builder
	b.WriteString("foreground = yes\npid =\ndebug = warning\nsyslog = no\n")
	for _, s := range sites {
		fmt.Fprintf(&b, "[s%d]\naccept = %s\nconnect = %s\ncert = %s\nkey = %s\nciphers = %s\nsecurityLevel = 0\n",
			s.Port, s.address(), behind.Listener.Addr(), s.Cert, s.Key, s.suites())
		low, high := "TLSv1.2", "TLSv1.3"
		if s.Version != "" {
			low, high = s.Version, s.Version
		}
		fmt.Fprintf(&b, "sslVersionMin = %s\nsslVersionMax = %s\n", low, high)
		switch s.Client {
		case "demands":
			fmt.Fprintf(&b, "CAfile = %s\nverifyChain = yes\nrequireCert = yes\n", s.Root)
		case "asks":
			fmt.Fprintf(&b, "CAfile = %s\nverify = 1\n", s.Root)
		}
	}
	return [][]string{{"stunnel4", writeConfig(t, dir, b.String())}}
}

func startNode(t *testing.T, dir string, sites []*tlsSite) [][]string {
	text, err := json.Marshal(sites)
	if err != nil {
		t.Fatal(err)
	}
	return [][]string{{"node", "testdata/tls/server.js", writeConfig(t, dir, string(text))}}
}

// javaSuites are OpenSSL's names of suites as the standards have them.
var javaSuites = map[string]string{
	rsaExchange: "TLS_RSA_WITH_AES_128_GCM_SHA256", dheOnly: "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256", cbcOnly: "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
}

func startJava(_ *testing.T, _ string, sites []*tlsSite) [][]string {
	c := []string{"java", "-XX:TieredStopAtLevel=1", "testdata/tls/Server.java"}
	mark := map[bool]string{true: "yes"}
	for _, s := range sites {
		c = append(c, strings.Join([]string{
			fmt.Sprint(s.Port), s.Cert, s.Key, s.Root, s.Version, javaSuites[s.Suites], s.Client, mark[s.Strict], s.ALPN, mark[s.Plain],
		}, "|"))
	}
	return [][]string{c}
}

func writeConfig(t *testing.T, dir, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "config")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serveTLS starts a stack's programs and waits until they listen. They end with the test.
func serveTLS(t *testing.T, stack *tlsStack, sites []*tlsSite) {
	t.Helper()
	dir := t.TempDir()
	for i, command := range stack.start(t, dir, sites) {
		said, err := os.Create(filepath.Join(dir, fmt.Sprintf("said-%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), command[0], command[1:]...)
		cmd.Stdout, cmd.Stderr = said, said
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended
			_ = cmd.Wait()
			said.Close()
			if text, err := os.ReadFile(said.Name()); err == nil && t.Failed() {
				t.Logf("%.60s said: %.2000s", strings.Join(command, " "), text)
			}
		})
	}
	for _, s := range sites {
		eventually(t, 30*time.Second, fmt.Sprintf("%s listens on port %d (%+v)", stack.name, s.Port, s.tlsServes), func() bool {
			nc, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.address())
			if err == nil {
				nc.Close()
			}
			return err == nil
		})
	}
}

// freePorts are ports that nobody listens on.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
