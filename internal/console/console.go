// Package console is the web UI, "App Config › Webhooks": what a company's developers see.
//
// It is HTML made on the server, with htmx where a part of a page changes by itself and a few small
// custom elements where something moves. Everything is embedded; nothing is loaded from elsewhere.
//
// The console asks the API, in the same process and with the key of whoever is signed in ([API]):
// it can show and do nothing that this key could not, by construction. A page is a function from a
// [visit] to an error; the visit has the session, asks the API and renders. An error that the API
// answered is shown as it is, with its code and request id.
//
// Everything that is shown was written by strangers. html/template escapes it; the policy
// (headers.go) allows no script but ours, so that a mistake there would still execute nothing.
package console

import (
	"cmp"
	"context"
	"crypto/cipher"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
)

// API is what the console is a view of: the API's handler, and what only the console asks, about
// sessions. *httpapi.API has them.
type API interface {
	http.Handler
	Identify(r *http.Request, key string) (httpapi.Principal, error)
	Enter(r *http.Request, token string) (session string, expires time.Time, err error)
	LinkCompany(r *http.Request, token string) (string, error)
	SignIn(r *http.Request, key string) (session string, p httpapi.Principal, expires time.Time, err error)
	SignOut(ctx context.Context, session string) error
	HoldPage(ctx context.Context, w http.ResponseWriter, company string) (held http.ResponseWriter, release func(), err error)
}

// Setting is one setting of the server, as operators see it: secrets masked.
type Setting struct{ Name, Value string }

// Options are what the console is made of. API and Key are required.
type Options struct {
	API            API
	Key            []byte   // 32 bytes that seal sessions; the same on every node
	PublicURL      string   // where people reach the console; https makes cookies Secure
	FrameAncestors []string // origins that may show the console in a frame; none when empty
	Version        string
	Settings       []Setting // in force, for operators
	Log            *slog.Logger
	Now            func() time.Time // nil means time.Now
}

// Console is the http.Handler for / and everything below /console/. It has no goroutines of its own.
type Console struct {
	opt     Options
	seal    cipher.AEAD
	handler http.Handler
	pace    pace
	root    string // path of PublicURL, with which the addresses of pages begin
	policy  string // the Content-Security-Policy of every page
}

// New returns the console. It panics where a key or an embedded file is wrong.
func New(opt Options) *Console {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	c := &Console{opt: opt, seal: newSeal(opt.Key), policy: policy(opt.FrameAncestors)}
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(c.refuseCrossOrigin))
	if public, err := url.Parse(opt.PublicURL); err == nil && opt.PublicURL != "" {
		c.root = public.Path
		// A proxy may say another Host than browsers do, so that their Origin is another one than ours.
		if err := protection.AddTrustedOrigin(public.Scheme + "://" + public.Host); err != nil {
			panic(err)
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { c.redirect(w, r, "/console/", http.StatusFound) })
	mux.HandleFunc("GET /console/assets/{name}", serveAsset)
	c.sessionRoutes(mux)
	c.overviewRoutes(mux)
	c.webhookRoutes(mux)
	c.formRoutes(mux)
	c.testRoutes(mux)
	c.secretRoutes(mux)
	c.deliveryRoutes(mux)
	c.streamRoutes(mux)
	c.eventRoutes(mux)
	c.topicRoutes(mux)
	c.replayRoutes(mux)
	c.keyRoutes(mux)
	c.auditRoutes(mux)
	c.operatorRoutes(mux)
	c.page(mux, "GET /console/", func(*visit) error { return errNoPage })
	c.handler = protection.Handler(mux)
	return c
}

func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.setHeaders(w.Header())
	c.handler.ServeHTTP(w, r)
}

var errNoPage = &client.Problem{Status: http.StatusNotFound, Code: "no_such_page", Detail: "There is nothing at this address."}

// errReadOnly is said of a page that has nothing but a form, to whoever could not send it.
var errReadOnly = &client.Problem{Status: http.StatusForbidden, Code: "scope_not_allowed", Detail: "This session is read only."}

// page declares a page for which one must be signed in.
func (c *Console) page(mux *http.ServeMux, pattern string, show func(v *visit) error) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		v, err := c.visit(w, r)
		if err != nil {
			c.askToSignIn(w, r, err)
			return
		}
		if err := c.prolong(v); err != nil {
			c.fail(v, err)
			return
		}
		if err := c.pace.take(cmp.Or(v.who.CompanyID, v.who.Actor), c.opt.Now()); err != nil {
			c.fail(v, err)
			return
		}
		if v.session.Company == "" && !forOperators(r.URL.Path) {
			c.redirect(w, r, "/console/companies", http.StatusSeeOther)
			return
		}
		held, release, err := c.opt.API.HoldPage(r.Context(), w, cmp.Or(v.session.Company, v.who.CompanyID))
		if err != nil {
			c.fail(v, err)
			return
		}
		defer release()
		v.w, v.written = held, release
		if err := show(v); err != nil {
			c.fail(v, err)
		}
	})
}

// maxForm bounds what a page may post: a topic's sample, edited, is the largest.
const maxForm = 512 << 10

// forOperators are the pages that need no company.
func forOperators(path string) bool {
	return path == "/console/companies" || path == "/console/company" || path == "/console/system" || path == deadLettersPage || strings.HasPrefix(path, deadLettersPage+"/")
}

// visit is one request to one page by somebody who is signed in.
type visit struct {
	c       *Console
	w       http.ResponseWriter
	r       *http.Request
	session session
	who     httpapi.Principal

	written func() // gives back the memory that the page holds

	once    string // Idempotency-Key of what is asked next
	ifMatch string // If-Match of what is asked next
}

func (c *Console) visit(w http.ResponseWriter, r *http.Request) (*visit, error) {
	s, err := c.readSession(r)
	if err != nil {
		return nil, err
	}
	who, err := c.opt.API.Identify(r, s.Key)
	if err != nil {
		return nil, err
	}
	if !who.Operator {
		s.Company = who.CompanyID
	}
	return &visit{c: c, w: w, r: r, session: s, who: who}, nil
}

// htmx reports whether the request asks for a part of a page.
func (v *visit) htmx() bool { return v.r.Header.Get("HX-Request") == "true" }

// query is a parameter of the page's address.
func (v *visit) query(name string) string { return strings.TrimSpace(v.r.URL.Query().Get(name)) }

// form is a field of what was posted.
func (v *visit) form(name string) string { return strings.TrimSpace(v.r.PostFormValue(name)) }

// forms are all values of a field of what was posted.
func (v *visit) forms(name string) []string {
	v.form(name) // reads the form
	return v.r.Form[name]
}

// redirect ends a form: with htmx by asking it to go there.
func (v *visit) redirect(to string) error {
	if v.htmx() {
		v.w.Header().Set("HX-Redirect", v.c.root+to)
		v.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	v.c.redirect(v.w, v.r, to, http.StatusSeeOther)
	return nil
}

// redirectUnless redirects where nothing went wrong.
func (v *visit) redirectUnless(err error, to string) error {
	if err != nil {
		return err
	}
	return v.redirect(to)
}

// redirect leads to a page of ours.
func (c *Console) redirect(w http.ResponseWriter, r *http.Request, to string, status int) {
	http.Redirect(w, r, c.root+to, status)
}

// fail shows an error: what the API said of it, or that it is ours.
func (c *Console) fail(v *visit, err error) {
	if errors.Is(err, context.Canceled) {
		return // nobody waits for it any more
	}
	p := problemOf(err)
	if p.Status == http.StatusUnauthorized {
		c.askToSignIn(v.w, v.r, err)
		return
	}
	if p.Status >= http.StatusInternalServerError {
		c.opt.Log.Error("page failed", "page", v.r.Pattern, "status", p.Status, "request_id", p.RequestID, "error", err)
	}
	if v.htmx() {
		v.w.Header().Set("HX-Retarget", "#messages")
		v.w.Header().Set("HX-Reswap", "innerHTML")
		if err := v.part("problem", p); err != nil {
			c.opt.Log.Error("render", "error", err)
		}
		return
	}
	v.w.WriteHeader(cmp.Or(p.Status, http.StatusInternalServerError))
	if err := v.show("error", page{Title: "Something is wrong"}, p); err != nil {
		c.opt.Log.Error("render", "error", err)
	}
}

// problemOf is an error as the API would answer it.
func problemOf(err error) *client.Problem {
	if p, ok := errors.AsType[*client.Problem](err); ok {
		return p
	}
	return httpapi.Describe(err)
}
