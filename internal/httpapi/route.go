package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// maxBody bounds the bodies of all routes but publishing.
const maxBody = 256 << 10

// route is what a route is besides its types and its function.
type route struct {
	method, path string
	id           string // of the operation, as clients generated from the document name it
	tag          string
	summary      string
	description  string
	need         need
	status       int  // of success; 0 = 200, or 204 without a body
	creates      bool // takes an Idempotency-Key
	conflicts    bool // can answer 409
	etag         bool // takes If-Match
	live         bool // the node that runs the company's webhooks answers it
	payloads     bool // the answer holds data of events
}

// handle declares a route: its checks, its function, its place in the document.
func handle[I, O any](a *API, r route, fn func(ctx context.Context, x *exchange, in *I) (*O, error)) {
	op := a.operation(r)
	op.MaxBodyBytes = maxBody
	op.Middlewares = huma.Middlewares{a.admission(r)}
	if r.creates {
		op.Middlewares = append(op.Middlewares, a.idempotent)
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		x := exchangeOf(ctx)
		if x.company != nil {
			ctx = store.Share(ctx, x.company.Key)
		}
		if err := x.hold(ctx, a.sizeOf(r)); err != nil {
			return nil, err
		}
		return fn(ctx, x, in)
	})
}

// operation describes a route as far as its types do not.
func (a *API) operation(r route) huma.Operation {
	op := huma.Operation{
		OperationID: r.id, Method: r.method, Path: r.path, Summary: r.summary, Description: r.description,
		Tags: []string{r.tag}, DefaultStatus: r.status,
		Errors: []int{http.StatusBadRequest},
	}
	if r.need != open {
		op.Security = []map[string][]string{{"key": {}}}
		op.Errors = append(op.Errors, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusServiceUnavailable)
	}
	if r.need == companyRead || r.need == companyWrite {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: companyHeader, In: "header", Schema: &huma.Schema{Type: "string"},
			Description: "The company, for an operator key. A company key needs none.",
		})
	}
	if r.creates {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: "string"},
			Description: "A request with the same key and body is done once; it is answered the same again for 24 hours.",
		})
	}
	if r.need == pathRead || r.need == pathWrite || pathValues(r.path) > 0 {
		op.Errors = append(op.Errors, http.StatusNotFound)
	}
	if r.creates || r.conflicts {
		op.Errors = append(op.Errors, http.StatusConflict)
	}
	if r.etag {
		op.Errors = append(op.Errors, http.StatusPreconditionFailed)
	}
	if slices.Contains([]string{http.MethodPost, http.MethodPatch, http.MethodPut}, r.method) {
		op.Errors = append(op.Errors, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	return op
}

func pathValues(path string) (n int) {
	for i := range len(path) {
		if path[i] == '{' {
			n++
		}
	}
	return n
}

// admission is the middleware that checks the key.
func (a *API) admission(r route) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		_, w := humago.Unwrap(ctx)
		x := w.(*exchange)
		if err := x.admit(r.need); err != nil {
			x.fail(err)
			return
		}
		if err := x.readQuery(); err != nil {
			x.fail(err)
			return
		}
		if r.live && x.forward() {
			return
		}
		next(huma.WithValue(ctx, exchangeKey{}, x))
	}
}

// newHuma sets huma up without its own documentation pages, links and formats.
func (a *API) newHuma() huma.API {
	tellHuma()
	format := huma.Format{Marshal: marshal, Unmarshal: unmarshal}
	return humago.New(a.mux, huma.Config{
		OpenAPI:                      a.outline(),
		Formats:                      map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	})
}

// outgoing keeps a published document's own text in an answer, and the order of names the same in
// every answer.
var outgoing = json.JoinOptions(json.Deterministic(true), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true))

func marshal(w io.Writer, v any) error {
	body, err := json.Marshal(v, outgoing)
	if err != nil {
		return err
	}
	_, err = w.Write(append(body, '\n'))
	return err
}

// unmarshal reads a body strictly: one document, nesting bounded, no name twice.
func unmarshal(data []byte, v any) error {
	if _, err := wire.Parse(data); err != nil {
		return plain(err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return plain(hook.Refuse(hook.KindMalformed, "duplicate_field", "a name stands there twice"))
		}
		return plain(hook.Refuse(hook.KindMalformed, "invalid_json", "the body cannot be read"))
	}
	return nil
}

// plain takes an error out of its wrapping: huma passes on its text only.
func plain(err error) error {
	if e, ok := errors.AsType[*hook.Error](err); ok {
		return e
	}
	return err
}
