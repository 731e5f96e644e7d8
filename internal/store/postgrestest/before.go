package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Before is a program that stands before a cluster: clients reach the databases through it.
type Before struct {
	dir  string
	port int
	run  *exec.Cmd
	done chan struct{}
}

// PgBouncer starts one before the cluster. Settings are lines of its section [pgbouncer].
func (c *Cluster) PgBouncer(ctx context.Context, settings ...string) (*Before, error) {
	const file = "[databases]\n* = host=%s port=5432\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\nunix_socket_dir = %s\nauth_type = any\nlogfile =\npidfile =\n%s\n"
	return c.before(ctx, "pgbouncer", 6432, func(dir string) (string, []string) {
		// With auth_type=any the server sees the one user that the database line names.
		text := fmt.Sprintf(file, c.dir+" user=postgres", dir, strings.Join(settings, "\n"))
		return text, nil
	})
}

// HAProxy starts one before the cluster, which passes bytes on and closes what is idle for so long.
func (c *Cluster) HAProxy(ctx context.Context, idle time.Duration) (*Before, error) {
	const file = "defaults\n mode tcp\n timeout connect 2s\n timeout client %[1]dms\n timeout server %[1]dms\nfrontend in\n bind unix@%[2]s/.s.PGSQL.6432 mode 666\n default_backend pg\nbackend pg\n server one unix@%[3]s\n"
	return c.before(ctx, "haproxy", 6432, func(dir string) (string, []string) {
		return fmt.Sprintf(file, idle.Milliseconds(), dir, c.Socket()), []string{"-q", "-db", "-f"}
	})
}

// Pgpool starts one before the cluster and others that follow it. Settings are lines of pgpool.conf.
func (c *Cluster) Pgpool(ctx context.Context, followers []*Cluster, settings ...string) (*Before, error) {
	return c.before(ctx, "pgpool", 6432, func(dir string) (string, []string) {
		var b strings.Builder
		fmt.Fprintf(&b, "listen_addresses = ''\nport = 6432\nsocket_dir = '%[1]s'\npcp_listen_addresses = ''\npcp_socket_dir = '%[1]s'\npcp_port = 6433\npid_file_name = '%[1]s/pid'\nlogdir = '%[1]s'\nwork_dir = '%[1]s'\n", dir)
		fmt.Fprint(&b, "backend_clustering_mode = 'streaming_replication'\nsr_check_period = 1\nsr_check_user = 'postgres'\nsr_check_database = 'postgres'\nhealth_check_period = 0\nnum_init_children = 40\nmax_pool = 1\nenable_pool_hba = off\n")
		for i, one := range append([]*Cluster{c}, followers...) {
			weight := 0
			if i > 0 {
				weight = 1
			}
			fmt.Fprintf(&b, "backend_hostname%[1]d = '%[2]s'\nbackend_port%[1]d = 5432\nbackend_weight%[1]d = %[3]d\nbackend_data_directory%[1]d = '%[2]s/data'\n", i, one.dir, weight)
		}
		return b.String() + strings.Join(settings, "\n") + "\n", []string{"-n", "-f"}
	})
}

// before writes the file of a program into a folder of its own, starts it, and waits until it answers.
func (c *Cluster) before(ctx context.Context, program string, port int, configure func(dir string) (file string, flags []string)) (*Before, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		for _, sbin := range []string{"/usr/sbin/", "/usr/local/sbin/"} {
			if _, missing := os.Stat(sbin + program); missing == nil {
				path, err = sbin+program, nil
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrMissing, program)
	}
	dir, err := os.MkdirTemp("", "before")
	if err != nil {
		return nil, err
	}
	b := &Before{dir: dir, port: port, done: make(chan struct{})}
	text, flags := configure(dir)
	file := filepath.Join(dir, program+".conf")
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o644), c.chown(dir, file)); err != nil {
		return nil, err
	}
	b.run = exec.Command(path, append(flags, file)...) //nolint:noctx // outlives the context that it is started in
	b.run.Dir, b.run.SysProcAttr = dir, &syscall.SysProcAttr{Credential: c.as, Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	b.run.Stdout, b.run.Stderr = &said, &said
	if err := b.run.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	go func() {
		_ = b.run.Wait() // it is ended by a signal
		close(b.done)
	}()
	if err := b.wait(ctx); err != nil {
		b.Stop()
		return nil, fmt.Errorf("%s does not answer: %w: %s", program, err, said.Bytes())
	}
	return b, nil
}

func (c *Cluster) chown(paths ...string) (err error) {
	for _, path := range paths {
		if c.as != nil {
			err = errors.Join(err, os.Chown(path, int(c.as.Uid), int(c.as.Gid)))
		}
	}
	return err
}

func (b *Before) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, b.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-b.done:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// URL is where a database is reached through it.
func (b *Before) URL(database string) string {
	return fmt.Sprintf("postgres://postgres@/%s?host=%s&port=%d", database, url.QueryEscape(b.dir), b.port)
}

// Stop ends it.
func (b *Before) Stop() {
	_ = b.run.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-b.done:
	case <-time.After(5 * time.Second):
		_ = b.run.Process.Kill()
		<-b.done
	}
	os.RemoveAll(b.dir)
}

// Standby starts a cluster that follows this one, and takes no writes.
func (c *Cluster) Standby(ctx context.Context) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	if err := c.chown(dir); err != nil {
		return nil, err
	}
	copied := exec.CommandContext(ctx, filepath.Join(c.bin, "pg_basebackup"), "-h", c.dir, "-U", "postgres", "-D", filepath.Join(dir, "data"), "-R", "-c", "fast", "-X", "stream")
	copied.Dir, copied.SysProcAttr = dir, &syscall.SysProcAttr{Credential: c.as}
	if out, err := copied.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("pg_basebackup: %w: %s", err, out)
	}
	s, err := StartIn(ctx, dir, c.with...)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	s.made = true
	return s, nil
}

// Ask makes the server ask a role for its password.
func (c *Cluster) Ask(ctx context.Context, role string) error {
	path := filepath.Join(c.dir, "data", "pg_hba.conf")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text = append([]byte("local all "+role+" scram-sha-256\n"), text...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	return c.Exec(ctx, "postgres", `SELECT pg_reload_conf()`)
}
