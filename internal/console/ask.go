package console

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
)

// incoming reads what the API answers: published documents keep their own text.
var incoming = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// answer is what the API writes to. Its size is bounded by what the API answers.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// get asks the API and reads its answer into out, unless that is nil.
func (v *visit) get(path string, query url.Values, out any) error {
	_, err := v.ask(http.MethodGet, path+"?"+query.Encode(), nil, out)
	return err
}

// post tells the API to do something; in is its body, nil for none.
func (v *visit) post(path string, in, out any) error {
	_, err := v.ask(http.MethodPost, path, in, out)
	return err
}

// delete tells the API to end something.
func (v *visit) delete(path string) error {
	_, err := v.ask(http.MethodDelete, path, nil, nil)
	return err
}

// ask asks the API in the name of whoever is signed in. An answer that is an error comes back as a
// [client.Problem].
func (v *visit) ask(method, target string, in, out any) (http.Header, error) {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in, json.Deterministic(true)); err != nil {
			return nil, err
		}
	}
	r, err := v.request(method, target, body)
	if err != nil {
		return nil, err
	}
	a := &answer{header: http.Header{}}
	v.c.opt.API.ServeHTTP(a, r)
	if a.status >= 400 {
		p := &client.Problem{}
		if err := json.Unmarshal(a.body.Bytes(), p); err != nil {
			return nil, fmt.Errorf("read the answer to %s %s: %w", method, r.URL.Path, err)
		}
		return nil, p
	}
	if out == nil || a.body.Len() == 0 {
		return a.header, nil
	}
	if err := json.Unmarshal(a.body.Bytes(), out, incoming); err != nil {
		return nil, fmt.Errorf("read the answer to %s %s: %w", method, r.URL.Path, err)
	}
	return a.header, nil
}

// request is a question to the API: the session's key, its company, the address of who asks.
func (v *visit) request(method, target string, body []byte) (*http.Request, error) {
	ctx := httpapi.Uncounted(v.r.Context())
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.RemoteAddr, r.Host, r.RequestURI = v.r.RemoteAddr, v.r.Host, target
	r.Header.Set("Authorization", "Bearer "+v.session.Key)
	if v.who.Operator && v.session.Company != "" {
		r.Header.Set("X-Atlas-Company-Id", v.session.Company)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range map[string]string{"Idempotency-Key": v.once, "If-Match": v.ifMatch} {
		if value != "" && method == http.MethodPost {
			r.Header.Set(name, value)
		}
	}
	return r, nil
}

// webhookPath is the API's path of a webhook, or of something below it. Ids come from addresses
// that anybody may write.
func webhookPath(id string, below ...string) string {
	return pathOf("/v1/webhooks", append([]string{id}, below...)...)
}

func pathOf(root string, parts ...string) string {
	var b strings.Builder
	b.WriteString(root)
	for _, part := range parts {
		b.WriteByte('/')
		if part == "." || part == ".." { // which would lead to another resource
			b.WriteString(strings.ReplaceAll(part, ".", "%2E"))
			continue
		}
		b.WriteString(url.PathEscape(part))
	}
	return b.String()
}

// Pace of all who are signed in to a company, or of an operator. A page asks the API several times, which is not counted there.
const (
	pagesPerSecond = 20
	pagesAtOnce    = 100
	maxPaced       = 10_000
)

// pace bounds how many pages somebody may ask for.
type pace struct {
	mu    sync.Mutex
	byWho map[string]*rate.Limiter
}

func (p *pace) take(who string, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.byWho[who]
	if l == nil {
		if p.byWho == nil || len(p.byWho) >= maxPaced {
			p.byWho = map[string]*rate.Limiter{}
		}
		l = rate.NewLimiter(pagesPerSecond, pagesAtOnce)
		p.byWho[who] = l
	}
	if !l.AllowN(now, 1) {
		return &hook.Error{Kind: hook.KindLimited, Code: "rate_limited", Detail: "That was a lot at once. Wait a second.", RetryAfter: time.Second}
	}
	return nil
}
