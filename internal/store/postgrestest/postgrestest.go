// Package postgrestest runs a throwaway Postgres for tests and measurements: its own cluster on a
// Unix socket, with fsync on, and a database for each test.
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	bin   string
	as    *syscall.Credential // whom it runs as: it refuses to run as root
	life  io.WriteCloser      // closed, or with this process, ends it
	ended chan struct{}
	made  atomic.Int64
}

// Start makes a cluster and waits until it answers.
func Start(ctx context.Context) (c *Cluster, err error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		return nil, err
	}
	c = &Cluster{dir: dir, bin: bin, ended: make(chan struct{})}
	defer func() {
		if err != nil {
			c.Stop()
		}
	}()
	if err := c.own(); err != nil {
		return nil, err
	}
	init := exec.CommandContext(ctx, filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions")
	init.Dir, init.SysProcAttr = dir, &syscall.SysProcAttr{Credential: c.as}
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
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
	run := exec.Command("/bin/sh", "-c", `"$0" "$@" </dev/null >server.log 2>&1 & pid=$!; echo $pid >pid; read _; kill -INT $pid; wait $pid`, //nolint:noctx // outlives the context that it is started in
		filepath.Join(c.bin, "postgres"), "-D", filepath.Join(c.dir, "data"), "-k", c.dir, "-c", "listen_addresses=", "-c", "fsync=on",
		"-c", "max_connections=400", "-c", "shared_buffers=64MB", "-c", "max_wal_size=256MB", "-c", "autovacuum_naptime=10s")
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

// wait returns when the server answers.
func (c *Cluster) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := c.do(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Cluster) do(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, c.URL("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// URL is where a database of the cluster is.
func (c *Cluster) URL(database string) string {
	return "postgres://postgres@/" + database + "?host=" + url.QueryEscape(c.dir)
}

// Database makes a database, from a template ("" for an empty one), and returns its name.
func (c *Cluster) Database(ctx context.Context, template string) (string, error) {
	if template == "" {
		template = "template0"
	}
	name := fmt.Sprintf("t%d", c.made.Add(1))
	return name, c.do(ctx, `CREATE DATABASE `+name+` TEMPLATE `+template)
}

// PID is the process of the running server, whose children serve the connections.
func (c *Cluster) PID() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, "pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// Drop removes a database, whoever is connected to it.
func (c *Cluster) Drop(ctx context.Context, name string) error {
	return c.do(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`)
}

// Stop ends the server and removes the cluster.
func (c *Cluster) Stop() {
	if c.life != nil {
		c.life.Close()
		<-c.ended
	}
	os.RemoveAll(c.dir)
}
