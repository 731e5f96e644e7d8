package cli_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/cli"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

// goodKey is a key by its form.
const goodKey = "awo_kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"

// fakeServer is a server of nothing: it says what it was opened with, makes the file running in its
// data directory, and ends when it is told to.
type fakeServer struct {
	o     cli.ServerOptions
	ready chan struct{}
}

func openFake(_ context.Context, o cli.ServerOptions) (cli.Server, error) {
	if strings.HasPrefix(o.Config.DatabaseURL.Reveal(), "postgres") {
		return nil, fmt.Errorf("open the store: postgres is not built yet")
	}
	return &fakeServer{o: o, ready: make(chan struct{})}, nil
}

func (s *fakeServer) Run(ctx context.Context) error {
	s.o.Log.Info("listening", "listen", s.o.Config.Listen, "version", s.o.Version)
	close(s.ready)
	if err := os.WriteFile(filepath.Join(s.o.Config.DataDir, "running"), nil, 0o600); err != nil {
		return err
	}
	<-ctx.Done()
	s.o.Log.Info("ended")
	return nil
}

func (s *fakeServer) Ready() <-chan struct{} { return s.ready }

func (s *fakeServer) URL() string { return "http://localhost" }

func (s *fakeServer) ApplyTopics(context.Context) error { return nil }

func (s *fakeServer) OperatorKey() config.Secret { return goodKey }
