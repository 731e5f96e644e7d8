package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// answersKept is how long the answer to an Idempotency-Key is given again.
const answersKept = 24 * time.Hour

// idempotent is the middleware of routes that create: the same key and the same request are done
// once and answered alike. A request that was refused may be made again under its key.
func (a *API) idempotent(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	x := w.(*exchange)
	key := r.Header.Get("Idempotency-Key")
	if key == "" {
		next(ctx)
		return
	}
	want, err := a.wanted(x, r, key)
	if err != nil {
		x.fail(err)
		return
	}
	saved, err := a.opt.Store.ReserveAnswer(r.Context(), want, a.now().Add(-answersKept))
	if err != nil {
		x.fail(err)
		return
	}
	if saved != nil {
		h := x.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Idempotency-Replayed", "true")
		x.WriteHeader(saved.Status)
		_, _ = x.Write(saved.Body) // the client may have gone
		return
	}
	x.kept = &bytes.Buffer{}
	done := false
	defer func() { a.settle(r.Context(), x, want, done) }()
	next(ctx)
	done = true
}

// settle keeps the answer of a request that was done, and gives the key of another one back. It
// does so although the client may have gone: what was done stays done.
func (a *API) settle(ctx context.Context, x *exchange, want store.SavedAnswer, done bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	var err error
	if done && x.status >= 200 && x.status < 300 {
		want.Status, want.Body = x.status, x.kept.Bytes()
		err = a.opt.Store.SaveAnswer(ctx, want)
	} else {
		err = a.opt.Store.ForgetAnswer(ctx, want.Company, want.Key)
	}
	if err != nil {
		a.opt.Log.Warn("idempotency key", "request_id", x.id, "error", err)
	}
}

var errKey = &hook.Error{
	Kind: hook.KindMalformed, Code: "invalid_idempotency_key", Detail: "an Idempotency-Key is 1–255 visible ASCII characters",
}

func validKey(key string) bool { return len(key) <= 255 && printable(key) }

// wanted is the request under its key: everything but the headers makes two requests the same, and who
// asks. What one key was answered, a secret perhaps, no other gets.
func (a *API) wanted(x *exchange, r *http.Request, key string) (store.SavedAnswer, error) {
	want := store.SavedAnswer{Key: key, Route: r.Pattern}
	if !validKey(key) {
		return want, errKey
	}
	if x.company != nil {
		want.Company = x.company.Key
	}
	body, err := io.ReadAll(http.MaxBytesReader(x.ResponseWriter, r.Body, maxBody))
	if err != nil {
		return want, hook.Refuse(hook.KindTooLarge, "body_too_large", "the body is larger than this route takes")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	h := sha256.New()
	for _, part := range []string{r.URL.EscapedPath(), r.URL.RawQuery, string(x.caller.scope), x.caller.actor} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write(body)
	h.Sum(want.Digest[:0])
	return want, nil
}
