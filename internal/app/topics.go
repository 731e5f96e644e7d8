package app

import (
	"context"
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/topic"
)

// ApplyTopics reads topics_file, where one is configured, and makes the catalogue what it says. A file that
// is wrong changes nothing.
func (s *Server) ApplyTopics(ctx context.Context) error {
	if s.cfg.TopicsFile == "" {
		return nil
	}
	list, err := topic.ReadFile(s.cfg.TopicsFile)
	if err != nil {
		return fmt.Errorf("topics_file: %w", err)
	}
	kept, err := s.store.ApplyTopics(ctx, list, store.Audit{Actor: "topics_file", Action: "topics.applied", Detail: map[string]any{"topics": len(list)}})
	if err != nil {
		return fmt.Errorf("topics_file: %w", err)
	}
	for _, t := range kept {
		s.log.Warn("a topic that topics_file no longer names is kept", "topic", t.Name, "reason", t.Why)
	}
	s.log.Info("topics_file is in force", "file", s.cfg.TopicsFile, "topics", len(list))
	return nil
}
