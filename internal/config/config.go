// Package config is everything that can be set from outside.
//
// There is one [Config] struct. Each of its fields is one setting, and each setting has one name in
// three spellings: a flag (--data-dir), an environment variable (ATLAS_WEBHOOKS_DATA_DIR) and a key
// of a YAML file (data_dir). A flag wins over the environment, the environment over the file, the
// file over the default. [Load] reads all of them, refuses what it does not know, and reports for
// every setting what is in force and where it came from.
//
// No other package reads the environment: they are handed a Config, or a part of it. A field's tags
// are its whole description: `yaml` its name, `default` its default as text, `doc` its sentence in
// --help and in docs/configuration.md, which is generated from here.
package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"

	"github.com/caarlos0/env/v11"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Config is the server's configuration. A zero field stands for its default, so that a test can
// write Config{DataDir: dir}.WithDefaults() and have a server that works.
type Config struct {
	Listen        string `yaml:"listen" default:":8080" group:"Addresses" doc:"Address that the API and the console listen on, as host:port. An empty host means every address of the machine; port 0 picks a free one."`
	MetricsListen string `yaml:"metrics_listen" group:"Addresses" doc:"Address of a listener of its own for /metrics, as host:port. When empty, /metrics is served with the API."`
	PublicURL     string `yaml:"public_url" group:"Addresses" doc:"Address under which people reach this server, as scheme://host[:port][/path]; console links begin with it, and forms that its origin's pages send are accepted whatever Host a proxy names. With a path, everything is served below it too, and a proxy may take the path off or leave it. When empty, it is http://localhost with the port of listen."`

	TrustedProxies Networks `yaml:"trusted_proxies" group:"Addresses" doc:"Networks, in CIDR notation, of the proxies in front of this server. Of requests from there the client is the last address of X-Forwarded-For that lies in none of them: it is what the audit log shows and what wrong keys are counted by. Nobody else's X-Forwarded-For is read."`

	NodeURL string `yaml:"node_url" group:"Addresses" doc:"Address under which the other nodes on the same database reach this one, as scheme://host[:port]. When empty, it is http:// with the address of listen, or, where that has no host, with the address from which this machine reaches the database."`

	DataDir     string    `yaml:"data_dir" default:"./data" group:"Store" doc:"Directory of the embedded store and of the keys that the first start creates. It is created when it does not exist."`
	DatabaseURL SecretURL `yaml:"database_url" group:"Store" doc:"Postgres to use instead of the embedded store, as postgres://user:password@host/database. Several hosts are separated by commas, with target_session_attrs=read-write. Parameters follow a question mark: sslmode, sslrootcert, pool_max_conns (sessions of this node, 24 unless it is set), search_path (a schema of its own), connect_timeout, and settings of Postgres for each session."`

	LeaseSeconds int `yaml:"lease_seconds" default:"10" group:"Store" doc:"Seconds without a sign of life after which the other nodes on the same database take a node's work over, 3 to 60."`

	HoldWhenWentBack bool `yaml:"hold_when_went_back" default:"false" group:"Store" doc:"Deliver nothing when the database turns out to be older than what was acknowledged, because a standby was promoted or a copy restored, until a node is started with --resume."`

	OperatorKey Secret `yaml:"operator_key" group:"Keys" doc:"Key that may do everything: awo_ and at least 32 letters and digits. When empty, the first start on the embedded store creates one in operator.key in the data directory."`

	OperatorKeyPrevious Secret `yaml:"operator_key_previous" group:"Keys" doc:"Operator key that is valid beside operator_key while it is replaced: start every node with the new key as operator_key and the old one here, give the new one to all who use it, then start them without this. What was made with the old one then ends with it."`

	MasterKey Secret `yaml:"master_key" group:"Keys" doc:"Key that seals signing secrets at rest: the base64 of 32 bytes. When empty, the first start on the embedded store creates one in master.key in the data directory."`

	AllowNetworks Networks  `yaml:"allow_networks" group:"Egress" doc:"Networks, in CIDR notation, that endpoints may lie in although they are private, loopback, link-local or reserved."`
	DenyNetworks  Networks  `yaml:"deny_networks" group:"Egress" doc:"Networks, in CIDR notation, that endpoints may never lie in. Wins over allow_networks."`
	AllowPorts    Ports     `yaml:"allow_ports" group:"Egress" doc:"The only ports that endpoints may use. When empty, every port but 22, 25 and the others that browsers block, which no setting opens."`
	AllowHTTP     bool      `yaml:"allow_http" default:"false" group:"Egress" doc:"Allow endpoints without TLS (http://)."`
	EgressProxy   SecretURL `yaml:"egress_proxy" group:"Egress" doc:"HTTP proxy that every delivery goes through, as http://[user:password@]host:port."`

	EgressCAFile string `yaml:"egress_ca_file" group:"Egress" doc:"File of certificates (PEM) of authorities that endpoints, and an https egress_proxy, are verified by besides those of the system, or of SSL_CERT_FILE and SSL_CERT_DIR."`

	EgressProxyBypass Destinations `yaml:"egress_proxy_bypass" group:"Egress" doc:"Endpoints that are reached without egress_proxy: names, domains that begin with a dot for all names below them, and networks in CIDR notation, as hooks.example.com,.corp.example,10.0.0.0/8. Networks are about addresses in endpoints, not about what names lead to."`

	DefaultSignatureScheme hook.SignatureScheme `yaml:"default_signature_scheme" default:"hex" group:"Webhooks" doc:"Signature scheme of webhooks created without one: hex, base64, base64-dotted or python-dict."`
	DefaultDataFormat      hook.DataFormat      `yaml:"default_data_format" default:"string" group:"Webhooks" doc:"Data format of webhooks created without one: string or object."`

	TopicsFile string `yaml:"topics_file" group:"Webhooks" doc:"File, YAML or JSON, of topics beside the fifteen built-in ones. It is read at the start and on SIGHUP, and kept in the store, so that all nodes know its topics within a second; one that it no longer names is taken away, unless a webhook names it, or where nodes share the store a file put it within the last hour."`

	SourcesFile string `yaml:"sources_file" group:"Sources" doc:"File, YAML or JSON, of brokers that events are taken from besides the API. It is read at the start. docs/sources.md has examples."`

	OutboxURL SecretURLs `yaml:"outbox_url" group:"Sources" doc:"Databases of producers that have an outbox, separated by commas, as postgres://user:password@host/database or mariadb://user:password@host/database (for MySQL too). What producers write into its table is accepted as if it were published. docs/outbox.md tells how; Postgres takes the parameters of database_url, MariaDB those of its driver (tls=true), and socket."`

	MaxEventBytes         int `yaml:"max_event_bytes" default:"1048576" group:"Limits" doc:"Size in bytes that the finished body of one event may have, 1024 to 8388608."`
	MaxInFlight           int `yaml:"max_in_flight" default:"512" group:"Limits" doc:"Requests that may be under way at once, over all webhooks, 1 to 65536."`
	MaxInFlightPerWebhook int `yaml:"max_in_flight_per_webhook" default:"64" group:"Limits" doc:"Requests that may be under way at once to one webhook, 1 to 1024."`
	RateLimitCompanyKey   int `yaml:"rate_limit_company_key" default:"100" group:"Limits" doc:"API requests per second that all keys of one company together may make, 1 to 100000. Operator keys have no limit."`
	RetentionDays         int `yaml:"retention_days" default:"30" group:"Limits" doc:"Days that events and their attempts are kept, 8 to 3650."`

	AuditRetentionDays int `yaml:"audit_retention_days" default:"365" group:"Limits" doc:"Days that the audit log is kept, and in the lists of keys those that were revoked or have expired, 30 to 3650."`

	MaxWebhooksPerCompany int `yaml:"max_webhooks_per_company" default:"10000" group:"Limits" doc:"Webhooks that a company may have, where it has no limit of its own, 1 to 1000000."`
	MaxKeysPerCompany     int `yaml:"max_keys_per_company" default:"1000" group:"Limits" doc:"Valid API keys that a company may have, 1 to 100000. Of those that are over as many are kept."`
	MaxLinksPerCompany    int `yaml:"max_links_per_company" default:"1000" group:"Limits" doc:"Links to the console that may wait to be used in a company, 1 to 100000. Of those that are over as many are kept."`

	MaxScheduledPerCompany int `yaml:"max_scheduled_per_company" default:"10000" group:"Limits" doc:"Events with a deliver_at that may wait for their time in a company, 1 to 100000."`

	MaxConnections           int `yaml:"max_connections" default:"4096" group:"Limits" doc:"Connections that may be open to listen at once, 16 to 1000000; fewer where the process may not open as many files. When there are as many, the address that has most of them gives up the one that has been quiet for longest. A metrics_listen has 64 of its own."`
	MaxConnectionsPerAddress int `yaml:"max_connections_per_address" default:"2048" group:"Limits" doc:"Connections that one address (of IPv6, one /64) may have open to listen at once, 1 to 1000000, and no more than three quarters of all. Those of trusted_proxies have as many as there are."`
	AnswerStallSeconds       int `yaml:"answer_stall_seconds" default:"60" group:"Limits" doc:"Seconds that an answer may get no further, because its reader does not read, before its connection is closed, 5 to 3600. A reader that goes on, however slowly, has as long as it takes."`
	MaxAnswerBytes           int `yaml:"max_answer_bytes" default:"67108864" group:"Limits" doc:"Memory in bytes that answers may hold until they are read, in all, 4194304 to 68719476736. A request waits for some of it for five seconds; then it is 503."`
	MaxAnswerBytesPerCompany int `yaml:"max_answer_bytes_per_company" default:"16777216" group:"Limits" doc:"Memory in bytes that the answers of one company may hold until they are read, 1048576 to 68719476736; no more than max_answer_bytes. A request waits for some of it for five seconds; then it is 429."`

	MaxStreams           int `yaml:"max_streams" default:"1024" group:"Limits" doc:"Live streams that may be open at once, in all, 1 to 100000."`
	MaxStreamsPerCompany int `yaml:"max_streams_per_company" default:"32" group:"Limits" doc:"Live streams that one company may have open at once, in the API and the console, 1 to 100000."`

	LogFormat    string    `yaml:"log_format" default:"auto" group:"Observation" doc:"Form of the log on standard error: json, text, or auto (text on a terminal, else json)."`
	LogLevel     string    `yaml:"log_level" default:"info" group:"Observation" doc:"Least level that is logged: debug, info, warn or error."`
	OTLPEndpoint SecretURL `yaml:"otlp_endpoint" group:"Observation" doc:"Address that traces are sent to by OTLP over HTTP, as http://[user:password@]host:4318. Tracing is off when it is empty."`

	ConsoleFrameAncestors Origins `yaml:"console_frame_ancestors" group:"Console" doc:"Origins whose pages may show the console in a frame, as https://app.example.com. None when empty."`
	ConsoleSessionHours   int     `yaml:"console_session_hours" default:"8" group:"Console" doc:"Hours that a session of the console may last, 1 to 168. It is prolonged while it is used, and ends after an hour in which it is not."`

	Dev bool `yaml:"dev" default:"false" group:"Trying out" doc:"For trying out on one machine: allows endpoints on loopback addresses and without TLS. Never in production."`
}

// Default is the configuration in force when nothing is set.
func Default() Config {
	var c Config
	if err := parse(&c, defaults(fields(c))); err != nil {
		panic(err) // a `default` tag that does not parse: a mistake in this package
	}
	return c
}

// WithDefaults returns the configuration with each zero field set to its default, and with what
// Dev allows. Doing it twice changes nothing.
func (c Config) WithDefaults() Config {
	d := reflect.ValueOf(Default())
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			v.Field(i).Set(d.Field(i))
		}
	}
	if c.Dev {
		c.AllowHTTP = true
		for _, n := range loopback() {
			if !slices.Contains(c.AllowNetworks, n) {
				c.AllowNetworks = append(slices.Clone(c.AllowNetworks), n)
			}
		}
	}
	return c
}

// loopback is what Dev adds to AllowNetworks.
func loopback() Networks {
	return Networks{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// BaseURL is the address under which people reach the server that listens on addr: PublicURL, or
// one on localhost. It has no slash at its end.
func (c Config) BaseURL(addr net.Addr) string {
	if c.PublicURL != "" {
		return c.PublicURL
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://localhost"
	}
	return "http://localhost:" + port
}

// PublicPath is the path of PublicURL, below which people reach the server: "" for the root.
func (c Config) PublicPath() string {
	u, err := url.Parse(c.PublicURL)
	if err != nil {
		return ""
	}
	return u.Path
}

// Warnings are the settings in force that an operator should not overlook, one sentence each. The
// server logs them at its start.
func (c Config) Warnings() []string {
	var w []string
	if c.Dev {
		w = append(w, "dev is on: endpoints on this machine and endpoints without TLS are allowed; never use this in production")
	}
	if own := slices.DeleteFunc(slices.Clone(c.AllowNetworks), func(n netip.Prefix) bool {
		return c.Dev && slices.Contains(loopback(), n)
	}); len(own) > 0 {
		w = append(w, fmt.Sprintf("allow_networks is set: endpoints in %s are allowed, although they may be private or reserved", own))
	}
	if c.AllowHTTP && !c.Dev {
		w = append(w, "allow_http is on: payloads may travel without TLS")
	}
	return w
}

// parse sets the fields of the struct behind target from texts by setting name. Fields that texts
// does not name keep their value.
func parse(target any, texts map[string]string) error {
	return env.ParseWithOptions(target, env.Options{Environment: texts, TagName: "yaml"})
}
