package cli

import (
	"fmt"
	"net/http"
	"sync"
	"time"
)

// untiring is a caller for a command that runs until it is told to end: it says once that the server is
// away, and once that it is back.
func (p *Program) untiring(api *caller) (*caller, error) {
	return callerOver(api.settings, &connection{base: http.DefaultTransport.(*http.Transport).Clone(), tell: p.progress})
}

// connection notices whether a server can be reached, by what becomes of requests to it.
type connection struct {
	base http.RoundTripper
	tell func(format string, args ...any)

	mu   sync.Mutex
	away time.Time // since when; zero while it can be reached
}

// RoundTrip makes a request.
func (c *connection) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := c.base.RoundTrip(r)
	switch {
	case r.Context().Err() != nil: // it was called off
	case err != nil:
		c.note(err)
	case answer.StatusCode >= http.StatusBadGateway && answer.StatusCode <= http.StatusGatewayTimeout:
		c.note(fmt.Errorf("the server answers %d", answer.StatusCode))
	default:
		c.note(nil)
	}
	return answer, err
}

func (c *connection) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err != nil && c.away.IsZero():
		c.away = time.Now()
		c.tell("disconnected: %v; trying again", err)
	case err == nil && !c.away.IsZero():
		c.tell("reconnected after %s", time.Since(c.away).Round(100*time.Millisecond))
		c.away = time.Time{}
	}
}
