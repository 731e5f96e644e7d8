package httpapi

import (
	"context"
	"net/http"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/egress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// CompanyUpdate is the body of PATCH /v1/companies/{company_id}.
type CompanyUpdate struct {
	Scheme        nullable[string] `json:"default_signature_scheme,omitzero" enum:"hex,base64,base64-dotted,python-dict"`
	Format        nullable[string] `json:"default_data_format,omitzero" enum:"string,object"`
	AllowNetworks *[]string        `json:"allow_networks,omitempty" maxItems:"64"`
	MaxWebhooks   nullable[int]    `json:"max_webhooks,omitzero" minimum:"1" maximum:"100000"`
	Validate      nullable[string] `json:"validate,omitzero" enum:"off,warn,reject"`
}

// CompanyPath is the part of a path that names a company.
type CompanyPath struct {
	CompanyID string `path:"company_id"`
}

type companyOut struct{ Body client.Company }

type companiesOut struct{ Body *client.List[client.Company] }

type companyUpdateIn struct {
	CompanyPath
	Body CompanyUpdate
}

func (a *API) companyRoutes() {
	const tag = "Companies"
	handle(a, route{
		method: http.MethodGet, path: "/v1/companies", id: "list-companies", tag: tag, need: operatorOnly,
		summary: "List companies", description: "A company exists from its first mention.",
	}, func(ctx context.Context, _ *exchange, in *Paging) (*companiesOut, error) {
		page, err := in.page()
		if err != nil {
			return nil, err
		}
		list, more, err := a.opt.Store.Companies(ctx, page)
		if err != nil {
			return nil, err
		}
		return &companiesOut{listByID(*in, list, more, shapeCompany)}, nil
	})
	handle(a, route{
		method: http.MethodGet, path: "/v1/companies/{company_id}", id: "get-company", tag: tag, need: operatorOnly, summary: "One company",
	}, func(ctx context.Context, _ *exchange, in *CompanyPath) (*companyOut, error) {
		c, err := a.opt.Store.Company(ctx, in.CompanyID)
		if err != nil {
			return nil, err
		}
		return &companyOut{shapeCompany(c)}, nil
	})
	handle(a, route{
		method: http.MethodPatch, path: "/v1/companies/{company_id}", id: "update-company", tag: tag, need: operatorOnly,
		summary: "Set a company's defaults and limits", description: "A field left out stays; null sets it back to the server's default.",
	}, a.updateCompany)
}

func shapeCompany(c *store.Company) client.Company {
	s := client.Company{
		ID: c.ID, DefaultSignatureScheme: orNull(c.Scheme), DefaultDataFormat: orNull(c.Format), AllowNetworks: c.AllowNetworks,
		CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, Validate: (*string)(orNull(c.Validate)),
	}
	if c.MaxWebhooks > 0 {
		s.MaxWebhooks = &c.MaxWebhooks
	}
	return s
}

func (a *API) updateCompany(ctx context.Context, x *exchange, in *companyUpdateIn) (*companyOut, error) {
	if !hook.ValidCompanyID(in.CompanyID) {
		return nil, hook.NotFound("company")
	}
	detail := map[string]any{}
	var networks []string
	if in.Body.AllowNetworks != nil {
		parsed, err := egress.ParseNetworks(*in.Body.AllowNetworks)
		if err != nil {
			return nil, hook.Invalid("allow_networks", "invalid_network", "%s", err)
		}
		for _, n := range parsed {
			networks = append(networks, n.String())
		}
		detail["allow_networks"] = networks
	}
	if _, err := a.opt.Store.EnsureCompany(ctx, in.CompanyID); err != nil {
		return nil, err
	}
	c, err := a.opt.Store.UpdateCompany(ctx, in.CompanyID, func(c *store.Company) error {
		if in.Body.Scheme.Given {
			c.Scheme = hook.SignatureScheme(orEmpty(in.Body.Scheme.Value))
		}
		if in.Body.Format.Given {
			c.Format = hook.DataFormat(orEmpty(in.Body.Format.Value))
		}
		if in.Body.AllowNetworks != nil {
			c.AllowNetworks = networks
		}
		if in.Body.MaxWebhooks.Given {
			c.MaxWebhooks = orEmpty(in.Body.MaxWebhooks.Value)
		}
		if in.Body.Validate.Given {
			c.Validate = hook.Validation(orEmpty(in.Body.Validate.Value))
			detail["validate"] = c.Validate
		}
		return a.soundDefaults(c)
	}, x.audit("company.updated", detail))
	if err != nil {
		return nil, err
	}
	return &companyOut{shapeCompany(c)}, nil
}

// soundDefaults refuses a company whose defaults cannot stand together.
func (a *API) soundDefaults(c *store.Company) error {
	w := a.defaults(c)
	if w.Scheme == hook.SchemePythonDict && w.Format == hook.DataObject {
		return hook.Invalid("default_signature_scheme", "scheme_needs_string", "python-dict needs default_data_format string")
	}
	return nil
}

func orEmpty[T any](v *T) (value T) {
	if v != nil {
		value = *v
	}
	return value
}
