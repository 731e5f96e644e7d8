package httpapi_test

import (
	"context"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
)

// nodes is the one node that the tests' server says it has.
func (s *server) nodes(context.Context) ([]client.Node, error) {
	return []client.Node{{
		ID: "node_1", Store: "sqlite", StartedAt: s.now(), Partitions: []client.NodePartition{{Tail: 12, Swept: 10, Lag: 2}},
	}}, nil
}

func TestNodes(t *testing.T) {
	s := newServer(t)
	list := s.call("GET", "/v1/nodes", "").ok(200)["data"].([]any)
	if len(list) != 1 {
		t.Fatalf("nodes: %v", list)
	}
	n := list[0].(map[string]any)
	p := n["partitions"].([]any)[0].(map[string]any)
	if n["id"] != "node_1" || n["lease_until"] != nil || p["tail"] != 12.0 || p["lag"] != 2.0 {
		t.Errorf("node: %v", n)
	}
	if n["held_since"] != nil {
		t.Errorf("held: %v", n)
	}
	eras := s.call("GET", "/v1/eras", "").ok(200)["data"].([]any)
	if first := eras[0].(map[string]any); len(eras) != 1 || first["number"] != 1.0 || first["cause"] != "" || first["missing_from"] != nil {
		t.Errorf("eras: %v", eras)
	}
	s.call("GET", "/v1/eras?cursor=x", "").problem(400, "invalid_cursor")
	s.call("GET", "/v1/nodes?cursor=x", "").problem(400, "invalid_cursor")
	without := newServer(t, func(o *httpapi.Options) { o.Nodes = nil })
	without.call("GET", "/v1/nodes", "").problem(503, "engine_unavailable")
}
