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
	Endpoint  string `json:"endpoint"`
	TLSCompat bool   `json:"tls_compat,omitempty" required:"false" doc:"As the webhook's setting of this name."`
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

// PreflightTLS is the handshake and the receiver's certificate, also where the handshake failed.
type PreflightTLS struct {
	Version   string                 `json:"version" doc:"Empty: it failed before one was chosen."`
	Subject   string                 `json:"subject" doc:"Of the receiver's own certificate, as what follows."`
	Issuer    string                 `json:"issuer"`
	Names     []string               `json:"names"`
	NotBefore time.Time              `json:"not_before" doc:"Without meaning when no certificate came, as not_after: chain is empty then."`
	NotAfter  time.Time              `json:"not_after"`
	Chain     []PreflightCertificate `json:"chain" doc:"The certificates as sent, the receiver's own first."`
	Verified  bool                   `json:"verified"`
	// ClientCertificate is "requested" where the receiver asked for one.
	ClientCertificate string `json:"client_certificate" enum:"none,requested" doc:"requested: the receiver asks for one in the handshake. It may or may not insist on it."`
}

// PreflightCertificate is one certificate of a chain.
type PreflightCertificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
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
		report = a.opt.Prober.Preflight(ctx, in.Body.Endpoint, networks, in.Body.TLSCompat)
	} else {
		report.Endpoint, report.Refused = egress.CheckEndpoint(in.Body.Endpoint, a.opt.Policy.With(networks))
	}
	return &preflightOut{shapePreflight(&report, x.caller.operator())}, nil
}

// shapePreflight shows a report to the company, or to an operator, who is told of their settings.
func shapePreflight(r *egress.Report, operator bool) Preflight {
	s := Preflight{
		OK: r.OK(), Endpoint: orNull(r.Endpoint), Refused: hints(r.Refused, operator), Addresses: []PreflightAddress{}, Protocol: orNull(r.Protocol), Timing: shapeTiming(r.Phases),
	}
	for _, v := range r.Addresses {
		address := PreflightAddress{Rule: orNull(v.Rule)}
		if v.Rule == "" {
			address.Address = orNull(v.Address.String())
		}
		s.Addresses = append(s.Addresses, address)
	}
	if r.TLS != nil {
		s.TLS = shapeTLS(r.TLS)
	}
	if f := r.Failure; f != nil {
		s.Failure = &PreflightFailure{
			string(f.Class), text([]byte(f.Detail)), advice(circumstances{
				Attempt: &hook.Attempt{Outcome: hook.OutcomeRetry, ErrorClass: f.Class, ErrorDetail: f.Detail}, endpoint: r.Endpoint,
			}),
		}
	}
	return s
}

func shapeTLS(t *egress.TLSFacts) *PreflightTLS {
	s := &PreflightTLS{Version: t.Version, Names: []string{}, Chain: []PreflightCertificate{}, Verified: t.Verified, ClientCertificate: "none"}
	if t.ClientCertificate {
		s.ClientCertificate = "requested"
	}
	for _, name := range t.Names {
		s.Names = append(s.Names, text([]byte(name)))
	}
	for _, c := range t.Chain {
		s.Chain = append(s.Chain, PreflightCertificate{text([]byte(c.Subject)), text([]byte(c.Issuer)), c.NotBefore, c.NotAfter})
	}
	if len(s.Chain) > 0 {
		own := s.Chain[0]
		s.Subject, s.Issuer, s.NotBefore, s.NotAfter = own.Subject, own.Issuer, own.NotBefore, own.NotAfter
	}
	return s
}

// hints adds to refusals what is for an operator alone.
func hints(fields []hook.FieldError, operator bool) []hook.FieldError {
	if !operator {
		return fields
	}
	for i := range fields {
		if fields[i].Hint != "" {
			fields[i].Detail += " (" + fields[i].Hint + ")"
		}
	}
	return fields
}
