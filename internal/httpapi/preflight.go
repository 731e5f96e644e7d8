package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/advice"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// preflightTime bounds the whole check: a person waits for it.
const preflightTime = 10 * time.Second

type preflightIn struct{ Body client.PreflightRequest }

type preflightOut struct{ Body client.Preflight }

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
func shapePreflight(r *egress.Report, operator bool) client.Preflight {
	s := client.Preflight{
		OK: r.OK(), Endpoint: orNull(r.Endpoint), Refused: hints(r.Refused, operator), Addresses: []client.PreflightAddress{}, Protocol: orNull(r.Protocol), Timing: shapeTiming(r.Phases),
	}
	for _, v := range r.Addresses {
		address := client.PreflightAddress{Rule: orNull(v.Rule)}
		if v.Rule == "" {
			address.Address = orNull(v.Address.String())
		}
		s.Addresses = append(s.Addresses, address)
	}
	if r.TLS != nil {
		s.TLS = shapeTLS(r.TLS)
	}
	if f := r.Failure; f != nil {
		s.Failure = &client.PreflightFailure{
			ErrorClass: string(f.Class), Detail: text([]byte(f.Detail)), Advice: advice.Of(advice.Circumstances{
				Attempt: &hook.Attempt{Outcome: hook.OutcomeRetry, ErrorClass: f.Class, ErrorDetail: f.Detail}, Endpoint: r.Endpoint,
			}),
		}
	}
	return s
}

func shapeTLS(t *egress.TLSFacts) *client.PreflightTLS {
	s := &client.PreflightTLS{Version: t.Version, Names: []string{}, Chain: []client.PreflightCertificate{}, Verified: t.Verified, ClientCertificate: "none"}
	if t.ClientCertificate {
		s.ClientCertificate = "requested"
	}
	for _, name := range t.Names {
		s.Names = append(s.Names, text([]byte(name)))
	}
	for _, c := range t.Chain {
		s.Chain = append(s.Chain, client.PreflightCertificate{
			Subject: text([]byte(c.Subject)), Issuer: text([]byte(c.Issuer)), NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		})
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
