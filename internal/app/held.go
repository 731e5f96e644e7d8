package app

import (
	"context"
	"fmt"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
)

// lookForRelease is how often a node that delivers nothing asks whether another one was told to go on.
const lookForRelease = time.Second

// askHeld finds out whether the store was restored from a backup and waits for an operator: it may be
// older than what was delivered since, or a second one beside the first.
func (s *Server) askHeld(ctx context.Context, resume bool) error {
	if resume {
		if err := s.store.Resume(ctx); err != nil {
			return fmt.Errorf("resume: %w", err)
		}
	}
	since, err := s.store.HeldSince(ctx)
	if err != nil {
		return err
	}
	s.held.Store(since)
	if since != nil {
		s.log.Warn("restored from a backup: events are accepted and nothing is delivered or purged; start with --resume to go on", "restored_at", hook.Now(*since))
	}
	return nil
}

// awaitRelease lets the engine go on when some node was started with --resume. An engine that has ended
// is followed by one that may have been made before the store was released.
func (s *Server) awaitRelease(ctx context.Context) {
	if s.held.Load() == nil {
		return
	}
	tick := time.NewTicker(lookForRelease)
	defer tick.Stop()
	for released := false; !released; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		since, err := s.store.HeldSince(ctx)
		if err != nil || since != nil {
			continue // a store that does not answer is everybody's affair
		}
		s.held.Store(nil)
		released = s.node.current().Release(ctx) == nil
	}
	s.log.Info("an operator has let the restored store go on")
}

func (s *Server) markHeld(list []httpapi.Node) []httpapi.Node {
	for i := range list {
		list[i].HeldSince = s.held.Load()
	}
	return list
}
