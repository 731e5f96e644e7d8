package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// AuditEntry is one change: who, what, when.
type AuditEntry struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	Address   *string   `json:"address" doc:"The address from which it was asked for; null where that is not known, and for the engine."`
	Actor     string    `json:"actor" doc:"A key's id, operator, or engine."`
	Action    string    `json:"action" example:"webhook.updated"`
	Object    string    `json:"object" doc:"The id of what was changed."`
	RequestID string    `json:"request_id"`
	Detail    Object    `json:"detail" doc:"What was asked for; never a secret."`
}

// Notice is something that a company should know about one of its webhooks, or about all of them.
type Notice struct {
	ID        string    `json:"id"`
	At        time.Time `json:"at"`
	WebhookID string    `json:"webhook_id" doc:"Empty when it is about all of the company's."`
	Kind      string    `json:"kind" example:"down"`
	Detail    string    `json:"detail"`
}

// Balance is where everything is that a webhook matched.
type Balance struct {
	WebhookID   string     `json:"webhook_id"`
	Matched     int64      `json:"matched"`
	Delivered   int64      `json:"delivered"`
	Failed      int64      `json:"failed"`
	Skipped     int64      `json:"skipped"`
	Parked      int64      `json:"parked"`
	Pending     int64      `json:"pending"`
	Balanced    bool       `json:"balanced" doc:"matched is the sum of the others."`
	Since       *time.Time `json:"since,omitempty" doc:"With deep: acceptance of the first event that was counted."`
	Complete    *bool      `json:"complete,omitempty" doc:"With deep: nothing was purged, so that both counts must agree."`
	Unexplained *int64     `json:"unexplained,omitempty" doc:"With deep: matches that left no trace. Must be 0."`
}

// Conservation is a page of balances.
type Conservation struct {
	List[Balance]
	Balanced bool `json:"balanced" doc:"All webhooks of this page are."`
}

type auditOut struct{ Body *List[AuditEntry] }

type noticesOut struct{ Body *List[Notice] }

type conservationIn struct {
	Deep bool `query:"deep" doc:"Count anew from the log instead of reading the counters; slow."`
	Paging
}

type conservationOut struct{ Body Conservation }

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
		return &auditOut{listByID(*in, list, more, func(e store.AuditEntry) AuditEntry {
			return AuditEntry{e.ID, e.At, orNull(e.Address), e.Actor, e.Action, e.Object, e.RequestID, Object(e.Detail)}
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
		return &noticesOut{listByID(*in, list, more, func(n store.NoticeEntry) Notice {
			return Notice{n.ID, n.At, n.WebhookID, n.Kind, n.Detail}
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

func shapeBalance(b store.Balance) Balance {
	return Balance{
		WebhookID: b.WebhookID, Matched: b.Matched, Delivered: b.Delivered, Failed: b.Failed, Skipped: b.Skipped, Parked: b.Parked,
		Pending: b.Pending, Balanced: b.Balanced,
	}
}

func (a *API) recount(ctx context.Context, x *exchange, id string) (Balance, error) {
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, id)
	if hook.IsKind(err, hook.KindNotFound) {
		return Balance{WebhookID: id, Balanced: true}, nil // deleted a moment ago
	}
	if err != nil {
		return Balance{}, err
	}
	r, err := a.opt.Store.Recount(ctx, w.Key)
	if err != nil {
		return Balance{}, err
	}
	b := shapeBalance(r.Balance)
	b.WebhookID, b.Since, b.Complete, b.Unexplained = id, timeOrNil(r.Since), &r.Complete, &r.Unexplained
	b.Balanced = b.Balanced && r.Unexplained == 0
	return b, nil
}
