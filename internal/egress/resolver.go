package egress

import (
	"context"
	"net"
	"sync"
	"time"
)

// newResolver asks the system's name servers, or only the given one. A look-up that is given up
// closes its socket at once; the standard resolver would keep it, and a goroutine, for seconds.
func newResolver(server string) *net.Resolver {
	return &net.Resolver{PreferGo: server != "", Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if server != "" {
			address = server
		}
		nc, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { nc.Close() })
		}
		return nc, err
	}}
}

// resolved remembers which names have resolved, and when a resolver last answered anything: the
// local evidence by which a silent resolver is told from a name that is dead.
type resolved struct {
	mu    sync.Mutex
	names map[string]struct{}
	last  time.Time // of the last answer, of whatever content
}

// rememberedNames bounds the memory. When it is full, names are learnt anew.
const rememberedNames = 1 << 16

func (r *resolved) answered(name string, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = time.Now()
	if !found {
		return
	}
	if r.names == nil || len(r.names) >= rememberedNames {
		r.names = make(map[string]struct{})
	}
	r.names[name] = struct{}{}
}

// silent reports that the name resolved before and no resolver has answered anything since then.
func (r *resolved) silent(name string, since time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.names[name]
	return known && r.last.Before(since)
}
