package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Node is one process of the installation, and what it runs.
type Node struct {
	ID         string          `json:"id" doc:"Made at each start."`
	URL        string          `json:"url"`
	Version    string          `json:"version"`
	Store      string          `json:"store" enum:"sqlite,postgres" doc:"The engine that keeps the log."`
	StartedAt  time.Time       `json:"started_at"`
	LeaseUntil *time.Time      `json:"lease_until" doc:"null: the embedded store has one node, which needs no lease."`
	InFlight   int             `json:"in_flight" doc:"Attempts under way or not yet recorded."`
	Leaving    bool            `json:"leaving" doc:"It hands its partitions over and takes none."`
	HeldSince  *time.Time      `json:"held_since" doc:"When the store was restored from a backup, or went back, while it delivers nothing until an operator lets it; null otherwise."`
	Partitions []NodePartition `json:"partitions"`
	// Authorities are known of the node that answers.
	Authorities *NodeAuthorities `json:"certificate_authorities" doc:"That it verifies endpoints by. null: of another node than the one that answers."`
	OwnFault    *NodeFault       `json:"own_fault" doc:"A fault of the node that answers which attempts met within the last minute; null for none, and of other nodes."`
}

// NodeFault is a fault of a node that holds deliveries up: its resolver, its egress proxy, its routes.
type NodeFault struct {
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	LastAt time.Time `json:"last_at" doc:"When an attempt met it last. None of these counts against its webhook."`
}

// NodeAuthorities are the certificate authorities that a node verifies endpoints by.
type NodeAuthorities struct {
	Count  int    `json:"count" doc:"-1: the system keeps them to itself."`
	Source string `json:"source" doc:"Where they come from."`
}

// NodePartition is a partition of the log as its node runs it.
type NodePartition struct {
	Partition int   `json:"partition"`
	Tail      int64 `json:"tail" doc:"Offset of its last event."`
	Swept     int64 `json:"swept" doc:"Offset up to which a start has nothing to read again but what lags or is parked."`
	Lag       int64 `json:"lag" doc:"Events between the two."`
}

// Era is a time in which the store never went back.
type Era struct {
	Number      int64      `json:"number" doc:"Counted from 1."`
	BeganAt     time.Time  `json:"began_at"`
	Cause       string     `json:"cause" doc:"Why another era began: a standby was promoted, or a copy restored. Empty for the first one."`
	MissingFrom *time.Time `json:"missing_from" doc:"What was acknowledged from then on may be missing; null when nothing is."`
	MissingTo   *time.Time `json:"missing_to" doc:"And what was acknowledged later is there."`
}

type erasOut struct{ Body *List[Era] }

type nodesOut struct{ Body *List[Node] }

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
		return &nodesOut{newList(*in, list, "", func(n Node) Node { return n })}, nil
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
		return &erasOut{listByID(*in, list, more, func(e store.Era) Era {
			return Era{e.Number, e.BeganAt, e.Cause, e.MissingFrom, e.MissingTo}
		})}, nil
	})
}
