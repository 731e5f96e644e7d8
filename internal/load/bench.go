package load

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// bench is a publisher and the sink that its deliveries come to.
type bench struct {
	opt    Options
	sink   *sink
	client *http.Client
	topic  hook.Topic
	tag    string // makes ids and companies of this bench its own
}

// outstanding is how many deliveries may be on their way before the publisher waits: enough that the
// server never runs dry, few enough that the run measures a steady state and not a growing backlog.
const outstanding = 4000

// benchTopic is that of all events.
const benchTopic = "conversation.status"

func newBench(ctx context.Context, o Options) (*bench, error) {
	s, err := newSink(ctx)
	if err != nil {
		return nil, err
	}
	topic, _ := hook.LookupTopic(benchTopic)
	return &bench{opt: o, sink: s, topic: topic, tag: strconv.FormatInt(time.Now().UnixNano(), 36), client: newClient()}, nil
}

func newClient() *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	return &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			DialContext: dialer.DialContext, MaxIdleConnsPerHost: MaxConnections, DisableCompression: true,
		},
	}
}

// connections is how many publish in a scenario.
func (b *bench) connections(s scenario) int { return cmp.Or(b.opt.Connections, s.connections) }

func (b *bench) close() {
	b.client.CloseIdleConnections()
	b.sink.close()
}

// each runs a function as often at once as there are connections, by their number, until ctx ends, and
// returns the first error.
func each(ctx context.Context, connections int, fn func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	for i := range connections {
		all.Go(func() {
			if err := fn(ctx, i); err != nil {
				cancel(err)
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// ceiling lets another process post the bodies that deliveries have straight to the sink.
func (b *bench) ceiling(ctx context.Context, s scenario, round int) (r Result, err error) {
	poster := b.opt.Poster(ctx, b.sink.url(), b.connections(s))
	running, err := poster.StdinPipe() // it posts until this is closed, or this process has died
	if err != nil {
		return r, err
	}
	var said strings.Builder
	poster.Stderr = &said
	if err := poster.Start(); err != nil {
		return r, fmt.Errorf("ceiling: %w", err)
	}
	m := meter{pids: []int{os.Getpid(), poster.Process.Pid}, count: b.sink.received.Load}
	err = measure(ctx, b.opt.Duration/4, &m, nil)
	err = errors.Join(err, running.Close(), poster.Wait())
	if err != nil {
		return r, fmt.Errorf("ceiling: %w\n%s", err, said.String())
	}
	r = m.result
	r.Scenario, r.Round, r.RSS = Ceiling, round, 0
	return r, nil
}

// Post posts the body of a delivery to a URL, again and again over as many connections, by plain
// net/http, until ctx ends.
func Post(ctx context.Context, url string, connections int) error {
	topic, _ := hook.LookupTopic(benchTopic)
	data, err := wire.Escape([]byte(topic.Sample))
	if err != nil {
		return err
	}
	body := wire.Body(topic.Name, data, hook.DataString)
	client := newClient()
	defer client.CloseIdleConnections()
	return each(ctx, connections, func(ctx context.Context, _ int) error {
		for ctx.Err() == nil {
			// A request under way when the time is over comes to its end.
			if _, err := request(context.WithoutCancel(ctx), client, http.MethodPost, url, body, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// measure lets a load warm up for a fifth of the time, and meters the rest.
func measure(ctx context.Context, length time.Duration, m *meter, during func(context.Context, time.Duration) error) error {
	warm := length / 5
	if !pause(ctx, warm) {
		return ctx.Err()
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	profiled := make(chan error, 1)
	go func() {
		if during == nil {
			profiled <- nil
			return
		}
		profiled <- during(ctx, length-warm)
	}()
	if !pause(ctx, length-warm) {
		return errors.Join(ctx.Err(), <-profiled)
	}
	return errors.Join(m.stop(ctx), <-profiled)
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// subscribe makes a company's webhooks.
func (b *bench) subscribe(ctx context.Context, company string, webhooks int) (ids []string, err error) {
	for i := range webhooks {
		body := fmt.Sprintf(`{"endpoint": "%s/%d", "event": %q}`, b.sink.url(), i, b.topic.Name)
		answer, err := b.call(ctx, http.MethodPost, "/v1/webhooks", company, []byte(body))
		if err != nil {
			return ids, fmt.Errorf("create a webhook: %w", err)
		}
		var made struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(answer, &made); err != nil {
			return ids, err
		}
		ids = append(ids, made.ID)
	}
	return ids, nil
}

// begin makes companies of a run's own, and their webhooks.
func (b *bench) begin(ctx context.Context, s scenario, round, companies int) (*run, error) {
	n := &run{
		name: fmt.Sprintf("%s-%s-%d", b.tag, s.name, round), webhooks: s.webhooks, progress: make(chan struct{}, 1), seen: make([][]uint64, s.webhooks),
	}
	b.sink.run.Store(n)
	for i := range companies {
		c := company{id: fmt.Sprintf("bench-%s-%d", n.name, i)}
		var err error
		if c.webhooks, err = b.subscribe(ctx, c.id, s.webhooks); err != nil {
			return n, err
		}
		n.companies = append(n.companies, c)
	}
	return n, nil
}

// end takes the webhooks of a run away.
func (b *bench) end(ctx context.Context, n *run) error {
	for _, c := range n.companies {
		for _, id := range c.webhooks {
			if _, err := b.call(ctx, http.MethodDelete, "/v1/webhooks/"+id, c.id, nil); err != nil {
				return fmt.Errorf("delete a webhook: %w", err)
			}
		}
	}
	return nil
}

// full publishes as fast as deliveries arrive.
func (b *bench) full(ctx context.Context, s scenario, round int) (Result, error) {
	n, err := b.begin(ctx, s, round, b.opt.Companies)
	if err != nil {
		return Result{}, err
	}
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	m := b.meter(n.arrived.Load)
	var during func(context.Context, time.Duration) error
	if b.opt.During != nil && round == 1 {
		during = func(ctx context.Context, d time.Duration) error { return b.opt.During(ctx, s.name, d) }
	}
	measured := make(chan error, 1)
	go func() {
		defer stop()
		measured <- measure(publishing, b.opt.Duration, &m, during)
	}()
	var refused atomic.Int64
	err = each(publishing, b.connections(s), func(ctx context.Context, i int) error {
		p := publisher{bench: b, run: n, server: b.opt.Servers[i%len(b.opt.Servers)].URL, batch: s.batch, refused: &refused}
		return p.publish(ctx)
	})
	err = errors.Join(err, <-measured)
	lost := int64(0)
	if err == nil {
		lost = n.drain(ctx)
	}
	err = errors.Join(err, b.end(ctx, n))
	r := m.result
	r.Scenario, r.Round = s.name, round
	r.Published, r.Lost, r.Duplicates, r.Refused = n.published.Load(), lost, n.duplicates.Load()+n.foreign.Load(), refused.Load()
	return r, err
}

// publisher is one connection.
type publisher struct {
	*bench
	run     *run
	server  string
	batch   int
	refused *atomic.Int64
	body    []byte
}

// publish posts one request after the other. It waits while too much is on its way.
func (p *publisher) publish(ctx context.Context) error {
	for ctx.Err() == nil {
		from := p.run.published.Load()
		if p.run.waiting() > outstanding {
			pause(ctx, time.Millisecond)
			continue
		}
		if !p.run.published.CompareAndSwap(from, from+int64(p.batch)) {
			continue // another connection took these: all of them at once would be far too many
		}
		if _, err := p.send(ctx, from); err != nil {
			return err
		}
	}
	return nil
}

// send publishes the events from a number on, and repeats what the server asks to repeat. It is not
// cut short: an event whose fate is unknown could not be counted.
func (p *publisher) send(ctx context.Context, from int64) ([]byte, error) {
	p.body = p.body[:0]
	path := "/v1/events"
	company := p.run.companies[from/int64(p.batch)%int64(len(p.run.companies))].id
	if p.batch == 1 {
		p.body = p.event(p.body, company, from)
	} else {
		path = "/v1/events/batch"
		for i := range p.batch {
			p.body = append(p.body, "[,"[min(i, 1)])
			p.body = p.event(p.body, company, from+int64(i))
		}
		p.body = append(p.body, ']')
	}
	for {
		answer, err := p.callAt(context.WithoutCancel(ctx), p.server, http.MethodPost, path, "", p.body)
		var later *retryLater
		if !errors.As(err, &later) {
			return answer, err
		}
		p.refused.Add(1)
		pause(context.WithoutCancel(ctx), later.after)
	}
}

// event appends one publish.
func (p *publisher) event(to []byte, company string, number int64) []byte {
	to = append(to, `{"company_id":"`...)
	to = append(to, company...)
	to = append(to, `","event":"`...)
	to = append(to, p.topic.Name...)
	to = append(to, `","id":"`...)
	to = p.run.id(to, number)
	// Objects differ, so that order keeps no two deliveries apart.
	to = append(to, `","object_id":"`...)
	to = strconv.AppendInt(to, number, 10)
	to = append(to, `","data":`...)
	to = append(to, p.topic.Sample...)
	return append(to, '}')
}

func (n *run) id(to []byte, number int64) []byte {
	to = append(to, n.name...)
	to = append(to, '_')
	return strconv.AppendInt(to, number, 10)
}

// retryLater is what a server answers that is full.
type retryLater struct {
	status int
	after  time.Duration
}

func (e *retryLater) Error() string { return fmt.Sprintf("the server answered %d", e.status) }

// call makes a request to the first server: any serves the API.
func (b *bench) call(ctx context.Context, method, path, company string, body []byte) ([]byte, error) {
	return b.callAt(ctx, b.opt.Servers[0].URL, method, path, company, body)
}

func (b *bench) callAt(ctx context.Context, server, method, path, company string, body []byte) ([]byte, error) {
	return request(ctx, b.client, method, server+path, body, func(h http.Header) {
		h.Set("Authorization", "Bearer "+b.opt.Key)
		if company != "" {
			h.Set("X-Atlas-Company-Id", company)
		}
	})
}

func request(ctx context.Context, client *http.Client, method, url string, body []byte, header func(http.Header)) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	if header != nil {
		header(r.Header)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusServiceUnavailable:
		seconds, err := strconv.Atoi(answer.Header.Get("Retry-After"))
		if err != nil {
			seconds = 1
		}
		return nil, &retryLater{answer.StatusCode, time.Duration(seconds) * time.Second}
	case answer.StatusCode/100 != 2:
		return nil, fmt.Errorf("%s %s: %d %.300s", method, url, answer.StatusCode, text)
	}
	return text, nil
}
