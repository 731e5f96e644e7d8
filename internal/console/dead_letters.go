package console

import (
	"net/http"
	"net/url"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

const deadLettersPage = "/console/dead-letters"

// deadLetterList is the page of messages that sources could not have accepted.
type deadLetterList struct {
	Rows    []client.DeadLetter
	Sources []client.Source
	Source  string // the only one that is shown; "" for all
	Next    string // address of the next page
}

func (c *Console) deadLetterRoutes(mux *http.ServeMux) {
	operator := func(pattern string, show func(v *visit) error) {
		c.page(mux, pattern, func(v *visit) error {
			if !v.who.Operator {
				return errNoPage
			}
			return show(v)
		})
	}
	operator("GET "+deadLettersPage, (*visit).showDeadLetters)
	operator("GET "+deadLettersPage+"/{id}", func(v *visit) error {
		var d client.DeadLetterDetail
		if err := v.get(pathOf("/v1/dead-letters", v.r.PathValue("id")), nil, &d); err != nil {
			return err
		}
		return v.show("dead-letter", page{Title: "Dead letter", Nav: "dead-letters"}, d)
	})
	operator("POST "+deadLettersPage+"/{id}/retry", func(v *visit) error {
		return v.redirectUnless(v.post(pathOf("/v1/dead-letters", v.r.PathValue("id"), "retry"), nil, nil), deadLettersPage)
	})
	operator("POST "+deadLettersPage+"/{id}/discard", func(v *visit) error {
		return v.redirectUnless(v.delete(pathOf("/v1/dead-letters", v.r.PathValue("id"))), deadLettersPage)
	})
}

func (v *visit) showDeadLetters() error {
	p := deadLetterList{Source: v.query("source")}
	query := url.Values{"limit": {"50"}}
	for _, name := range []string{"source", "cursor"} {
		if value := v.query(name); value != "" {
			query.Set(name, value)
		}
	}
	var list client.List[client.DeadLetter]
	if err := v.get("/v1/dead-letters", query, &list); err != nil {
		return err
	}
	var sources client.List[client.Source]
	if err := v.get("/v1/sources", nil, &sources); err != nil {
		return err
	}
	p.Rows, p.Sources = list.Data, sources.Data
	if list.NextCursor != nil {
		query.Set("cursor", *list.NextCursor)
		query.Del("limit")
		p.Next = deadLettersPage + "?" + query.Encode()
	}
	return v.show("dead-letters", page{Title: "Dead letters", Nav: "dead-letters"}, p)
}
