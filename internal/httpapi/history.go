package httpapi

import (
	"context"
	"net/http"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

type auditOut struct {
	Body *client.List[client.AuditEntry]
}

type noticesOut struct{ Body *client.List[client.Notice] }

type conservationIn struct {
	Deep bool `query:"deep" doc:"Count anew from the log instead of reading the counters; slow."`
	Paging
}

type conservationOut struct{ Body client.Conservation }

func (a *API) historyRoutes() {
	const tag = "History"
	handle(a, route{
		method: http.MethodGet, path: "/v1/audit-log", id: "list-audit-log", tag: tag, need: companyRead,
		summary: "Who changed what", description: "Newest first. An operator's own changes to a company are in it, too.",
	}, func(ctx context.Context, x *exchange, in *Paging) (*auditOut, error) {
		page, err := in.page()
		if err != nil {
			return nil, err
		}
		list, more, err := a.opt.Store.AuditLog(ctx, x.company.Key, page)
		if err != nil {
			return nil, err
		}
		return &auditOut{listByID(*in, list, more, func(e store.AuditEntry) client.AuditEntry {
			return client.AuditEntry{
				ID: e.ID, At: e.At, Address: orNull(e.Address), Actor: e.Actor, Action: e.Action, Object: e.Object, RequestID: e.RequestID, Detail: client.Object(e.Detail),
			}
		})}, nil
	})
	handle(a, route{
		method: http.MethodGet, path: "/v1/notices", id: "list-notices", tag: tag, need: companyRead,
		summary: "What happened to the webhooks", description: "Down, recovered, disabled, events about to expire, a store that went back: newest first.",
	}, func(ctx context.Context, x *exchange, in *Paging) (*noticesOut, error) {
		page, err := in.page()
		if err != nil {
			return nil, err
		}
		list, more, err := a.opt.Store.Notices(ctx, x.company.Key, page)
		if err != nil {
			return nil, err
		}
		return &noticesOut{listByID(*in, list, more, func(n store.NoticeEntry) client.Notice {
			return client.Notice{ID: n.ID, At: n.At, WebhookID: n.WebhookID, Kind: n.Kind, Detail: n.Detail}
		})}, nil
	})
	handle(a, route{
		method: http.MethodGet, path: "/v1/conservation", id: "check-conservation", tag: tag, need: companyRead,
		summary:     "Is everything accounted for",
		description: "Per webhook: matched = delivered + failed + skipped + parked + pending.",
	}, a.conservation)
}

// recounted bounds a page of deep counts, each of which reads the whole log of a webhook.
const recounted = 10

func (a *API) conservation(ctx context.Context, x *exchange, in *conservationIn) (*conservationOut, error) {
	if in.Deep {
		in.Limit = min(in.Limit, recounted)
	}
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	list, more, err := a.opt.Store.Conservation(ctx, x.company.Key, page)
	if err != nil {
		return nil, err
	}
	out := &conservationOut{}
	out.Body.List = *listByID(in.Paging, list, more, shapeBalance)
	out.Body.Balanced = true
	for i := range out.Body.Data {
		if in.Deep {
			if out.Body.Data[i], err = a.recount(ctx, x, list[i].WebhookID); err != nil {
				return nil, err
			}
		}
		out.Body.Balanced = out.Body.Balanced && out.Body.Data[i].Balanced
	}
	return out, nil
}

func shapeBalance(b store.Balance) client.Balance {
	return client.Balance{
		WebhookID: b.WebhookID, Matched: b.Matched, Delivered: b.Delivered, Failed: b.Failed, Skipped: b.Skipped, Parked: b.Parked,
		Pending: b.Pending, Balanced: b.Balanced,
	}
}

func (a *API) recount(ctx context.Context, x *exchange, id string) (client.Balance, error) {
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, id)
	if hook.IsKind(err, hook.KindNotFound) {
		return client.Balance{WebhookID: id, Balanced: true}, nil // deleted a moment ago
	}
	if err != nil {
		return client.Balance{}, err
	}
	r, err := a.opt.Store.Recount(ctx, w.Key)
	if err != nil {
		return client.Balance{}, err
	}
	b := shapeBalance(r.Balance)
	b.WebhookID, b.Since, b.Complete, b.Unexplained = id, timeOrNil(r.Since), &r.Complete, &r.Unexplained
	b.Balanced = b.Balanced && r.Unexplained == 0
	return b, nil
}
