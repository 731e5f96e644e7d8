package postgrestest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// tool runs a program of Postgres' own.
func (c *Cluster) tool(ctx context.Context, name string, args ...string) error {
	run := exec.CommandContext(ctx, filepath.Join(c.bin, name), args...)
	run.Dir, run.SysProcAttr = c.dir, &syscall.SysProcAttr{Credential: c.as}
	if out, err := run.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return nil
}

// Detach lets a standby hear nothing any more of what it follows.
func (c *Cluster) Detach(ctx context.Context) error {
	for _, statement := range []string{`ALTER SYSTEM SET primary_conninfo = ''`, `SELECT pg_reload_conf()`} {
		if err := c.Exec(ctx, "postgres", statement); err != nil {
			return err
		}
	}
	return c.until(ctx, `SELECT 1 / (SELECT count(*) FROM pg_stat_activity WHERE backend_type <> 'walreceiver' AND NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'walreceiver'))`)
}

// Promote makes a standby a server that is written to.
func (c *Cluster) Promote(ctx context.Context) error {
	return c.Exec(ctx, "postgres", `SELECT pg_promote()`)
}

// until repeats a statement until it succeeds.
func (c *Cluster) until(ctx context.Context, statement string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		err := c.Exec(ctx, "postgres", statement)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// Kill ends the server as a crash does, for good or until Run.
func (c *Cluster) Kill(ctx context.Context) error {
	pids, err := c.Processes()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // some end by themselves
	}
	for _, pid := range pids { // as long as one holds its memory, no other server starts there
		for running(pid) {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	c.life.Close()
	select {
	case <-c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Snapshot keeps the files of a running server as they are at one moment, as a snapshot of its disk does.
func (c *Cluster) Snapshot(ctx context.Context) (err error) {
	pids, err := c.Processes()
	if err != nil {
		return err
	}
	defer func() {
		for _, pid := range slices.Backward(pids) {
			_ = syscall.Kill(pid, syscall.SIGCONT) // some may have ended
		}
	}()
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	return c.copyData(ctx, "data", "snapshot")
}

// SetBack ends the server as a crash does, and starts it on the files that Snapshot kept.
func (c *Cluster) SetBack(ctx context.Context) error {
	if err := c.Kill(ctx); err != nil {
		return err
	}
	if err := c.copyData(ctx, "snapshot", "data"); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(c.dir, "data", "postmaster.pid")); err != nil {
		return err
	}
	if err := c.Run(); err != nil {
		return err
	}
	return c.wait(ctx)
}

func (c *Cluster) copyData(ctx context.Context, from, to string) error {
	if err := os.RemoveAll(filepath.Join(c.dir, to)); err != nil {
		return err
	}
	run := exec.CommandContext(ctx, "cp", "-a", filepath.Join(c.dir, from), filepath.Join(c.dir, to))
	run.Dir, run.SysProcAttr = c.dir, &syscall.SysProcAttr{Credential: c.as}
	if out, err := run.CombinedOutput(); err != nil {
		return fmt.Errorf("copy the files: %w: %s", err, out)
	}
	return nil
}

// Dump writes a database into a file, and Load brings it back under whoever is connected: its tables are
// dropped, made anew and filled.
func (c *Cluster) Dump(ctx context.Context, database string) (file string, err error) {
	file = filepath.Join(c.dir, database+".dump")
	return file, c.tool(ctx, "pg_dump", "-Fc", "-h", c.dir, "-U", "postgres", "-f", file, database)
}

// Load restores a file that Dump wrote.
func (c *Cluster) Load(ctx context.Context, database, file string) error {
	return c.tool(ctx, "pg_restore", "--clean", "--if-exists", "-h", c.dir, "-U", "postgres", "-d", database, file)
}

// Either is the URL of a database on the one of two clusters that is written to.
func (c *Cluster) Either(other *Cluster, database string) string {
	return "postgres://postgres@/" + database + "?host=" + c.dir + "," + other.dir + "&target_session_attrs=read-write"
}
