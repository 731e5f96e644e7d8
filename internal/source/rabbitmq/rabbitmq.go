// Package rabbitmq takes events from a queue of RabbitMQ.
//
// A queue has no places that a reader could remember: it remembers what its consumers hold. So order is kept
// by three rules. Nothing is ever given back while the reader lives, because that comes behind what is newer.
// A reader begins when the queue no longer counts its predecessor, whose messages come first only then. And of
// those a quorum queue puts what was taken by several readers in turn behind what was taken by fewer, so that
// the first messages are sorted by how often they were delivered.
//
// Whether a message is marked as delivered before decides nothing: after a crash of the broker all are. The
// connection is this reader's own, because one that also publishes is stopped, with its acknowledgements, while
// the broker's disk or memory is low.
package rabbitmq

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
)

// Settings are an entry of the file.
type Settings struct {
	source.Common `yaml:",inline"`

	URL          string      `yaml:"url"` // amqp://user:password@host:5672/vhost, or amqps://
	PasswordFile string      `yaml:"password_file"`
	Queue        string      `yaml:"queue"`
	IDHeader     string      `yaml:"id_header"` // that names events; the property message-id when empty
	Prefetch     int         `yaml:"prefetch"`  // messages that are held in memory at most
	TLS          *source.TLS `yaml:"tls"`

	address amqp.URI // of URL, with the password
}

// Define is the kind of source.
func Define(decode func(into any) error) (source.Definition, error) {
	s := &Settings{Prefetch: source.MaxMessages}
	if err := decode(s); err != nil {
		return source.Definition{}, err
	}
	d := s.Definition()
	if s.Queue == "" || len(s.Queue) > 255 {
		return d, errors.New("queue: is required, with at most 255 bytes")
	}
	if s.Prefetch < 1 || s.Prefetch > source.MaxMessages {
		return d, fmt.Errorf("prefetch: must be 1 to %d", source.MaxMessages)
	}
	u, err := source.CheckURL(s.URL, "amqp", "amqps")
	if err != nil {
		return d, err
	}
	if s.address, err = amqp.ParseURI(s.URL); err != nil {
		return d, errors.New("url: must be amqp://[user:password@]host[:port][/vhost], or amqps://")
	}
	password, _ := u.User.Password()
	if password, err = source.Password(password, s.PasswordFile); err != nil {
		return d, err
	}
	if s.PasswordFile != "" {
		s.address.Password = password
	}
	if s.TLS != nil {
		if u.Scheme != "amqps" {
			return d, errors.New("tls: goes with an amqps:// url")
		}
		if _, err := s.TLS.Config(); err != nil {
			return d, err
		}
	}
	d.Alone, d.Where, d.Open = true, fmt.Sprintf("queue %s at %s", s.Queue, u.Host), s.open
	d.Secrets = append(source.SecretsOf(u), password)
	return d, nil
}

const (
	connectWait = 10 * time.Second
	heartbeat   = 10 * time.Second
	idleWait    = 2 * time.Second
	firstWait   = 10 * time.Second     // for a message that the queue counted
	linger      = 2 * time.Millisecond // the library hands messages over one by one
	aloneWait   = 3 * time.Second      // for the queue to count as many consumers as it should
	closeWait   = 5 * time.Second
)

// reader is a connection with a consumer.
type reader struct {
	s          *Settings
	conn       *amqp.Connection
	channel    *amqp.Channel
	deliveries <-chan amqp.Delivery
	first      int    // how many messages to sort before anything else is done
	tag        uint64 // the highest in hand; 0 for none

	lost chan struct{} // closed when the channel has ended
	why  error         // of that; read after lost

	mu     sync.Mutex
	inHand int64
	behind time.Time // since when there have always been messages; zero while there are none
}

func (s *Settings) open(ctx context.Context) (source.Source, error) {
	config := amqp.Config{
		SASL: []amqp.Authentication{s.address.PlainAuth()}, Vhost: s.address.Vhost,
		Heartbeat: heartbeat, Locale: "en_US", Properties: amqp.NewConnectionProperties(), Dial: dialer(ctx),
	}
	config.Properties.SetClientConnectionName("atlas-webhooks " + s.Name)
	if s.TLS != nil {
		c, err := s.TLS.Config()
		if err != nil {
			return nil, err
		}
		config.TLSClientConfig = c
	}
	conn, err := amqp.DialConfig(s.URL, config)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	r := &reader{s: s, conn: conn, lost: make(chan struct{})}
	if err := r.consume(ctx); err != nil {
		_ = conn.CloseDeadline(time.Now().Add(closeWait)) // why it is closed says more
		return nil, fmt.Errorf("queue %s: %w", s.Queue, err)
	}
	return r, nil
}

// dialer connects while ctx lasts. The library takes the deadline away when it has shaken hands.
func dialer(ctx context.Context) func(network, address string) (net.Conn, error) {
	return func(network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: connectWait}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return conn, conn.SetDeadline(time.Now().Add(connectWait))
	}
}

func (r *reader) consume(ctx context.Context) (err error) {
	if r.channel, err = r.conn.Channel(); err != nil {
		return err
	}
	if err := r.channel.Qos(r.s.Prefetch, 0, false); err != nil {
		return err
	}
	q, err := r.consumers(ctx, 0)
	if err != nil {
		return err
	}
	if q.Consumers > 0 {
		return errors.New("is read by another consumer: so order would be lost")
	}
	r.first = min(q.Messages, r.s.Prefetch)
	if r.deliveries, err = r.channel.Consume(r.s.Queue, "", false, false, false, false, nil); err != nil {
		return err
	}
	q, err = r.consumers(ctx, 1)
	switch {
	case err != nil:
		return err
	case q.Consumers == 0:
		return errors.New("is a stream, which keeps no account of what its readers have; bind a queue instead")
	case q.Consumers > 1:
		return errors.New("is read by another consumer too: so order would be lost")
	}
	closed := r.channel.NotifyClose(make(chan *amqp.Error, 1))
	go func() {
		if err := <-closed; err != nil {
			r.why = err
		}
		close(r.lost)
	}()
	return nil
}

// consumers waits until the queue counts so many. It returns what it counted last.
func (r *reader) consumers(ctx context.Context, n int) (q amqp.Queue, err error) {
	for until := time.Now().Add(aloneWait); ; {
		q, err = r.channel.QueueDeclarePassive(r.s.Queue, false, false, false, false, nil)
		if err != nil || q.Consumers == n || time.Now().After(until) {
			return q, err
		}
		select {
		case <-ctx.Done():
			return q, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Receive returns what has arrived, or waits for the next.
func (r *reader) Receive(ctx context.Context) (b source.Batch, err error) {
	r.tag = 0
	var list []amqp.Delivery
	for size := 0; len(list) < r.first || r.first == 0 && len(list) < r.s.Prefetch && size < source.MaxBytes; {
		wait := linger
		switch {
		case r.first > 0:
			wait = firstWait
		case len(list) == 0:
			wait = idleWait
		}
		d, err := r.next(ctx, wait)
		if err != nil {
			return b, err
		}
		if d == nil {
			break
		}
		list = append(list, *d)
		size += len(d.Body)
	}
	if r.first > 0 {
		slices.SortStableFunc(list, func(a, b amqp.Delivery) int { return cmp.Compare(taken(&b), taken(&a)) })
		r.first = 0
	}
	for i := range list {
		r.add(&b, &list[i])
	}
	r.hold(int64(len(list)))
	return b, nil
}

// next is a delivery, or nil when there is none for a while.
func (r *reader) next(ctx context.Context, wait time.Duration) (*amqp.Delivery, error) {
	idle := time.NewTimer(wait)
	defer idle.Stop()
	select {
	case d, ok := <-r.deliveries:
		return &d, r.ended(ok)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-idle.C:
		return nil, nil
	}
}

// ended is why no more deliveries come, where that is so.
func (r *reader) ended(ok bool) error {
	if ok {
		return nil
	}
	select {
	case <-r.lost:
		if r.why != nil {
			return r.why
		}
	case <-time.After(time.Second):
	}
	return errors.New("the consumer was cancelled: is the queue deleted?")
}

// taken is how often a quorum queue has delivered a message before. Others do not say.
func taken(d *amqp.Delivery) int64 {
	n, _ := d.Headers["x-delivery-count"].(int64)
	return n
}

func (r *reader) hold(n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inHand = n
}

func (r *reader) add(b *source.Batch, d *amqp.Delivery) {
	r.tag = max(r.tag, d.DeliveryTag)
	headers := map[string]string{}
	for name, value := range d.Headers {
		headers[name] = text(value)
	}
	name := d.MessageId
	if r.s.IDHeader != "" {
		name = headers[r.s.IDHeader]
	}
	m := source.Message{Message: intake.Message{Body: d.Body}, WrittenAt: d.Timestamp, Unnamed: name == ""}
	if m.Unnamed { // a queue has no places: nothing else tells it from another one
		m.ID = hook.NewID(hook.EventPrefix, time.Now())
		m.Key = m.ID
		b.Lost = r.lost // what is given to another reader is not to be accepted here as well
	} else {
		m.ID = source.EventID(name, "")
		m.Key = fmt.Sprintf("%s/%s/%x", r.s.Queue, name, sha256.Sum256(d.Body)) // two may have one id
	}
	m.Describe(d.ContentType, headers, "cloudEvents:", "cloudEvents_")
	b.Messages = append(b.Messages, m)
}

// text is a header's value as a CloudEvent's attributes are written.
func text(value any) string {
	switch v := value.(type) {
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	}
	return fmt.Sprint(value)
}

// Commit acknowledges all that is in hand. The broker does not answer; what it forgets comes again.
func (r *reader) Commit(context.Context) error {
	if r.tag == 0 {
		return nil
	}
	if err := r.channel.Ack(r.tag, true); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	r.tag = 0
	r.hold(0)
	return nil
}

// Lag counts the queue, and what is in hand. The queue does not tell the age of its messages: it is taken for
// as long as there have always been some.
func (r *reader) Lag(context.Context) (lag source.Lag, err error) {
	channel, err := r.conn.Channel()
	if err != nil {
		return lag, err
	}
	defer channel.Close()
	q, err := channel.QueueDeclarePassive(r.s.Queue, false, false, false, false, nil)
	if err != nil {
		return lag, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lag.Messages = int64(q.Messages) + r.inHand
	if lag.Messages == 0 {
		r.behind = time.Time{}
	} else if r.behind.IsZero() {
		r.behind = time.Now()
	}
	lag.Oldest = r.behind
	return lag, nil
}

// Close ends the connection, whose unacknowledged messages the queue has again.
func (r *reader) Close() {
	_ = r.conn.CloseDeadline(time.Now().Add(closeWait)) // it may be broken
	<-r.lost
}
