package app

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// vestibule answers on a listener while the server is put together, which can take as long as another node
// needs to bring the schema up to date: that the process lives, and that it does not serve yet. Leave it
// before anything else takes connections there.
func vestibule(l net.Listener) (leave func()) {
	door, ok := l.(interface{ SetDeadline(t time.Time) error })
	if !ok {
		return func() {}
	}
	server := &http.Server{Handler: http.HandlerFunc(notYet), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(lent{l}) // it ends by Shutdown
	}()
	return func() {
		end, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = door.SetDeadline(time.Unix(1, 0)) // who waits in Accept
		if server.Shutdown(end) != nil {
			_ = server.Close() // somebody sends a request, and does not finish
		}
		<-ended
		_ = door.SetDeadline(time.Time{}) // a closed one says so to who accepts next
	}
}

// lent is a listener that who serves on it does not close.
type lent struct{ net.Listener }

func (lent) Close() error { return nil }

func notYet(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if r.URL.Path == "/healthz" {
		h.Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"status":"ok"}`)
		return
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	fmt.Fprintln(w, `{"type":"about:blank","title":"Service Unavailable","status":503,"code":"not_ready","detail":"this node starts and does not serve yet"}`)
}
