package store

import "github.com/atlas-webhooks/atlas-webhooks/internal/store/postgres"

// Nodes, and what they say of each other.
type (
	Nodes   = postgres.Nodes
	Node    = postgres.Node
	Members = postgres.Members
	Owned   = postgres.Owned
)

// Nodes returns nil for the embedded store, which one process has for itself.
func (s *Store) Nodes() *Nodes {
	if e, ok := s.engine.(*postgres.Engine); ok {
		return e.Nodes()
	}
	return nil
}
