package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Problem is a setting that Validate refuses. Its text never holds a secret.
type Problem struct {
	Setting string
	Err     error
}

func (p *Problem) Error() string { return p.Setting + ": " + p.Err.Error() }

func (p *Problem) Unwrap() error { return p.Err }

// Validate reports everything that is wrong with a complete configuration, as *Problem values
// joined into one error.
func (c Config) Validate() error {
	var all problems
	all.add("listen", address(c.Listen))
	all.add("metrics_listen", optional(c.MetricsListen, address))
	all.add("public_url", optional(c.PublicURL, publicURL))
	all.add("node_url", optional(c.NodeURL, origin))
	if c.DataDir == "" {
		all.add("data_dir", errors.New("is empty"))
	}
	all.add("database_url", optional(c.DatabaseURL.Reveal(), database))
	all.add("lease_seconds", between(c.LeaseSeconds, 3, 60))
	all.add("operator_key", optional(c.OperatorKey.Reveal(), operatorKey))
	all.add("operator_key_previous", optional(c.OperatorKeyPrevious.Reveal(), operatorKey))
	if c.OperatorKeyPrevious != "" && c.OperatorKeyPrevious == c.OperatorKey {
		all.add("operator_key_previous", errors.New("is the same as operator_key"))
	}
	all.add("master_key", optional(c.MasterKey.Reveal(), masterKey))
	all.add("egress_proxy", optional(c.EgressProxy.Reveal(), scheme("http", "https")))
	all.add("default_signature_scheme", oneOf(c.DefaultSignatureScheme,
		hook.SchemeHex, hook.SchemeBase64, hook.SchemeBase64Dotted, hook.SchemePythonDict))
	all.add("default_data_format", oneOf(c.DefaultDataFormat, hook.DataString, hook.DataObject))
	if c.DefaultSignatureScheme == hook.SchemePythonDict && c.DefaultDataFormat == hook.DataObject {
		all.add("default_data_format", errors.New("must be string where default_signature_scheme is python-dict"))
	}
	for _, u := range c.OutboxURL {
		all.add("outbox_url", outboxURL(u.Reveal()))
	}
	all.add("max_event_bytes", between(c.MaxEventBytes, 1024, 8<<20))
	all.add("max_in_flight", between(c.MaxInFlight, 1, 65536))
	all.add("max_in_flight_per_webhook", between(c.MaxInFlightPerWebhook, 1, 1024))
	all.add("rate_limit_company_key", between(c.RateLimitCompanyKey, 1, 100_000))
	all.add("retention_days", between(c.RetentionDays, 8, 3650))
	all.add("audit_retention_days", between(c.AuditRetentionDays, 30, 3650))
	all.add("max_webhooks_per_company", between(c.MaxWebhooksPerCompany, 1, 1_000_000))
	all.add("max_keys_per_company", between(c.MaxKeysPerCompany, 1, 100_000))
	all.add("max_links_per_company", between(c.MaxLinksPerCompany, 1, 100_000))
	all.add("max_scheduled_per_company", between(c.MaxScheduledPerCompany, 1, 100_000))
	all.add("max_connections", between(c.MaxConnections, 16, 1_000_000))
	all.add("max_connections_per_address", between(c.MaxConnectionsPerAddress, 1, 1_000_000))
	all.add("answer_stall_seconds", between(c.AnswerStallSeconds, 5, 3600))
	all.add("max_answer_bytes", between(c.MaxAnswerBytes, 4<<20, 64<<30))
	all.add("max_answer_bytes_per_company", between(c.MaxAnswerBytesPerCompany, 1<<20, 64<<30))
	all.add("max_streams", between(c.MaxStreams, 1, 100_000))
	all.add("max_streams_per_company", between(c.MaxStreamsPerCompany, 1, 100_000))
	all.add("console_session_hours", between(c.ConsoleSessionHours, 1, 168))
	all.add("log_format", oneOf(c.LogFormat, "auto", "json", "text"))
	all.add("log_level", oneOf(c.LogLevel, "debug", "info", "warn", "error"))
	all.add("otlp_endpoint", optional(c.OTLPEndpoint.Reveal(), scheme("http", "https")))
	return errors.Join(all...)
}

type problems []error

func (p *problems) add(setting string, err error) {
	if err != nil {
		*p = append(*p, &Problem{Setting: setting, Err: err})
	}
}

func optional(s string, check func(string) error) error {
	if s == "" {
		return nil
	}
	return check(s)
}

func address(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || strings.ContainsAny(host, " /") {
		return fmt.Errorf("%q is not an address, as :8080 or 127.0.0.1:8080", s)
	}
	return nil
}

func origin(s string) error {
	if u, err := url.Parse(s); err != nil || !isOrigin(u) {
		return errors.New("must be scheme://host[:port] with http or https and nothing after it")
	}
	return nil
}

// publicPath is what a path is that needs no quoting in a page, in a cookie or in an address.
var publicPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)

// publicURL checks an origin that may have a path, which does not end with a slash. It begins with none
// of ours: a proxy may take the path off, and what is left would look as if it had not.
func publicURL(s string) error {
	u, err := url.Parse(s)
	if err == nil {
		if first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/"); slices.Contains([]string{"v1", "console", "docs"}, first) {
			return fmt.Errorf("must not have a path that begins with /%s, which is one of this server's own", first)
		}
	}
	if err == nil && publicPath.MatchString(u.EscapedPath()) {
		bare := *u
		bare.Path = ""
		if isOrigin(&bare) {
			return nil
		}
	}
	return errors.New("must be scheme://host[:port][/path] with http or https, a path of letters, digits and ._~- without a slash at its end, and nothing after it")
}

// scheme checks a URL that may hold credentials: what it says does not repeat the URL.
func scheme(allowed ...string) func(string) error {
	return func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || !slices.Contains(allowed, u.Scheme) {
			return fmt.Errorf("must be a URL that begins with %s://", strings.Join(allowed, ":// or "))
		}
		return nil
	}
}

// database is where Postgres is: a host, or in its query one that is the directory of a Unix socket.
func database(s string) error {
	if u, err := url.Parse(s); err == nil && u.Query().Has("host") {
		u.Host = "socket"
		s = u.String()
	}
	return scheme("postgres", "postgresql")(s)
}

// outboxURL is where a database with an outbox is: a host, or the file or directory of a socket.
func outboxURL(s string) error {
	u, err := url.Parse(s)
	if err == nil && (u.Query().Has("host") || u.Query().Has("socket")) {
		u.Host = "socket"
		s = u.String()
	}
	if err == nil && strings.HasPrefix(u.Scheme, "m") && strings.Trim(u.Path, "/") == "" {
		return errors.New("must name a database, as mariadb://user:password@host/database")
	}
	return scheme("postgres", "postgresql", "mariadb", "mysql")(s)
}

var operatorKeyPattern = regexp.MustCompile(`^awo_[A-Za-z0-9]{32,}$`)

func operatorKey(s string) error {
	if !operatorKeyPattern.MatchString(s) {
		return errors.New("must be awo_ and at least 32 of A-Z a-z 0-9")
	}
	return nil
}

func masterKey(s string) error {
	if b, err := base64.StdEncoding.Strict().DecodeString(s); err != nil || len(b) != 32 {
		return errors.New("must be the base64 of 32 bytes, as `openssl rand -base64 32` prints it")
	}
	return nil
}

func oneOf[T ~string](v T, allowed ...T) error {
	if !slices.Contains(allowed, v) {
		return fmt.Errorf("%q is not one of %s", string(v), join(allowed))
	}
	return nil
}

func between(v, low, high int) error {
	if v < low || v > high {
		return fmt.Errorf("%d is not between %d and %d", v, low, high)
	}
	return nil
}
