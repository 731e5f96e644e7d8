package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
)

func nameOf(t *testing.T, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

// tryPostgres opens a store and closes it again.
func tryPostgres(t *testing.T, url string) error {
	t.Helper()
	s, err := store.OpenPostgres(t.Context(), store.Options{DatabaseURL: url, MasterKey: []byte(storetest.MasterKey)})
	if err == nil {
		err = s.Close()
	}
	return err
}

// logged is a log that a test reads.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), what)
}

func openLogged(t *testing.T, url string) (*store.Store, *logged) {
	t.Helper()
	l := &logged{}
	s, err := store.OpenPostgres(t.Context(), store.Options{DatabaseURL: url, MasterKey: []byte(storetest.MasterKey), Log: slog.New(slog.NewTextHandler(l, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, l
}

func anEvent(c *store.Company, id string) *hook.Event {
	data := fmt.Appendf(nil, `{"id":%q}`, id)
	return &hook.Event{ID: id, Company: c.Key, Partition: c.Partition, Topic: "conversation", Data: data, Digest: hook.EventDigest("conversation", "", data)}
}

// TestPostgresIsolationDefaults: whatever isolation a database takes for the default, two nodes that
// append, record, subscribe and renew leases beside each other are refused nothing.
func TestPostgresIsolationDefaults(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"read uncommitted", "read committed", "repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			b := &broken{T: t, url: database(t)}
			run(t, session(t, b.url), `ALTER DATABASE `+nameOf(t, b.url)+` SET default_transaction_isolation = '`+level+`'`)
			b.direct, b.store = openPostgres(t, b.url+"&pool_max_conns=6"), openPostgres(t, b.url+"&pool_max_conns=6")
			var err error
			if b.c, err = b.store.EnsureCompany(t.Context(), "c1"); err != nil {
				t.Fatal(err)
			}
			if b.w, err = b.store.CreateWebhook(t.Context(), hook.Webhook{Company: b.c.Key, Endpoint: "https://example.com", Topics: []string{"*"}}, nil, store.Audit{}); err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for n, s := range []*store.Store{b.direct, b.store} {
				id := fmt.Sprintf("node%d", n)
				if err := s.Nodes().Join(t.Context(), store.Node{ID: id, StartedAt: testTime}, time.Minute); err != nil {
					t.Fatal(err)
				}
				for i := range 25 {
					all.Go(func() {
						if _, err := s.Append(t.Context(), b.c.Partition, []*hook.Event{b.event(fmt.Sprintf("e%d-%d", n, i), i%2 == 0)}); err != nil {
							t.Error(err)
						}
						if _, err := s.EnsureCompany(t.Context(), fmt.Sprintf("other%d", i)); err != nil {
							t.Error(err)
						}
						r := b.counted(hook.Offset(100*n + i + 1))
						r.Node = id
						if _, err := s.Record(t.Context(), r); err != nil {
							t.Error(err)
						}
						if _, err := s.Nodes().Renew(t.Context(), store.Node{ID: id}, time.Minute); err != nil {
							t.Error(err)
						}
					})
				}
			}
			all.Wait()
			if ids := b.log(); len(ids) != 50 {
				t.Errorf("%d events instead of 50", len(ids))
			}
			if n := b.delivered(); n != 50 {
				t.Errorf("50 records have counted %d", n)
			}
		})
	}
}

// TestPostgresIsolationControl: a transaction that does not name its isolation sees, behind the lock, what
// was there before it waited.
func TestPostgresIsolationControl(t *testing.T) {
	t.Parallel()
	u := database(t)
	run(t, session(t, u), `ALTER DATABASE `+nameOf(t, u)+` SET default_transaction_isolation = 'repeatable read'`)
	const insert = `INSERT INTO events (partition, "offset", id, company, topic, object_key, data, digest, accepted_at)
		SELECT 0, coalesce(max("offset"), 0) + 1, $1, 1, 'x', '', '', '', 0 FROM events WHERE partition = 0`
	first, second := session(t, u), session(t, u)
	run(t, first, "BEGIN")
	run(t, first, store.LockPartition, int64(0))
	failed := make(chan error, 1)
	go func() {
		_, err := second.Exec(context.Background(), "BEGIN")
		if err == nil {
			_, err = second.Exec(context.Background(), store.LockPartition, int64(0))
		}
		if err == nil {
			_, err = second.Exec(context.Background(), insert, "b")
		}
		failed <- err
	}()
	admin := session(t, u)
	for value[int](t, admin, `SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) OR NOT granted AND locktype = 'transactionid'`) == 0 {
	}
	run(t, first, insert, "a")
	run(t, first, "COMMIT")
	if x, ok := errors.AsType[*pgconn.PgError](<-failed); !ok || x.Code != "23505" {
		t.Errorf("%v: the tests of isolation prove nothing", x)
	}
}

// ownPostgres is a cluster whose settings and life are this test's.
func ownPostgres(t *testing.T, settings ...string) *postgrestest.Cluster {
	t.Helper()
	cluster(t) // or skip
	c, err := postgrestest.Start(t.Context(), settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	return c
}

func freshDatabase(t *testing.T, c *postgrestest.Cluster) string {
	t.Helper()
	name, err := c.Database(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestPostgresCommitsStayOnDisk: synchronous_commit is switched off for the database and in the server's
// file, before and under a running node, and nothing acknowledged is lost in a crash. The control commits
// as the server would have it.
func TestPostgresCommitsStayOnDisk(t *testing.T) {
	t.Parallel()
	c := ownPostgres(t, "wal_writer_delay=10s")
	name := freshDatabase(t, c)
	loosen := func() {
		for _, statement := range []string{
			`ALTER DATABASE ` + name + ` SET synchronous_commit = off`, `ALTER SYSTEM SET synchronous_commit = off`, `SELECT pg_reload_conf()`,
		} {
			if err := c.Exec(t.Context(), name, statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	loosen()
	s := openPostgres(t, c.URL(name))
	company, err := s.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	loosen()
	if err := c.Exec(t.Context(), name, `CREATE TABLE control (n int)`); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if _, err := s.Append(t.Context(), company.Partition, []*hook.Event{anEvent(company, fmt.Sprintf("e%d", i))}); err != nil {
			t.Fatal(err)
		}
	}
	loose := session(t, c.URL(name))
	for i := range 30 {
		run(t, loose, `INSERT INTO control VALUES ($1)`, i)
	}
	if err := c.Restart(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	after := session(t, c.URL(name))
	if n := value[int](t, after, `SELECT count(*) FROM events`); n != 30 {
		t.Errorf("%d of 30 acknowledged events are there after a crash", n)
	}
	if n := value[int](t, after, `SELECT count(*) FROM control`); n == 30 {
		t.Error("the control lost nothing: the test proves nothing")
	}
}

// TestPostgresUnsafeServers: a server that could lose what it acknowledged is refused at the start, and
// when it becomes one under a running node.
func TestPostgresUnsafeServers(t *testing.T) {
	t.Parallel()
	c := ownPostgres(t)
	name := freshDatabase(t, c)
	s, log := openLogged(t, c.URL(name))
	company, err := s.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal("the control:", err)
	}
	if err := s.Nodes().Join(t.Context(), store.Node{ID: "a", StartedAt: testTime}, time.Minute); err != nil {
		t.Fatal(err)
	}
	n := 0
	publish := func() error {
		n++
		_, err := s.Nodes().Renew(t.Context(), store.Node{ID: "a"}, time.Minute)
		if err == nil {
			_, err = s.Append(t.Context(), company.Partition, []*hook.Event{anEvent(company, fmt.Sprint(n))})
		}
		return err
	}
	set := func(setting, to string) {
		for _, statement := range []string{`ALTER SYSTEM SET ` + setting + ` = ` + to, `SELECT pg_reload_conf()`} {
			if err := c.Exec(t.Context(), name, statement); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, setting := range []string{"full_page_writes", "fsync"} {
		set(setting, "off")
		eventually(t, func() error {
			if err := publish(); !refusedAs(err, "store_busy") {
				return fmt.Errorf("with %s off a running node answers %w", setting, err)
			}
			return nil
		})
		if err := tryPostgres(t, c.URL(name)); err == nil || !strings.Contains(err.Error(), setting+" is off: a crash could lose") {
			t.Errorf("a start with %s off: %v", setting, err)
		}
		set(setting, "on")
		eventually(t, publish)
	}
	if log.count("full_page_writes is off") != 1 {
		t.Errorf("the log says why %d times", log.count("full_page_writes is off"))
	}
}

func refusedAs(err error, code string) bool {
	var known *hook.Error
	return errors.As(err, &known) && known.Kind == hook.KindUnavailable && known.Code == code
}

// eventually waits until something no longer fails.
func eventually(t *testing.T, what func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-time.After(5 * time.Millisecond) {
		if err = what(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// TestPostgresShutDoors: a role that may no longer connect (its password was changed, its connections are
// used up, it may not log in) is answered "busy", results wait, and it is said once. The control asks the
// server itself.
func TestPostgresShutDoors(t *testing.T) {
	t.Parallel()
	c := ownPostgres(t)
	ctx := t.Context()
	name := freshDatabase(t, c)
	do := func(statement string) {
		t.Helper()
		if err := c.Exec(ctx, name, statement); err != nil {
			t.Fatal(err)
		}
	}
	do(`CREATE ROLE atlas LOGIN PASSWORD 'first'`)
	do(`ALTER DATABASE ` + name + ` OWNER TO atlas`)
	if err := c.Ask(ctx, "atlas"); err != nil {
		t.Fatal(err)
	}
	as := strings.Replace(c.URL(name), "postgres@", "atlas:first@", 1)
	s, log := openLogged(t, as)
	company, err := s.EnsureCompany(ctx, "c1")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	publish := func() error {
		n++
		_, err := s.Append(ctx, company.Partition, []*hook.Event{anEvent(company, fmt.Sprint(n))})
		return err
	}
	for _, shut := range []struct{ code, by, mend string }{
		{"28P01", `ALTER ROLE atlas PASSWORD 'second'`, `ALTER ROLE atlas PASSWORD 'first'`},
		{"28000", `ALTER ROLE atlas NOLOGIN`, `ALTER ROLE atlas LOGIN`},
		{"53300", `ALTER ROLE atlas CONNECTION LIMIT 0`, `ALTER ROLE atlas CONNECTION LIMIT -1`},
		{"42501", `REVOKE CONNECT ON DATABASE ` + name + ` FROM public, atlas`, `GRANT CONNECT ON DATABASE ` + name + ` TO atlas`},
	} {
		do(shut.by)
		do(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'atlas'`)
		_, control := pgx.Connect(ctx, as)
		if x, ok := errors.AsType[*pgconn.PgError](control); !ok || x.Code != shut.code {
			t.Errorf("the control was told %v, not %s", control, shut.code)
		}
		eventually(t, func() error {
			if err := publish(); !refusedAs(err, "store_busy") {
				return fmt.Errorf("%s: a publish got %w", shut.code, err)
			}
			return nil
		})
		if _, err := s.Record(ctx, &store.Record{At: testTime}); !refusedAs(err, "store_busy") {
			t.Errorf("%s: a record got %v", shut.code, err)
		}
		do(shut.mend)
		eventually(t, publish)
	}
	if said := log.count("Postgres gives no new session"); said != 1 {
		t.Errorf("it is said %d times within a minute", said)
	}
	if log.count("first") > 0 {
		t.Error("the log holds the password")
	}
	do(`REVOKE INSERT ON events FROM atlas`)
	if err := publish(); !refusedAs(err, "store_busy") {
		t.Errorf("without the right to write: %v", err)
	}
}

// TestPostgresReadOnly: a server that takes no writes ends the start with a sentence that says what to do,
// also if it is the first of several hosts; told what to look for, the start finds the primary.
func TestPostgresReadOnly(t *testing.T) {
	t.Parallel()
	c := ownPostgres(t)
	name := freshDatabase(t, c)
	openPostgres(t, c.URL(name)) // the control: it is the server and not the store
	standby, err := c.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(standby.Stop)
	both := fmt.Sprintf("postgres://postgres@/%s?host=%s,%s", name, filepath.Dir(standby.Socket()), filepath.Dir(c.Socket()))
	for what, url := range map[string]string{"a standby": standby.URL(name), "a standby before the primary": both} {
		begun := time.Now()
		if err := tryPostgres(t, url); err == nil || !strings.Contains(err.Error(), "standby") || !strings.Contains(err.Error(), "target_session_attrs=read-write") {
			t.Errorf("%s: %v", what, err)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s: said after %s", what, took)
		}
	}
	if err := tryPostgres(t, both+"&target_session_attrs=read-write"); err != nil {
		t.Errorf("both, and told to look for the primary: %v", err)
	}
	if err := c.Exec(t.Context(), name, `ALTER ROLE postgres SET default_transaction_read_only = on`); err != nil {
		t.Fatal(err)
	}
	if err := tryPostgres(t, c.URL(name)); err == nil || !strings.Contains(err.Error(), "read-only") || !strings.Contains(err.Error(), "target_session_attrs=read-write") {
		t.Errorf("a role that only reads: %v", err)
	}
}

// TestPostgresBesideOthers: the store keeps to a schema of its own, which it makes, and another program's
// table of the same library's name misleads nobody.
func TestPostgresBesideOthers(t *testing.T) {
	t.Parallel()
	u := databaseLike(t, cluster(t).URL("template0"))
	admin := session(t, u)
	run(t, admin, `CREATE TABLE goose_db_version (id int GENERATED BY DEFAULT AS IDENTITY, version_id bigint, is_applied bool, tstamp timestamp DEFAULT now());
		INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, true), (20260101000000, true);
		CREATE TABLE companies (id int); CREATE TABLE events (id int)`)
	in := u + "&search_path=" + url.PathEscape(`"Atlas hooks"`)
	for range 2 {
		s := openPostgres(t, in)
		c, err := s.EnsureCompany(t.Context(), "c1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Append(t.Context(), c.Partition, []*hook.Event{anEvent(c, "same")}); err != nil {
			t.Fatal(err)
		}
	}
	if n := value[int](t, admin, `SELECT count(*) FROM "Atlas hooks".events`); n != 1 {
		t.Errorf("%d events in the schema", n)
	}
	if n := value[int](t, admin, `SELECT count(*) FROM pg_tables WHERE schemaname = 'public'`); n != 3 {
		t.Errorf("%d tables of others", n)
	}
	if n := value[int](t, admin, `SELECT count(*) FROM goose_db_version`); n != 2 {
		t.Errorf("%d steps of others", n)
	}
	// The control: the same names in the same schema are in the way.
	if err := tryPostgres(t, u); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("among other people's tables: %v", err)
	}
}

// TestPostgresAdoptsItsSteps: a store from before the table of its steps had a name of its own is found to
// be up to date. The control lost that table.
func TestPostgresAdoptsItsSteps(t *testing.T) {
	t.Parallel()
	u := database(t)
	admin := session(t, u)
	steps := value[int](t, admin, `SELECT count(*) FROM atlas_webhooks_migrations`)
	run(t, admin, `ALTER TABLE atlas_webhooks_migrations RENAME TO goose_db_version`)
	list, err := store.Migrate(t.Context(), store.Options{DatabaseURL: u}, false)
	if err != nil || list[0].AppliedAt == nil || value[bool](t, admin, `SELECT to_regclass('atlas_webhooks_migrations') IS NOT NULL`) {
		t.Errorf("only looked at: %+v, %v", list, err)
	}
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			if err := tryPostgres(t, u); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := value[int](t, admin, `SELECT count(*) FROM atlas_webhooks_migrations`); n != steps {
		t.Errorf("%d steps instead of %d", n, steps)
	}
	run(t, admin, `DROP TABLE atlas_webhooks_migrations, goose_db_version`)
	if err := tryPostgres(t, u); err == nil {
		t.Error("without any table of steps: the test proves nothing")
	}
}

// TestPostgresURLs: what is wrong with a URL is said by name, and without its password.
func TestPostgresURLs(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for suffix, want := range map[string]string{
		"?sslrootcert=/nowhere/root.pem":            "sslrootcert of the URL: open /nowhere/root.pem",
		"?sslrootcert=" + empty:                     "sslrootcert of the URL: " + empty + " holds no certificate",
		"?sslcert=/nowhere/c.pem&sslkey=/nowhere/k": "sslcert of the URL: open /nowhere/c.pem",
		"?pool_max_conns=many":                      "pool_max_conns",
		"?host=127.0.0.1&sslmode=perhaps":           "sslmode",
		"?target_session_attrs=sometimes":           "target_session_attrs",
		"?synchronous_commit=off":                   "synchronous_commit",
		"?connect_timeout=2&host=127.0.0.1&port=1":  "127.0.0.1",
	} {
		err := tryPostgres(t, "postgres://atlas:geheim@/db"+suffix)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", suffix, err)
		}
	}
}
