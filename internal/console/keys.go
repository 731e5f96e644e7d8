package console

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// keyPage is the page of a company's keys and of links that open its console.
type keyPage struct {
	Keys  []client.Key
	Links []client.ConsoleLink
	Key   *client.Key         // just made
	Link  *client.ConsoleLink // just made
	Base  string
	now   time.Time
}

// Over reports whether an instant is past.
func (p *keyPage) Over(at time.Time) bool { return !p.now.Before(at) }

// Revocable reports whether revoking a link changes anything.
func (p *keyPage) Revocable(l client.ConsoleLink) bool {
	if l.RevokedAt != nil || l.UsedAt == nil && p.Over(l.ExpiresAt) {
		return false
	}
	return l.SessionExpiresAt == nil || !p.Over(*l.SessionExpiresAt)
}

func (c *Console) keyRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/keys", func(v *visit) error { return v.showKeys(&keyPage{}) })
	c.page(mux, "POST /console/keys", func(v *visit) error {
		p := &keyPage{Key: &client.Key{}}
		if err := v.post(v.companyPath("keys"), client.KeyCreate{Name: v.form("name"), Scope: client.Scope(v.form("scope")), Topics: v.form("topic_prefix")}, p.Key); err != nil {
			return err
		}
		return v.showKeys(p)
	})
	c.page(mux, "POST /console/keys/{id}/revoke", func(v *visit) error {
		if err := v.delete(v.companyPath("keys", v.r.PathValue("id"))); err != nil {
			return err
		}
		return v.redirect("/console/keys")
	})
	c.page(mux, "POST /console/links", func(v *visit) error {
		p := &keyPage{Link: &client.ConsoleLink{}}
		ttl, err := strconv.Atoi(v.form("ttl_seconds"))
		if err != nil {
			ttl = 300
		}
		if err := v.post(v.companyPath("console-links"), map[string]any{"ttl_seconds": ttl, "read_only": v.form("read_only") == "on"}, p.Link); err != nil {
			return err
		}
		return v.showKeys(p)
	})
	c.page(mux, "POST /console/links/{id}/revoke", func(v *visit) error {
		if err := v.delete(v.companyPath("console-links", v.r.PathValue("id"))); err != nil {
			return err
		}
		return v.redirect("/console/keys")
	})
}

// companyPath is a path of the API below the company that the page is about.
func (v *visit) companyPath(below ...string) string {
	return pathOf("/v1/companies", append([]string{v.session.Company}, below...)...)
}

func (v *visit) showKeys(p *keyPage) error {
	var keys client.List[client.Key]
	if err := v.get(v.companyPath("keys"), url.Values{"limit": {"100"}}, &keys); err != nil {
		return err
	}
	var links client.List[client.ConsoleLink]
	if err := v.get(v.companyPath("console-links"), url.Values{"limit": {"20"}}, &links); err != nil {
		return err
	}
	p.Keys, p.Links, p.Base = keys.Data, links.Data, v.base()
	p.now = v.c.opt.Now()
	return v.show("keys", page{Title: "Keys and links", Nav: "keys"}, p)
}
