package app

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/kafka"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/nats"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/outbox"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/rabbitmq"
)

// sourceKinds are the kinds of sources that sources_file may name.
var sourceKinds = map[string]source.Kind{"kafka": kafka.Define, "nats": nats.Define, "rabbitmq": rabbitmq.Define}

// openSources makes what outbox_url and sources_file name.
func (s *Server) openSources(accepting *intake.Intake) error {
	list, err := s.outboxes()
	if err != nil {
		return err
	}
	if s.cfg.SourcesFile != "" {
		kinds := maps.Clone(sourceKinds)
		kinds[outbox.Kind] = s.outboxKind
		more, err := source.ReadFile(s.cfg.SourcesFile, kinds)
		if err != nil {
			return fmt.Errorf("sources_file: %w", err)
		}
		for _, d := range more {
			if slices.ContainsFunc(list, func(o source.Definition) bool { return o.Name == d.Name }) {
				return fmt.Errorf("sources_file: %s: is the name of an outbox of outbox_url", d.Name)
			}
		}
		list = append(list, more...)
	}
	if len(list) > 0 {
		s.sources = &source.Runner{
			Sources: list, Intake: accepting, Store: s.store, Log: s.log, Meter: s.metrics, Turn: s.node.housekeeper,
		}
	}
	return nil
}

// sourceStatus is what the sources of this node do.
func (s *Server) sourceStatus() []client.Source {
	if s.sources == nil {
		return nil
	}
	var list []client.Source
	for _, x := range s.sources.Status() {
		list = append(list, shapeSource(&x, time.Now()))
	}
	return list
}

func shapeSource(s *source.Status, now time.Time) client.Source {
	c := client.Source{
		Name: s.Name, Kind: s.Kind, Where: s.Where, State: string(s.State), Since: hook.Now(s.Since), Received: s.Received, Accepted: s.Accepted,
		Duplicates: s.Duplicates, SetAside: s.SetAside, Unnamed: s.Unnamed, Expired: s.Expired, DeadLetters: s.DeadLetters,
	}
	if s.Reason != "" {
		c.Reason = &s.Reason
	}
	if s.LagKnown {
		c.LagSeconds = new(source.Age(s.Lag, now).Seconds())
		if s.Lag.Messages >= 0 {
			c.LagMessages = &s.Lag.Messages
		}
	}
	if !s.LastEventAt.IsZero() {
		c.LastEventAt = new(hook.Now(s.LastEventAt))
	}
	return c
}
