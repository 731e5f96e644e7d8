package egress

import (
	"errors"
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/egress/http1"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// exchange1 is one exchange over HTTP/1.1; keep says whether the connection can serve another. The
// caller has set the connection's deadline.
func (c *conn) exchange1(header []byte, r *Request, a *Answer) (keep bool, err error) {
	var got http1.Answer
	err = http1.Exchange(c.nc, &http1.Request{Prelude: c.pool.target.prelude, Header: header, Body: r.Body}, &got)
	a.Phases.FirstByte = got.FirstByte
	if err != nil {
		return false, explain1(err)
	}
	a.Status, a.RetryAfter, a.Header, a.Body, a.Truncated = got.Status, got.RetryAfter, got.Header, got.Body, got.Truncated
	c.keepFor = got.KeepFor
	return got.Keep, nil
}

// explain1 classifies an error of HTTP/1.1.
func explain1(err error) error {
	var e *http1.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("exchange: %w", err)
	}
	switch e.Stage {
	case http1.Malformed:
		return fail(hook.ErrProtocol, PhaseHead, e.Err, "%s", e.Err)
	case http1.Reading:
		return networkError(PhaseHead, e.Err)
	case http1.Sending, http1.Waiting:
	}
	phase := PhaseFirstByte
	if e.Stage == http1.Sending {
		phase = PhaseSend
	}
	broken := networkError(phase, e.Err)
	broken.ended = broken.Class == hook.ErrReset && hungUp(e.Err)
	return broken
}
