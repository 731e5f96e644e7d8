package app

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
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
		s.log.Warn("the store is held back: events are accepted and nothing is delivered or purged; start with --resume to go on", "held_since", hook.Now(*since))
	}
	return nil
}

// awaitRelease lets the engine go on when some node was started with --resume. An engine that has ended
// is followed by one that may have been made before the store was released.
func (s *Server) awaitRelease(ctx context.Context) {
	tick := time.NewTicker(lookForRelease)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		was := s.held.Load()
		if was == nil {
			continue
		}
		since, err := s.store.HeldSince(ctx)
		if err != nil || since != nil {
			continue // a store that does not answer is everybody's affair
		}
		s.held.Store(nil)
		if s.node.current().Release(ctx) != nil {
			s.held.CompareAndSwap(nil, was)
			continue
		}
		s.log.Info("an operator has let the store go on")
	}
}

// settled is what follows when this node knows the database again after that went back.
func (s *Server) settled(ctx context.Context, begun *store.Era) {
	if begun != nil {
		s.wentBack(begun)
	}
	for s.askHeld(ctx, false) != nil {
		select {
		case <-time.After(lookForRelease):
		case <-ctx.Done():
			return
		}
	}
	s.log.Info("this node goes on with the database as it is now")
}

// wentBack says that the store is older than what it was.
func (s *Server) wentBack(era *store.Era) {
	s.metrics.WentBack()
	if era.MissingFrom == nil {
		s.log.Warn("the database went back; everything that this node acknowledged is there", "cause", era.Cause, "era", era.Number)
		return
	}
	s.log.Warn("the database went back: what was acknowledged in this time may be missing, and what was delivered in it is delivered again",
		"cause", era.Cause, "era", era.Number, "missing_from", hook.Now(*era.MissingFrom), "missing_to", hook.Now(*era.MissingTo))
}

// pinned lets no request write what it looked up before the database went back.
func (s *Server) pinned(h http.Handler) http.Handler {
	if s.node.nodes == nil {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r.WithContext(s.store.Pin(r.Context())))
	})
}

func (s *Server) markHeld(list []client.Node) []client.Node {
	for i := range list {
		list[i].HeldSince = s.held.Load()
	}
	return list
}
