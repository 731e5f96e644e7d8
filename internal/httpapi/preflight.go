package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// PreflightRequest is the body of POST /v1/webhooks/preflight.
type PreflightRequest struct {
	Endpoint string `json:"endpoint"`
}

// Preflight is what an endpoint looks like from here, without anything having been sent to it.
type Preflight struct {
	OK        bool               `json:"ok" doc:"A request could be sent."`
	Endpoint  *string            `json:"endpoint" doc:"As it would be saved; null when the rules refuse it."`
	Refused   []hook.FieldError  `json:"refused" doc:"By the rules for endpoints."`
	Addresses []PreflightAddress `json:"addresses" doc:"What the name resolves to."`
	Protocol  *string            `json:"protocol"`
	TLS       *PreflightTLS      `json:"tls,omitempty"`
	Failure   *PreflightFailure  `json:"failure,omitempty"`
	Timing    Timing             `json:"timing"`
}

// PreflightAddress is one address, or that one is refused.
type PreflightAddress struct {
	Address *string `json:"address" doc:"Null for one that is refused: only that is told."`
	Rule    *string `json:"rule" doc:"Why it is refused; null when it is not."`
}

// PreflightTLS is the handshake and the receiver's certificate.
type PreflightTLS struct {
	Version   string    `json:"version"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Verified  bool      `json:"verified"`
}

// PreflightFailure is the step at which it ended.
type PreflightFailure struct {
	ErrorClass string `json:"error_class"`
	Detail     string `json:"detail"`
	Advice     string `json:"advice"`
}

// preflightTime bounds the whole check: a person waits for it.
const preflightTime = 10 * time.Second

type preflightIn struct{ Body PreflightRequest }

type preflightOut struct{ Body Preflight }

func (a *API) preflightRoutes() {
	handle(a, route{
		method: http.MethodPost, path: "/v1/webhooks/preflight", id: "preflight", tag: "Webhooks", need: companyWrite,
		summary: "Check an endpoint before saving it", description: "Rules, DNS, addresses, TLS. Nothing is sent.",
	}, a.preflight)
}

func (a *API) preflight(ctx context.Context, x *exchange, in *preflightIn) (*preflightOut, error) {
	company, err := a.opt.Store.Company(ctx, x.company.ID)
	if err != nil {
		return nil, err
	}
	networks, err := egress.ParseNetworks(company.AllowNetworks)
	if err != nil {
		return nil, err
	}
	var report egress.Report
	if a.opt.Prober != nil {
		ctx, cancel := context.WithTimeout(ctx, preflightTime)
		defer cancel()
		report = a.opt.Prober.Preflight(ctx, in.Body.Endpoint, networks)
	} else {
		report.Endpoint, report.Refused = egress.CheckEndpoint(in.Body.Endpoint, a.opt.Policy.With(networks))
	}
	return &preflightOut{shapePreflight(&report)}, nil
}

func shapePreflight(r *egress.Report) Preflight {
	s := Preflight{
		OK: r.OK(), Endpoint: orNull(r.Endpoint), Refused: r.Refused, Addresses: []PreflightAddress{}, Protocol: orNull(r.Protocol), Timing: shapeTiming(r.Phases),
	}
	for _, v := range r.Addresses {
		address := PreflightAddress{Rule: orNull(v.Rule)}
		if v.Rule == "" {
			address.Address = orNull(v.Address.String())
		}
		s.Addresses = append(s.Addresses, address)
	}
	if t := r.TLS; t != nil {
		s.TLS = &PreflightTLS{t.Version, text([]byte(t.Subject)), text([]byte(t.Issuer)), t.Names, t.NotBefore, t.NotAfter, t.Verified}
	}
	if f := r.Failure; f != nil {
		s.Failure = &PreflightFailure{
			string(f.Class), text([]byte(f.Detail)), advice(&hook.Attempt{Outcome: hook.OutcomeRetry, ErrorClass: f.Class, ErrorDetail: f.Detail}),
		}
	}
	return s
}
