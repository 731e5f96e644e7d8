package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// openRoutes are those that need no key. They are not in the document: it describes the API.
func (a *API) openRoutes() {
	a.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = jsonContent
		fmt.Fprintln(w, `{"status":"ok"}`)
	})
	a.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := a.opt.Ready(ctx); err != nil {
			refusal := hook.Error{Kind: hook.KindUnavailable, Code: "not_ready", Detail: "this node does not serve now", Err: err}
			if low, ok := errors.AsType[*hook.Error](err); ok && low.Code == "disk_low" {
				refusal = *low
			}
			refusal.RetryAfter = time.Second
			w.(*exchange).fail(&refusal)
			return
		}
		w.Header()["Content-Type"] = jsonContent
		fmt.Fprintln(w, `{"status":"ready"}`)
	})
	a.mux.HandleFunc("GET /openapi.json", a.static("application/json", func() []byte { return a.document().json }))
	a.mux.HandleFunc("GET /openapi.yaml", a.static("application/yaml", func() []byte { return a.document().yaml }))
	a.mux.HandleFunc("GET /docs", a.page(func() []byte { return a.document().page }))
}

// static serves bytes that are made once.
func (a *API) static(contentType string, body func() []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("Cache-Control", "no-cache")
		_, _ = w.Write(body()) // the client may have gone
	}
}

// page serves HTML that needs nothing from elsewhere, and cannot get it.
func (a *API) page(body func() []byte) http.HandlerFunc {
	serve := a.static("text/html; charset=utf-8", body)
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'sha256-"+a.document().styleHash+"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		serve(w, r)
	}
}
