package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"
)

// profileServer serves the profiler (net/http/pprof) while ctx lasts, on a loopback address only:
// what it shows is nobody else's affair, and it has no key.
func profileServer(ctx context.Context, address string, log *slog.Logger) (stop func(), err error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !at.Addr().IsLoopback() {
		return nil, usage("--profile-listen: %q is not a loopback address and a port, as 127.0.0.1:6060", address)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--profile-listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(listener) // until it is closed
	}()
	log.Warn("profiling", "url", "http://"+listener.Addr().String())
	return func() {
		_ = server.Close() // a profile under way has lost its subject
		<-ended
	}, nil
}
