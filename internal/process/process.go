// Package process runs a server as a process of its own, so that it can be measured, stopped and
// killed as operators and power cuts do it.
//
// [Start] returns when the server answers: it listens on a port that the system picked, and its log
// says which. Whoever starts one ends it, by [Server.Stop] or [Server.Kill]; both wait for the
// process, so that none is left behind, and both may be called twice.
package process

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options is what a server is started with. Binary and Dir are required.
type Options struct {
	Binary string    // the program atlas-webhooks
	Dir    string    // its data directory; keys and store outlive the process
	Args   []string  // further flags of serve
	Env    []string  // added to the environment
	Key    string    // its operator key; "" = the one that its first start makes in Dir
	Wrap   []string  // a program and its arguments that runs the server, as strace
	Log    io.Writer // gets the server's log, line by line; nil = nobody reads it
	// Ready bounds how long the server may take until it answers; 0 means 30 s.
	Ready time.Duration
}

// Server is a running server.
type Server struct {
	URL     string
	Key     string // the operator key
	Profile string // base URL of the profiler, if the server was told to listen for it
	Took    time.Duration
	PID     int

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has been waited for
	err   error         // how it ended; read after ended

	mu   sync.Mutex
	last []string // the end of its log, for errors
}

// Start starts a server and returns when it answers.
func Start(ctx context.Context, o Options) (*Server, error) {
	args := append([]string{
		o.Binary, "serve", "--dev", "--listen", "127.0.0.1:0", "--data-dir", o.Dir, "--log-format", "json",
	}, o.Args...)
	args = append(append([]string(nil), o.Wrap...), args...)
	// The process outlives ctx: how a server ends is its test's subject.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), args[0], args[1:]...)
	cmd.SysProcAttr = withParent()
	cmd.Env = append(cmd.Environ(), o.Env...)
	if o.Key != "" {
		cmd.Env = append(cmd.Env, "ATLAS_WEBHOOKS_OPERATOR_KEY="+o.Key)
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	s := &Server{cmd: cmd, PID: cmd.Process.Pid, Key: o.Key, ended: make(chan struct{})}
	serving := make(chan string, 1)
	go s.follow(log, o.Log, serving)
	if o.Ready == 0 {
		o.Ready = 30 * time.Second
	}
	timer := time.NewTimer(o.Ready)
	defer timer.Stop()
	select {
	case s.URL = <-serving:
		s.Took = time.Since(began)
	case <-s.ended:
		return nil, fmt.Errorf("the server ended at its start: %w\n%s", orZero(s.err), s.Tail())
	case <-timer.C:
		s.Kill()
		return nil, fmt.Errorf("the server did not answer within %s\n%s", o.Ready, s.Tail())
	case <-ctx.Done():
		s.Kill()
		return nil, ctx.Err()
	}
	if s.Key == "" {
		key, err := os.ReadFile(filepath.Join(o.Dir, "operator.key"))
		if err != nil {
			s.Kill()
			return nil, err
		}
		s.Key = strings.TrimSpace(string(key))
	}
	return s, nil
}

var errEndedWell = errors.New("exit status 0")

func orZero(err error) error {
	if err == nil {
		return errEndedWell
	}
	return err
}

// follow reads the log to its end, which is the process's end, and waits for the process.
func (s *Server) follow(log io.Reader, copyTo io.Writer, serving chan<- string) {
	defer close(s.ended)
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		line := lines.Text()
		s.note(line)
		if copyTo != nil {
			// Nobody is served if a test's log is full.
			_, _ = io.WriteString(copyTo, line+"\n")
		}
		var entry struct{ Msg, URL string }
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue
		}
		switch entry.Msg {
		case "profiling":
			s.Profile = entry.URL
		case "serving":
			serving <- loopback(entry.URL)
		}
	}
	// What is not a line is lost; the process must not block on a full pipe.
	_, _ = io.Copy(io.Discard, log)
	s.err = s.cmd.Wait()
}

// loopback is a URL with the address that the server was told to listen on: localhost can be
// another one.
func loopback(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	return "http://" + net.JoinHostPort("127.0.0.1", u.Port())
}

const kept = 40 // lines of the log that an error shows

func (s *Server) note(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last = append(s.last, line); len(s.last) > kept {
		s.last = s.last[1:]
	}
}

// Tail is the end of the log.
func (s *Server) Tail() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.last, "\n")
}

// Ended is closed when the process has ended and was waited for.
func (s *Server) Ended() <-chan struct{} { return s.ended }

// ExitCode is the code that the process ended with, −1 when a signal ended it. It waits for the end.
func (s *Server) ExitCode() int {
	<-s.ended
	return s.cmd.ProcessState.ExitCode()
}

// Kill ends the process as a crash does, and waits for it.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it has ended already
	<-s.ended
}

// Stop asks the process to end and waits for it. One that has not ended after a while is killed.
func (s *Server) Stop(patience time.Duration) error {
	if err := s.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
		s.Kill()
		return fmt.Errorf("the server did not end within %s of SIGTERM\n%s", patience, s.Tail())
	}
	if s.err != nil {
		return fmt.Errorf("the server ended badly: %w\n%s", s.err, s.Tail())
	}
	return nil
}

// Signal sends a signal to the process, as SIGSTOP and SIGCONT.
func (s *Server) Signal(signal syscall.Signal) error { return s.cmd.Process.Signal(signal) }
