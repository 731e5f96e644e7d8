package postgres

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
)

// sessionSettings are what each session begins with, unless the URL says otherwise. They are set after
// connecting: that stands above what role, database and server take for the default, now and later, and
// passes through poolers, which refuse what they do not know when a connection begins.
var sessionSettings = map[string]string{
	// A node that stands still inside a transaction, or that has vanished from the network, would
	// otherwise stop everybody who waits for its locks.
	"idle_in_transaction_session_timeout": "2s",
	"lock_timeout":                        "5s",
	"statement_timeout":                   "7s",
	"tcp_user_timeout":                    "5s",
	"tcp_keepalives_idle":                 "3",
	"tcp_keepalives_interval":             "1",
	"tcp_keepalives_count":                "3",
	// What is acknowledged is on disk, and what waited for a lock sees what was there before.
	"synchronous_commit":            "on",
	"default_transaction_isolation": "read committed",
}

// opening are the parameters that a connection begins with: those that poolers know, and those that have no
// effect later. All others are set afterwards.
var opening = []string{
	"application_name", "client_encoding", "datestyle", "timezone", "standard_conforming_strings", "options", "replication",
	"session_preload_libraries", "local_preload_libraries", "log_connections", "log_disconnections",
}

// config is what the URL says, with our settings where it says nothing.
func (e *Engine) config() (*pgxpool.Config, error) {
	if err := checkFiles(e.opt.URL); err != nil {
		return nil, err
	}
	c, err := pgxpool.ParseConfig(e.opt.URL)
	if err != nil {
		return nil, malformed(e.opt.URL, err)
	}
	e.set = maps.Clone(sessionSettings)
	for name, value := range c.ConnConfig.RuntimeParams {
		if !slices.Contains(opening, strings.ToLower(name)) {
			e.set[strings.ToLower(name)] = value
			delete(c.ConnConfig.RuntimeParams, name)
		}
	}
	if e.set["synchronous_commit"] == "off" {
		return nil, errors.New("the URL sets synchronous_commit to off: a crash could lose what was acknowledged")
	}
	if _, given := c.ConnConfig.RuntimeParams["application_name"]; !given {
		c.ConnConfig.RuntimeParams["application_name"] = "atlas-webhooks"
	}
	if !strings.Contains(e.opt.URL, "pool_max_conns") {
		c.MaxConns = sessionsOpen
	}
	if c.ConnConfig.ConnectTimeout == 0 {
		c.ConnConfig.ConnectTimeout = tryPatience
	}
	c.ConnConfig.DialFunc, c.PingTimeout = dialer().DialContext, pingPatience
	c.ConnConfig.AfterConnect = e.begin(e.set)
	e.present.asked = c.ConnConfig.ValidateConnect // by the URL
	c.ConnConfig.ValidateConnect = e.validate
	return c, nil
}

// patient is the configuration of a session that works as long as it must, and waits for locks no
// longer than others.
func (e *Engine) patient(c *pgx.ConnConfig) *pgx.ConnConfig {
	own, set := c.Copy(), maps.Clone(e.set)
	set["statement_timeout"], set["idle_in_transaction_session_timeout"] = "0", "0"
	own.AfterConnect = e.begin(set)
	return own
}

// checkFiles names the file of the URL that cannot be used.
func checkFiles(database string) error {
	u, err := url.Parse(database)
	if err != nil {
		return nil // who reads all of it says so
	}
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		path, err := url.PathUnescape(value) // a plus is a plus
		if err != nil || path == "" || path == "system" || !slices.Contains([]string{"sslrootcert", "sslcert", "sslkey"}, name) {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s of the URL: %w", name, err)
		}
		if name == "sslrootcert" && !x509.NewCertPool().AppendCertsFromPEM(text) {
			return fmt.Errorf("%s of the URL: %s holds no certificate in PEM", name, path)
		}
	}
	return nil
}

// malformed says what is wrong with a URL. What the parser says may hold the password, as may what it
// took for something else.
func malformed(database string, err error) error {
	u, unreadable := url.Parse(database)
	if unreadable != nil || u.Host == "" && u.Path == "" {
		return errors.New("the URL is malformed")
	}
	text := err.Error() // which says where it stands, up to what it is
	if _, inner, found := strings.Cut(text, "`: "); found {
		text = inner
	}
	secret, _ := u.User.Password()
	if secret != "" && strings.Contains(text, secret) {
		return errors.New("the URL is malformed")
	}
	return errors.New("the URL is malformed: " + text)
}

// refusal is why a session cannot be used for our work.
type refusal string

func (r refusal) Error() string { return string(r) }

// plainly leaves out of an error how a refusal came about.
func plainly(err error) error {
	if why, ok := errors.AsType[refusal](err); ok {
		return why
	}
	return err
}

// begin makes a session ours, and refuses one that takes no writes or could lose what it acknowledged.
// Each new session is looked at: servers are switched and settings changed under a running node.
func (e *Engine) begin(set map[string]string) pgconn.AfterConnectFunc {
	names := slices.Sorted(maps.Keys(set))
	calls, args := make([]string, len(names)), make([][]byte, 0, 2*len(names))
	for i, name := range names {
		calls[i] = fmt.Sprintf("set_config($%d, $%d, false)", 2*i+1, 2*i+2)
		args = append(args, []byte(name), []byte(set[name]))
	}
	query := `SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), current_setting('fsync'), current_setting('full_page_writes'), ` +
		strings.Join(calls, ", ")
	return func(ctx context.Context, c *pgconn.PgConn) error {
		ctx, cancel := context.WithTimeout(ctx, tryPatience) // a pooler lets clients in and then wait for a session
		defer cancel()
		r := c.ExecParams(ctx, query, args, nil, nil, nil).Read()
		if r.Err != nil {
			return fmt.Errorf("set up the session: %w", r.Err)
		}
		row := r.Rows[0]
		if err := fit(string(row[0]) == "t", string(row[1]) == "on", string(row[2]), string(row[3])); err != nil {
			return err
		}
		e.doors.opened(e.opt.Log)
		return nil
	}
}

const hostsRule = "; the URL must lead to the primary: name it, or all hosts and target_session_attrs=read-write"

// fit says why a server cannot be used.
func fit(standby, readOnly bool, fsync, fullPages string) error {
	switch {
	case standby:
		return refusal("this server is a standby and takes no writes" + hostsRule)
	case readOnly:
		return refusal("this server or role is read-only (default_transaction_read_only)" + hostsRule)
	case failpoint.Is(failpoint.Blind):
		return nil
	case fsync != "on":
		return refusal("fsync is " + fsync + ": a crash could lose what was acknowledged")
	case fullPages != "on":
		return refusal("full_page_writes is " + fullPages + ": a crash could lose what was acknowledged")
	}
	return nil
}

// errPooler is what a pooler is refused for. Its next session would be another one, with other settings and
// without the statements that were prepared.
const errPooler = refusal("before Postgres stands a pooler that does not keep to one session for each connection; set pool_mode=session for PgBouncer, load_balance_mode=off for pgpool")

// checkSessions refuses a pooler that does not give a session for as long as a connection lasts. Of two
// connections that take turns one then finds what the other has set, or no longer what it has set itself.
func (e *Engine) checkSessions(ctx context.Context, c *pgx.ConnConfig) error {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	var conns [2]*pgx.Conn
	for i := range conns {
		conn, err := pgx.ConnectConfig(ctx, c)
		if err != nil {
			return fmt.Errorf("a second session beside the first: %w", plainly(err))
		}
		defer conn.Close(context.WithoutCancel(ctx))
		conns[i] = conn
	}
	for range 10 {
		mine, err := mark(ctx, conns[0])
		if err != nil {
			return err
		}
		kept, err := markedWhile(ctx, conns[0], conns[1], mine)
		if err != nil {
			return err
		}
		if !kept {
			return errPooler
		}
	}
	return nil
}

// mark sets something that only this session knows.
func mark(ctx context.Context, c *pgx.Conn) (text string, err error) {
	err = c.QueryRow(ctx, `SELECT set_config('atlas_webhooks.session', $1, false)`, pgx.QueryExecModeExec, rand.Text()).Scan(&text)
	return text, err
}

// markedWhile says whether a session keeps its mark, and alone, while another one is in a transaction.
func markedWhile(ctx context.Context, c, other *pgx.Conn, mine string) (kept bool, err error) {
	const ask = `SELECT coalesce(current_setting('atlas_webhooks.session', true), '')`
	t, err := other.BeginTx(ctx, readCommitted)
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && strings.HasPrefix(pe.Code, "08") {
		return false, nil // statement pooling refuses transactions
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = t.Rollback(context.WithoutCancel(ctx)) }() // it has only read
	var its, now string
	if err := t.QueryRow(ctx, ask, pgx.QueryExecModeExec).Scan(&its); err != nil {
		return false, err
	}
	if err := c.QueryRow(ctx, ask, pgx.QueryExecModeExec).Scan(&now); err != nil {
		return false, err
	}
	return now == mine && its != mine, nil
}

// safeServer asks what can be switched off under a session.
const safeServer = `SELECT current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on'`

// doors knows whether new sessions can be had, so that it is said once when they no longer can.
type doors struct {
	mu     sync.Mutex
	closed bool
	told   time.Time // when it was said last
}

// tellAgain is how long nothing more is said of what comes and goes.
const tellAgain = time.Minute

func (d *doors) shut(log *slog.Logger, why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if log == nil || d.closed || errors.Is(why, context.Canceled) || time.Since(d.told) < tellAgain {
		return
	}
	d.closed, d.told = true, time.Now()
	log.Warn("Postgres gives no new session; what needs one waits or is answered 503", "error", plainly(why))
}

func (d *doors) opened(log *slog.Logger) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		d.closed = false
		log.Info("Postgres gives new sessions again")
	}
}
