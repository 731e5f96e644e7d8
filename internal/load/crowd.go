package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
)

// Crowd is how to measure what a server's quiet companies cost it. Companies, Key and Start are required.
type Crowd struct {
	Companies int
	Events    int // of each, delivered before it is quiet; 0 means 10
	Key       string
	// Start starts the server on its store: twice, one after the other.
	Start func(context.Context) (*process.Server, error)
	// Database tells what the server's database has used; nil = not known.
	Database func(context.Context) (DatabaseUsage, error)
	// Rest is how long nothing happens before the server is watched, and Watch how long it is; 0 means
	// 90 s and 75 s, in which upkeep has its turn.
	Rest, Watch time.Duration
	// Progress is told what goes on.
	Progress func(format string, args ...any)
}

// CrowdResult is what many quiet companies cost.
type CrowdResult struct {
	Companies int
	// One is how long publishing takes until it is accepted for the only company there is; Beside and Many
	// for one of many, and for one after the other of all of them, at the same time: what else runs on
	// the machine is in both.
	One, Beside, Many Quantiles
	CPU               float64       // of the server at rest, as a part of one core
	Database          float64       // of its database, likewise
	Busy              time.Duration // the longest stretch of work in that time: a round of upkeep
	RSS               int64         // after the rest
	Ready             time.Duration // from the start of the process until it answers
	Lost              int64
	Took              time.Duration // to make them all, and to deliver their events
}

const (
	crowdMakers = 16 // that make companies at once
	// Single posts whose times count: some of each company, and in all at least and at most so many.
	crowdEach, crowdFewest, crowdMost = 4, 160, 1600
	// An interval of the watch with more work than this is a part of a stretch.
	crowdLook, crowdBusy = 250 * time.Millisecond, 0.2
)

// MeasureCrowd takes the measurement.
func MeasureCrowd(ctx context.Context, o Crowd) (r CrowdResult, failed error) {
	server, err := o.Start(ctx)
	if err != nil {
		return r, err
	}
	defer func() { failed = errors.Join(failed, server.Stop(time.Minute)) }()
	b, err := newBench(ctx, Options{Key: o.Key, Servers: []Server{{URL: server.URL, PID: server.PID}}, Companies: o.Companies})
	if err != nil {
		return r, err
	}
	defer b.close()
	if o.Events == 0 {
		o.Events = 10
	}
	if o.Rest == 0 {
		o.Rest, o.Watch = 90*time.Second, 75*time.Second
	}
	r.Companies = o.Companies
	n, err := b.begin(ctx, scenario{name: "crowd", webhooks: 1}, 1, 1)
	if err != nil {
		return r, err
	}
	if r.One, err = b.posts(ctx, n, n.companies); err != nil {
		return r, err
	}
	o.Progress("one company: accepted in p50 %.1f ms, p99 %.1f ms", millis(r.One.P50), millis(r.One.P99))
	began := time.Now()
	if err := b.crowd(ctx, n, &o); err != nil {
		return r, err
	}
	r.Lost, r.Took = n.drain(ctx), time.Since(began)
	o.Progress("%d companies and their events took %s", o.Companies, r.Took.Round(time.Second))
	beside := make(chan error, 1)
	go func() {
		var err error
		r.Beside, err = b.posts(ctx, n, n.companies[:1])
		beside <- err
	}()
	r.Many, err = b.posts(ctx, n, n.companies)
	if err := errors.Join(err, <-beside); err != nil {
		return r, err
	}
	r.Lost += n.drain(ctx)
	o.Progress("one of them: accepted in p50 %.1f ms, p99 %.1f ms", millis(r.Beside.P50), millis(r.Beside.P99))
	o.Progress("all of them: accepted in p50 %.1f ms, p99 %.1f ms", millis(r.Many.P50), millis(r.Many.P99))
	if err := b.rest(ctx, &o, &r); err != nil {
		return r, err
	}
	if err := server.Stop(time.Minute); err != nil {
		return r, err
	}
	if server, err = o.Start(ctx); err != nil {
		return r, err
	}
	r.Ready = server.Took
	return r, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// posts publishes single events, of one company after the other, and tells how long it took to accept
// them.
func (b *bench) posts(ctx context.Context, n *run, of []company) (Quantiles, error) {
	const connections = 8
	count := min(max(crowdEach*b.opt.Companies, crowdFewest), crowdMost)
	warm := count / 8
	var mu sync.Mutex
	var times []time.Duration
	err := each(ctx, connections, func(ctx context.Context, i int) error {
		p := publisher{bench: b, run: n, batch: 1}
		for j := range (count + warm) / connections {
			number := n.published.Add(1) - 1
			// Far apart, so that no two in a row are neighbours.
			company := of[(j*connections+i)*7919%len(of)].id
			p.body = p.event(p.body[:0], company, number)
			began := time.Now()
			if _, err := b.call(ctx, "POST", "/v1/events", "", p.body); err != nil {
				return err
			}
			if took := time.Since(began); j >= warm/connections {
				mu.Lock()
				times = append(times, took)
				mu.Unlock()
			}
		}
		return nil
	})
	return quantiles(times), err
}

// crowd makes companies with a webhook each, and publishes each one's events as a batch.
func (b *bench) crowd(ctx context.Context, n *run, o *Crowd) error {
	first := len(n.companies)
	for i := first; i < o.Companies; i++ {
		n.companies = append(n.companies, company{id: fmt.Sprintf("bench-%s-%d", n.name, i)})
	}
	return each(ctx, crowdMakers, func(ctx context.Context, i int) error {
		p := publisher{bench: b, run: n}
		for c := first + i; c < o.Companies; c += crowdMakers {
			var later *retryLater
			_, err := b.subscribe(ctx, n.companies[c].id, 1)
			for ; errors.As(err, &later) && pause(ctx, later.after); _, err = b.subscribe(ctx, n.companies[c].id, 1) {
			}
			if err != nil {
				return err
			}
			if err := p.someOf(ctx, n.companies[c].id, o.Events); err != nil {
				return err
			}
			if i == 0 && c/crowdMakers%1000 == 999 {
				o.Progress("%d companies are made", c)
			}
			for n.waiting() > outstanding && pause(ctx, time.Millisecond) {
			}
		}
		return nil
	})
}

// someOf publishes events of one company, and repeats what the server asks to repeat.
func (p *publisher) someOf(ctx context.Context, company string, events int) error {
	number := p.run.published.Add(int64(events)) - int64(events)
	p.body = p.body[:0]
	for i := range events {
		p.body = append(p.body, "[,"[min(i, 1)])
		p.body = p.event(p.body, company, number+int64(i))
	}
	p.body = append(p.body, ']')
	for {
		_, err := p.call(ctx, "POST", "/v1/events/batch", "", p.body)
		var later *retryLater
		if !errors.As(err, &later) {
			return err
		}
		pause(ctx, later.after)
	}
}

// rest watches a server that has nothing to do.
func (b *bench) rest(ctx context.Context, o *Crowd, r *CrowdResult) error {
	b.client.CloseIdleConnections()
	if !pause(ctx, o.Rest) {
		return ctx.Err()
	}
	m := b.meter(b.sink.received.Load)
	m.database = o.Database
	if err := m.start(ctx); err != nil {
		return err
	}
	pid := b.opt.Servers[0].PID
	stretch, last := time.Duration(0), m.used.CPU
	for time.Since(m.began) < o.Watch && pause(ctx, crowdLook) {
		u, err := process.UsageOf(pid)
		if err != nil {
			return err
		}
		if u.CPU-last > time.Duration(crowdBusy*float64(crowdLook)) {
			stretch += crowdLook
		} else {
			stretch = 0
		}
		last, r.Busy = u.CPU, max(r.Busy, stretch)
	}
	took := time.Since(m.began)
	used, done, err := m.read(ctx)
	r.CPU, r.Database = (used.CPU-m.used.CPU).Seconds()/took.Seconds(), (done.CPU-m.done.CPU).Seconds()/took.Seconds()
	r.RSS = used.RSS
	return errors.Join(err, ctx.Err())
}
