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

	end   context.CancelFunc
	ended chan error
	dir   string
}

// Start runs a server for a test, which it ends with. Its data lie in a directory of their own; it
// allows receivers on this machine.
func Start(t testing.TB) *Server {
	t.Helper()
	s, err := Open()
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

// Open runs a server until it is closed: for what has no test to end with, as TestMain.
func Open() (*Server, error) {
	dir, err := os.MkdirTemp("", "atlas-webhooks-test-")
	if err != nil {
		return nil, err
	}
	ctx, end := context.WithCancel(context.Background())
	running, err := app.Open(ctx, app.Options{
		Config: config.Config{Listen: "127.0.0.1:0", DataDir: dir, Dev: true}, Version: "0.0.0-test",
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		end()
		return nil, err
	}
	s := &Server{URL: running.URL(), Key: running.OperatorKey().Reveal(), end: end, ended: make(chan error, 1), dir: dir}
	go func() { s.ended <- running.Run(ctx) }()
	<-running.Ready()
	return s, nil
}

// Close ends the server and removes its data.
func (s *Server) Close() error {
	s.end()
	err := <-s.ended
	return errors.Join(err, os.RemoveAll(s.dir))
}
