package load

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"
)

// latency publishes single events of one company at a steady rate, whatever arrives, and measures how
// long each takes. An event is due at its time also when earlier ones are late, and its wait counts.
func (b *bench) latency(ctx context.Context, name string, rate float64, round int) (Result, error) {
	s := scenarios[0]
	s.name = name
	n, err := b.begin(ctx, s, round, 1)
	if err != nil {
		return Result{}, err
	}
	server, err := b.server(ctx, n, name == Across)
	if err != nil {
		return Result{}, err
	}
	n.times = map[string]*itinerary{}
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	m := b.meter(n.arrived.Load)
	measured := make(chan error, 1)
	go func() {
		defer stop()
		measured <- measure(publishing, b.opt.Duration, &m, nil)
	}()
	var refused atomic.Int64
	connections := b.connections(s)
	due := make(chan time.Time, connections)
	go pace(publishing, rate, due)
	began := time.Now()
	err = each(publishing, connections, func(ctx context.Context, _ int) error {
		p := publisher{bench: b, run: n, server: server, batch: 1, refused: &refused}
		for at := range due {
			if err := p.timed(ctx, at); err != nil {
				return err
			}
		}
		return nil
	})
	err = errors.Join(err, <-measured)
	lost := int64(0)
	if err == nil {
		lost = n.drain(ctx)
	}
	err = errors.Join(err, b.end(ctx, n))
	r := m.result
	r.Scenario, r.Round = name, round
	r.Published, r.Lost, r.Duplicates, r.Refused = n.published.Load(), lost, n.duplicates.Load()+n.foreign.Load(), refused.Load()
	r.Accepted, r.Sent = n.took(began.Add(b.opt.Duration / 5))
	return r, err
}

// pace says when each event is due, until ctx ends.
func pace(ctx context.Context, rate float64, due chan<- time.Time) {
	defer close(due)
	began := time.Now()
	for i := 0; ; i++ {
		at := began.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if wait := time.Until(at); wait > 0 && !pause(ctx, wait) {
			return
		}
		select {
		case due <- at:
		case <-ctx.Done():
			return
		}
	}
}

// timed publishes one event and notes when.
func (p *publisher) timed(ctx context.Context, due time.Time) error {
	number := p.run.published.Add(1) - 1
	i := &itinerary{sent: due}
	id := string(p.run.id(nil, number))
	p.run.mu.Lock()
	p.run.times[id] = i
	p.run.mu.Unlock()
	answer, err := p.send(ctx, number)
	if err != nil {
		return err
	}
	var accepted struct {
		At time.Time `json:"accepted_at"`
	}
	if err := json.Unmarshal(answer, &accepted); err != nil {
		return err
	}
	p.run.mu.Lock()
	i.accepted = accepted.At
	p.run.mu.Unlock()
	return nil
}

// took is how long the deliveries took that were due after the warm-up.
func (n *run) took(warm time.Time) (accepted, sent Quantiles) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var a, s []time.Duration
	for _, i := range n.times {
		if i.sent.Before(warm) || i.received.IsZero() || i.accepted.IsZero() {
			continue
		}
		a = append(a, i.received.Sub(i.accepted))
		s = append(s, i.received.Sub(i.sent))
	}
	return quantiles(a), quantiles(s)
}
