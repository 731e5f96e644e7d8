package httpapi

import (
	"context"
	"net/http"
	"time"
)

const (
	// recheck is how often somebody looks whether what opened a stream still stands. With what a key's row
	// is believed, and farewell, a stream ends within five seconds.
	recheck = 1500 * time.Millisecond
	// farewell is what a stream gets to end by itself, before its connection is cut: its client may not
	// read.
	farewell = time.Second
)

// guard ends the returned context when the key or the session that opened a stream ends, another node
// takes over the company, or stands says no. leave waits until nobody looks any more.
func (x *exchange) guard(ctx context.Context, stands func(context.Context) bool) (guarded context.Context, leave func()) {
	ctx, end := context.WithCancel(ctx)
	left, done := make(chan struct{}), make(chan struct{})
	owner := x.owner()
	go func() {
		defer close(done)
		look := time.NewTicker(x.api.recheck)
		defer look.Stop()
		for x.api.keys.stands(ctx, x.caller) && x.owner() == owner && stands(ctx) {
			select {
			case <-look.C:
			case <-ctx.Done():
				return
			}
		}
		end()
		select {
		case <-left:
		case <-time.After(farewell):
			_ = http.NewResponseController(x).SetWriteDeadline(time.Unix(1, 0)) // what cannot be cut is not a connection
		}
	}()
	return ctx, func() {
		close(left)
		end()
		<-done
	}
}

// owner is the base URL of the node that runs the company's webhooks, "" where that is this one.
func (x *exchange) owner() string {
	if x.api.opt.Owner == nil {
		return ""
	}
	return x.api.opt.Owner(x.company.Partition)
}
