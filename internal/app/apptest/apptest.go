// Package apptest runs the whole product inside a test: real store, real listener, real deliveries.
package apptest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

// Server is a server that runs.
type Server struct {
	URL string
	Key string // an operator key
	Dir string // where its data lie

	own   bool // Dir is removed at the end
	end   context.CancelFunc
	ended chan error
	done  bool
	err   error
}

// Start runs a server for a test, which it ends with: on a directory of its own, or on the one that
// is given. It allows receivers on this machine.
func Start(t testing.TB, dir ...string) *Server {
	t.Helper()
	return started(t)(Open(dir...))
}

// StartLogging runs a server for a test, configured further than [Start] does. What it logs goes to log.
func StartLogging(t testing.TB, log *slog.Logger, configure func(*config.Config)) *Server {
	t.Helper()
	return started(t)(open(log, configure))
}

// started ends a server with the test.
func started(t testing.TB) func(*Server, error) *Server {
	return func(s *Server, err error) *Server {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	}
}

// Open runs a server until it is closed: for what has no test to end with, as TestMain.
func Open(dir ...string) (*Server, error) {
	return open(slog.New(slog.DiscardHandler), func(*config.Config) {}, dir...)
}

func open(log *slog.Logger, configure func(*config.Config), dir ...string) (*Server, error) {
	s := &Server{own: len(dir) == 0, ended: make(chan error, 1)}
	if s.own {
		made, err := os.MkdirTemp("", "atlas-webhooks-test-")
		if err != nil {
			return nil, err
		}
		dir = []string{made}
	}
	s.Dir = dir[0]
	ctx, end := context.WithCancel(context.Background())
	settings := config.Config{Listen: "127.0.0.1:0", DataDir: s.Dir, Dev: true}
	configure(&settings)
	running, err := app.Open(ctx, app.Options{
		Config: settings, Version: "dev", Log: log,
	})
	if err != nil {
		end()
		return nil, err
	}
	s.URL, s.Key, s.end = running.URL(), running.OperatorKey().Reveal(), end
	go func() { s.ended <- running.Run(ctx) }()
	<-running.Ready()
	return s, nil
}

// Stop ends the server and leaves its data.
func (s *Server) Stop() {
	s.end()
	if !s.done {
		s.err, s.done = <-s.ended, true
	}
}

// Close ends the server and removes its data, if the directory is its own.
func (s *Server) Close() error {
	s.Stop()
	if !s.own {
		return s.err
	}
	return errors.Join(s.err, os.RemoveAll(s.Dir))
}
