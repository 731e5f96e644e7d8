package ingress

import (
	"net"
	"net/http"
	"time"
)

// leastHeld is what an answer holds however short it is: what it was made of.
const leastHeld = 64 << 10

// Write writes an answer, or its next part, that holds as much again as what it was made of. It may be
// ended for another's sake.
func (l *Lease) Write(w http.ResponseWriter, b []byte) (int, error) {
	if l != nil && (!l.writing || 2*len(b) > l.bytes) {
		l.writing = true
		l.Fit(max(2*len(b), leastHeld))
		l.begin(func() {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Unix(1, 0)) // without one it is not written to a connection
		})
	}
	return w.Write(b)
}

// Writer is a writer of an answer that a lease is for.
func (l *Lease) Writer(w http.ResponseWriter) http.ResponseWriter { return leased{w, l} }

type leased struct {
	http.ResponseWriter
	lease *Lease
}

func (w leased) Write(b []byte) (int, error) { return w.lease.Write(w.ResponseWriter, b) }

func (w leased) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Within serves anybody, each address being an owner, with so many bytes for each answer.
func (b *Budget) Within(h http.Handler, bytes int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		lease, err := b.Take(r.Context(), host, bytes)
		if err != nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer lease.Release()
		h.ServeHTTP(lease.Writer(w), r)
	})
}
