// Package postgrestest runs a throwaway Postgres for tests and measurements: its own cluster on a
// Unix socket, with fsync on, and a database for each test.
package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// ErrMissing is the answer where no Postgres is installed.
var ErrMissing = errors.New("no initdb found; make postgres installs one")

// Cluster is a running Postgres. Stop it last.
type Cluster struct {
	dir   string
	made  bool // the directory is ours, and goes with the cluster
	bin   string
	as    *syscall.Credential // whom it runs as: it refuses to run as root
	with  []string            // settings
	life  io.WriteCloser      // closed, or with this process, ends it
	ended chan struct{}
	count atomic.Int64 // of databases
}

// Start makes a cluster and waits until it answers. Settings are as "fsync=on".
func Start(ctx context.Context, settings ...string) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	c, err := StartIn(ctx, dir, settings...)
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	c.made = true
	return c, nil
}

// StartIn runs the cluster in a directory, and makes it where there is none. One that is found there
// is no longer running, whatever its files say. Settings stand above its files.
func StartIn(ctx context.Context, dir string, settings ...string) (c *Cluster, err error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	c = &Cluster{dir: dir, bin: bin, with: settings}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := c.own(); err != nil {
		return nil, err
	}
	_, err = os.Stat(filepath.Join(dir, "data"))
	switch {
	case err == nil:
		err = errors.Join(os.RemoveAll(filepath.Join(dir, "data", "postmaster.pid")), os.RemoveAll(c.Socket()+".lock"))
	case errors.Is(err, fs.ErrNotExist):
		init := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions")
		init.Dir, init.SysProcAttr = dir, &syscall.SysProcAttr{Credential: c.as}
		if out, failed := init.CombinedOutput(); failed != nil {
			return nil, fmt.Errorf("initdb: %w: %s", failed, out)
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if err := c.Run(); err != nil {
		return nil, err
	}
	return c, c.wait(ctx)
}

// Installed says whether there is a Postgres to start.
func Installed() bool {
	_, err := find()
	return err == nil
}

// find looks for initdb where it is usually installed: Debian keeps it out of the path.
func find() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err == nil && len(found) > 0 {
		return filepath.Dir(slices.Max(found)), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", ErrMissing
	}
	return filepath.Dir(path), nil
}

// own gives the directory to the user postgres if this is root.
func (c *Cluster) own() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	c.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(c.dir, int(uid), int(gid))
}

// Run starts the server of a cluster that was ended. The shell waits for its input to end, so that a
// test that dies takes the server along.
func (c *Cluster) Run() error {
	c.ended = make(chan struct{})
	arguments := []string{
		"-c", `"$0" "$@" </dev/null >server.log 2>&1 & pid=$!; echo $pid >pid; read _; kill -INT $pid; wait $pid`,
		filepath.Join(c.bin, "postgres"), "-D", filepath.Join(c.dir, "data"), "-k", c.dir, "-c", "listen_addresses=",
		"-c", "max_connections=400", "-c", "shared_buffers=64MB", "-c", "max_wal_size=256MB", "-c", "autovacuum_naptime=10s",
	}
	for _, setting := range c.with {
		arguments = append(arguments, "-c", setting)
	}
	run := exec.Command("/bin/sh", arguments...) //nolint:noctx // outlives the context that it is started in
	run.Dir, run.SysProcAttr = c.dir, &syscall.SysProcAttr{Credential: c.as}
	var err error
	if c.life, err = run.StdinPipe(); err != nil {
		return err
	}
	if err := run.Start(); err != nil {
		return err
	}
	ended := c.ended
	go func() {
		_ = run.Wait() // it is ended by a signal
		close(ended)
	}()
	return nil
}

// Restart ends the server and starts it again: as operators do, or as a crash does, which leaves no
// time to any of its processes.
func (c *Cluster) Restart(ctx context.Context, crash bool) error {
	if crash {
		if err := c.Kill(ctx); err != nil {
			return err
		}
	} else {
		c.life.Close()
		select {
		case <-c.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := c.Run(); err != nil {
		return err
	}
	return c.wait(ctx)
}

// Processes are those of the server, the one that starts the others first. It needs /proc.
func (c *Cluster) Processes() ([]int, error) {
	first, err := c.PID()
	if err != nil {
		return nil, err
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", first, first))
	if err != nil {
		return nil, err
	}
	pids := []int{first}
	for field := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// running says that a process has not ended, waited for or not.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	// After the name, which is in brackets, comes the state (proc(5)).
	return err == nil && !bytes.HasPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" Z"))
}

// wait returns when the server answers.
func (c *Cluster) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := c.Exec(ctx, "postgres", "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(c.dir, "server.log")) // none says nothing, too
			return fmt.Errorf("postgres does not answer: %w; %s", err, log)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Exec runs a statement in a database.
func (c *Cluster) Exec(ctx context.Context, database, statement string, args ...any) error {
	conn, err := pgx.Connect(ctx, c.URL(database))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement, args...)
	return errors.Join(err, conn.Close(ctx))
}

// URL is where a database of the cluster is.
func (c *Cluster) URL(database string) string {
	return "postgres://postgres@/" + database + "?host=" + url.QueryEscape(c.dir)
}

// Socket is where the server listens.
func (c *Cluster) Socket() string { return filepath.Join(c.dir, ".s.PGSQL.5432") }

// Log is the file that the server writes its log into.
func (c *Cluster) Log() string { return filepath.Join(c.dir, "server.log") }

// Database makes a database, from a template ("" for an empty one), and returns its name.
func (c *Cluster) Database(ctx context.Context, template string) (string, error) {
	if template == "" {
		template = "template0"
	}
	name := fmt.Sprintf("t%d", c.count.Add(1))
	return name, c.Exec(ctx, "postgres", `CREATE DATABASE `+name+` TEMPLATE `+template)
}

// PID is the process of the running server, whose children serve the connections.
func (c *Cluster) PID() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, "pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// Written is how many transactions have written since the cluster was made, and how many bytes of
// write-ahead log.
func (c *Cluster) Written(ctx context.Context) (transactions, wal int64, err error) {
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return 0, 0, err
	}
	err = conn.QueryRow(ctx, `SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&transactions, &wal)
	return transactions, wal, errors.Join(err, conn.Close(ctx))
}

// Drop removes a database, whoever is connected to it.
func (c *Cluster) Drop(ctx context.Context, name string) error {
	return c.Exec(ctx, "postgres", `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`)
}

// Stop ends the server, and removes what Start made.
func (c *Cluster) Stop() {
	if c.life != nil {
		c.life.Close()
		<-c.ended
	}
	if c.made {
		os.RemoveAll(c.dir)
	}
}
