// Package mariadbtest runs a throwaway MariaDB for tests and measurements, in a folder of its own, on a Unix
// socket.
package mariadbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
)

// ErrMissing is the answer where no MariaDB is installed.
var ErrMissing = errors.New("no mariadbd found; make mariadb installs one")

// Server is a running MariaDB. Stop it last.
type Server struct {
	dir   string
	bin   string
	as    *syscall.Credential // whom it runs as: it refuses to run as root
	run   *exec.Cmd
	ended chan struct{}
	count atomic.Int64 // of databases
}

// Start makes a server and waits until it answers.
func Start(ctx context.Context) (s *Server, err error) {
	bin, err := find("mariadbd")
	if err != nil {
		return nil, err
	}
	install, err := find("mariadb-install-db")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "maria")
	if err != nil {
		return nil, err
	}
	s = &Server{dir: dir, bin: bin}
	defer func() {
		if err != nil {
			s.Stop()
		}
	}()
	if err := s.own(); err != nil {
		return nil, err
	}
	init := exec.CommandContext(ctx, install, "--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal", "--datadir="+filepath.Join(dir, "data"))
	init.Dir, init.SysProcAttr = dir, &syscall.SysProcAttr{Credential: s.as}
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mariadb-install-db: %w: %s", err, out)
	}
	return s, s.Run(ctx)
}

func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	if _, err := os.Stat("/usr/sbin/" + program); err == nil {
		return "/usr/sbin/" + program, nil
	}
	return "", ErrMissing
}

// own gives the directory to a user that is not root.
func (s *Server) own() error {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
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
	s.as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(s.dir, int(uid), int(gid))
}

// Run starts a server that was killed, and waits until it answers. It ends with this process.
func (s *Server) Run(ctx context.Context) error {
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	s.run = exec.Command(s.bin, "--no-defaults", "--datadir="+filepath.Join(s.dir, "data"), "--socket="+s.Socket(), //nolint:noctx // outlives the context that it is started in
		"--skip-networking", "--pid-file="+filepath.Join(s.dir, "pid"), "--skip-name-resolve", "--innodb-buffer-pool-size=64M")
	s.run.Dir, s.run.Stdout, s.run.Stderr = s.dir, log, log
	s.run.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Pdeathsig: syscall.SIGKILL}
	if err := s.run.Start(); err != nil {
		return err
	}
	run, ended := s.run, make(chan struct{})
	s.ended = ended
	go func() {
		_ = run.Wait() // it is ended by a signal
		close(ended)
	}()
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		err := s.Exec(ctx, "", "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ended:
			text, _ := os.ReadFile(s.Log()) // none says nothing, too
			return fmt.Errorf("mariadbd ended: %w: %s", err, text)
		case <-ctx.Done():
			return fmt.Errorf("mariadbd does not answer: %w", err)
		}
	}
}

// Kill ends the server as a crash does.
func (s *Server) Kill() {
	_ = s.run.Process.Kill() // it may have ended
	<-s.ended
}

// Socket is where the server listens.
func (s *Server) Socket() string { return filepath.Join(s.dir, "sock") }

// Log is the file that the server writes its log into.
func (s *Server) Log() string { return filepath.Join(s.dir, "log") }

// URL is where a database of the server is.
func (s *Server) URL(database string) string {
	return "mariadb://root@/" + database + "?socket=" + url.QueryEscape(s.Socket())
}

// Open returns sessions in a database. Statements may be many in one text.
func (s *Server) Open(database string) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.DBName, c.MultiStatements, c.Logger = "root", "unix", s.Socket(), database, true, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// Exec runs statements in a database.
func (s *Server) Exec(ctx context.Context, database, statements string) error {
	db, err := s.Open(database)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statements)
	return errors.Join(err, db.Close())
}

// Database makes a database and returns its name.
func (s *Server) Database(ctx context.Context) (string, error) {
	name := fmt.Sprintf("t%d", s.count.Add(1))
	return name, s.Exec(ctx, "", "CREATE DATABASE "+name+" CHARACTER SET utf8mb4")
}

// Stop ends the server, and removes what Start made.
func (s *Server) Stop() {
	if s.run != nil && s.run.Process != nil {
		_ = s.run.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case <-s.ended:
		case <-time.After(10 * time.Second):
			s.Kill()
		}
	}
	if strings.Contains(s.dir, "maria") {
		os.RemoveAll(s.dir)
	}
}
