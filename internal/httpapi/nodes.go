package httpapi

import (
	"context"
	"net/http"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

type erasOut struct{ Body *client.List[client.Era] }

type nodesOut struct{ Body *client.List[client.Node] }

func (a *API) nodeRoutes() {
	handle(a, route{
		method: http.MethodGet, path: "/v1/nodes", id: "list-nodes", tag: "Companies", need: operatorOnly,
		summary: "List nodes", description: "The processes of the installation, their partitions and how far they are.",
	}, func(ctx context.Context, _ *exchange, in *Paging) (*nodesOut, error) {
		if a.opt.Nodes == nil {
			return nil, errNoEngine
		}
		if in.Cursor != "" {
			return nil, hook.Refuse(hook.KindMalformed, "invalid_cursor", "cursor: there is one page of nodes")
		}
		list, err := a.opt.Nodes(ctx)
		if err != nil {
			return nil, err
		}
		return &nodesOut{newList(*in, list, "", func(n client.Node) client.Node { return n })}, nil
	})
	handle(a, route{
		method: http.MethodGet, path: "/v1/eras", id: "list-eras", tag: "Companies", need: operatorOnly,
		summary: "When the store went back",
		description: "Newest first. An era ends when the store turns out to be older than what was acknowledged, because a standby was promoted or a copy " +
			"restored; all numbers of the next one lie far above those of the one before.",
	}, func(ctx context.Context, _ *exchange, in *Paging) (*erasOut, error) {
		page, err := in.page()
		if err != nil {
			return nil, err
		}
		list, more, err := a.opt.Store.Eras(ctx, page)
		if err != nil {
			return nil, err
		}
		return &erasOut{listByID(*in, list, more, func(e store.Era) client.Era {
			return client.Era{Number: e.Number, BeganAt: e.BeganAt, Cause: e.Cause, MissingFrom: e.MissingFrom, MissingTo: e.MissingTo}
		})}, nil
	})
}
