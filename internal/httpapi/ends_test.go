package httpapi_test

import (
	"context"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// connection is what an answer is written to: one that is read, or one that nobody reads.
type connection struct {
	*httptest.ResponseRecorder
	unread bool
	cut    chan struct{}
}

func (c *connection) Write(b []byte) (int, error) {
	if c.unread {
		<-c.cut
		return 0, os.ErrDeadlineExceeded
	}
	return len(b), nil
}

func (c *connection) SetWriteDeadline(time.Time) error {
	close(c.cut)
	return nil
}

// A stream ends within five seconds when what opened it ends, in whichever way and on whichever node, for
// a key as for a session of the console, and also where its client does not read. In the control nobody
// looks.
func TestStreamsEnd(t *testing.T) {
	const keys = "/v1/companies/c1/keys"
	type opened struct {
		*server
		key, keyID, session, link, signedIn, webhook string
		owner                                        *atomic.Value
	}
	type how struct {
		by  func(o *opened) string // the key that opens it
		end func(o *opened)
	}
	byKey := func(o *opened) string { return o.key }
	ways := map[string]how{
		"key revoked":            {byKey, func(o *opened) { o.call("DELETE", keys+"/"+o.keyID, "").ok(204) }},
		"key expired":            {byKey, func(*opened) { time.Sleep(30 * time.Minute) }}, //nolint:forbidigo // virtual
		"webhook deleted":        {byKey, func(o *opened) { o.call("DELETE", "/v1/webhooks/"+o.webhook, "").ok(204) }},
		"company taken over":     {byKey, func(o *opened) { o.owner.Store("http://192.0.2.1") }},
		"link revoked":           {func(o *opened) string { return o.session }, func(o *opened) { o.call("DELETE", "/v1/companies/c1/console-links/"+o.link, "").ok(204) }},
		"link's maker revoked":   {func(o *opened) string { return o.session }, func(o *opened) { o.call("DELETE", keys+"/"+o.keyID, "").ok(204) }},
		"signed out":             {func(o *opened) string { return o.signedIn }, func(o *opened) { _ = o.api.SignOut(o.t.Context(), o.signedIn) }},
		"signed in, key revoked": {func(o *opened) string { return o.signedIn }, func(o *opened) { o.call("DELETE", keys+"/"+o.keyID, "").ok(204) }},
	}
	// one opens a stream and ends what opened it.
	one := func(s, node *server, owner *atomic.Value, w how, unread bool) (took time.Duration, ended bool) {
		t := s.t
		expires := time.Now().Add(30 * time.Minute).UTC().Format(time.RFC3339)
		made := s.call("POST", keys, `{"scope":"write","expires_at":"`+expires+`"}`).ok(201)
		o := &opened{server: s, key: made["key"].(string), keyID: made["id"].(string), webhook: s.subscribe("*"), owner: owner}
		o.session, o.link = s.opened(s.as(o.key))
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", nil)
		var err error
		if o.signedIn, _, _, err = s.api.SignIn(r, o.key); err != nil {
			t.Fatal(err)
		}
		owner.Store("")
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		r = httptest.NewRequestWithContext(ctx, "GET", "/v1/stream?webhook_id="+o.webhook, nil)
		r.Header.Set("Authorization", "Bearer "+w.by(o))
		c := &connection{ResponseRecorder: httptest.NewRecorder(), unread: unread, cut: make(chan struct{})}
		done := make(chan time.Time, 1)
		go func() {
			node.api.ServeHTTP(c, r)
			done <- time.Now()
		}()
		time.Sleep(10 * time.Second) //nolint:forbidigo // virtual
		if synctest.Wait(); len(done) > 0 {
			t.Errorf("it ended before: %d %v", c.Code, c.Header())
		}
		w.end(o)
		begun := time.Now()
		select {
		case at := <-done:
			return at.Sub(begun), true
		case <-time.After(time.Minute):
			if unread {
				close(c.cut)
			}
			leave()
			<-done
			return 0, false
		}
	}
	// A server needs longer to begin than all the ways to end: all take the same one.
	on := func(t *testing.T, blind bool, try func(one func(w how, unread bool) (time.Duration, bool))) {
		synctest.Test(t, func(t *testing.T) {
			s := newServer(t)
			owner := &atomic.Value{}
			owner.Store("")
			node := s.node(func() string { return owner.Load().(string) })
			if blind {
				node.api.Recheck(365 * 24 * time.Hour)
			}
			try(func(w how, unread bool) (time.Duration, bool) { return one(s, node, owner, w, unread) })
		})
	}
	on(t, false, func(one func(how, bool) (time.Duration, bool)) {
		for name, w := range ways {
			for _, unread := range []bool{false, true} {
				if took, ended := one(w, unread); !ended || took > 5*time.Second {
					t.Errorf("%s, unread %v: ended %v, after %v", name, unread, ended, took)
				}
			}
		}
	})
	t.Run("control", func(t *testing.T) {
		on(t, true, func(one func(how, bool) (time.Duration, bool)) {
			if took, ended := one(ways["webhook deleted"], false); ended {
				t.Errorf("nobody looks, and it ended after %v", took)
			}
		})
	})
}
