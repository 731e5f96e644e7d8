// Package nats takes events from a stream of NATS JetStream, by a durable pull consumer.
//
// What was delivered before and not acknowledged is sent again only when its time is over, behind messages
// that are newer. So that order holds through the end of a reader, the next one reads what its predecessor
// left from the stream itself, before it pulls; what is sent again later is dropped by its id.
package nats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
)

// Settings are an entry of the file.
type Settings struct {
	source.Common `yaml:",inline"`

	URL             string      `yaml:"url"` // nats://user:password@host:4222, or tls://; several separated by commas
	Stream          string      `yaml:"stream"`
	Consumer        string      `yaml:"consumer"`         // durable; made where there is none
	Subjects        []string    `yaml:"subjects"`         // of a consumer that is made; all when empty
	CredentialsFile string      `yaml:"credentials_file"` // JWT and seed
	AckWaitSeconds  int         `yaml:"ack_wait_seconds"` // of a consumer that is made
	IDHeader        string      `yaml:"id_header"`        // that names events; Nats-Msg-Id when empty
	TLS             *source.TLS `yaml:"tls"`
}

// Define is the kind of source.
func Define(decode func(into any) error) (source.Definition, error) {
	s := &Settings{Consumer: "atlas-webhooks", AckWaitSeconds: 30, IDHeader: jetstream.MsgIDHeader}
	if err := decode(s); err != nil {
		return source.Definition{}, err
	}
	d := s.Definition()
	if s.Stream == "" {
		return d, errors.New("stream: is required")
	}
	if strings.ContainsAny(s.Consumer, ". *>/\\\t\r\n") || s.Consumer == "" {
		return d, errors.New("consumer: must be a name without dots, stars and blanks")
	}
	if s.AckWaitSeconds < 1 || s.AckWaitSeconds > 3600 {
		return d, errors.New("ack_wait_seconds: must be 1 to 3600")
	}
	var hosts []string
	for one := range strings.SplitSeq(s.URL, ",") {
		u, err := source.CheckURL(strings.TrimSpace(one), "nats", "tls")
		if err != nil {
			return d, err
		}
		hosts = append(hosts, u.Host)
		d.Secrets = append(d.Secrets, source.SecretsOf(u)...)
		if _, ok := u.User.Password(); !ok && u.User.Username() != "" {
			d.Secrets = append(d.Secrets, u.User.Username()) // a token
		}
	}
	if s.TLS != nil {
		if _, err := s.TLS.Config(); err != nil {
			return d, err
		}
	}
	d.Alone = true
	d.Where = fmt.Sprintf("stream %s, consumer %s at %s", s.Stream, s.Consumer, strings.Join(hosts, ", "))
	d.Open = s.open
	return d, nil
}

const (
	connectWait = 5 * time.Second
	askWait     = 10 * time.Second
	idleWait    = 2 * time.Second
)

// reader is a connection, with its consumer.
type reader struct {
	s        *Settings
	conn     *nats.Conn
	stream   jetstream.Stream
	consumer jetstream.Consumer
	filters  []string  // subjects that the consumer gets
	made     time.Time // when the stream was

	next, last uint64          // what a predecessor left, which is read before anything is pulled
	pulled     []jetstream.Msg // not acknowledged
}

func (s *Settings) open(ctx context.Context) (source.Source, error) {
	options := []nats.Option{nats.Name("atlas-webhooks"), nats.NoReconnect(), nats.Timeout(connectWait)}
	if s.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(s.CredentialsFile))
	}
	if s.TLS != nil {
		c, err := s.TLS.Config()
		if err != nil {
			return nil, err
		}
		options = append(options, nats.Secure(c))
	}
	conn, err := nats.Connect(s.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	r := &reader{s: s, conn: conn}
	asked, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	if err := r.attach(asked); err != nil {
		conn.Close()
		return nil, err
	}
	return r, nil
}

// attach finds the stream and the consumer, which it makes where there is none.
func (r *reader) attach(ctx context.Context) error {
	js, err := jetstream.New(r.conn)
	if err != nil {
		return err
	}
	if r.stream, err = js.Stream(ctx, r.s.Stream); err != nil {
		return fmt.Errorf("stream %s: %w", r.s.Stream, err)
	}
	r.made = r.stream.CachedInfo().Created
	r.consumer, err = r.stream.Consumer(ctx, r.s.Consumer)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		r.consumer, err = r.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: r.s.Consumer, AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Duration(r.s.AckWaitSeconds) * time.Second,
			MaxDeliver: -1, MaxAckPending: source.MaxMessages, FilterSubjects: r.s.Subjects,
		})
	}
	if err != nil {
		return fmt.Errorf("consumer %s: %w", r.s.Consumer, err)
	}
	info := r.consumer.CachedInfo()
	c := info.Config
	switch {
	case c.AckPolicy != jetstream.AckExplicitPolicy:
		return fmt.Errorf("consumer %s: its acknowledgement policy must be explicit", r.s.Consumer)
	case c.MaxDeliver > 0:
		return fmt.Errorf("consumer %s: it gives a message up after %d deliveries; max_deliver must be -1", r.s.Consumer, c.MaxDeliver)
	case c.DeliverSubject != "":
		return fmt.Errorf("consumer %s: is a push consumer; it must be pulled", r.s.Consumer)
	}
	if r.filters = slices.Clone(c.FilterSubjects); c.FilterSubject != "" {
		r.filters = []string{c.FilterSubject}
	}
	if len(r.s.Subjects) > 0 && !slices.Equal(slices.Sorted(slices.Values(r.filters)), slices.Sorted(slices.Values(r.s.Subjects))) {
		return fmt.Errorf("consumer %s: gets the subjects %v, not those of the file", r.s.Consumer, r.filters)
	}
	if len(r.filters) == 0 {
		r.filters = []string{">"}
	}
	if info.NumAckPending > 0 {
		r.next, r.last = info.AckFloor.Stream+1, info.Delivered.Stream
	}
	return nil
}

// Receive returns what is there, or the next that comes.
func (r *reader) Receive(ctx context.Context) (source.Batch, error) {
	if r.next <= r.last && r.last > 0 {
		return r.left(ctx)
	}
	pulled, err := r.pull(r.consumer.FetchNoWait(source.MaxMessages))
	if err == nil && len(pulled) == 0 {
		idle, cancel := context.WithTimeout(ctx, idleWait)
		pulled, err = r.pull(r.consumer.Fetch(1, jetstream.FetchContext(idle)))
		cancel()
	}
	if err != nil {
		return source.Batch{}, fmt.Errorf("pull: %w", err)
	}
	var b source.Batch
	for _, m := range pulled {
		meta, err := m.Metadata()
		if err != nil {
			return b, err
		}
		b.Messages = append(b.Messages, r.message(m.Data(), m.Headers(), meta.Sequence.Stream, meta.Timestamp))
	}
	r.pulled = pulled
	return b, nil
}

func (r *reader) pull(batch jetstream.MessageBatch, err error) (list []jetstream.Msg, _ error) {
	if err != nil {
		return nil, err
	}
	for m := range batch.Messages() {
		list = append(list, m)
	}
	if err := batch.Error(); err != nil && !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return list, nil
}

// left reads what a predecessor was given and did not acknowledge, from the stream itself: it is sent again
// only later. It may return what was acknowledged too, which is known by its id.
func (r *reader) left(ctx context.Context) (b source.Batch, err error) {
	r.pulled = nil
	for size := 0; len(b.Messages) < source.MaxMessages && size < source.MaxBytes && r.next <= r.last; {
		m, err := r.from(ctx, r.next)
		if err != nil {
			return b, err
		}
		if m == nil || m.Sequence > r.last {
			r.next = r.last + 1
			break
		}
		b.Messages = append(b.Messages, r.message(m.Data, m.Header, m.Sequence, m.Time))
		size += len(m.Data)
		r.next = m.Sequence + 1
	}
	return b, nil
}

// from is the first message from a sequence on that the consumer gets; nil when there is none.
func (r *reader) from(ctx context.Context, sequence uint64) (first *jetstream.RawStreamMsg, err error) {
	for _, subject := range r.filters {
		m, err := r.stream.GetMsg(ctx, sequence, jetstream.WithGetMsgSubject(subject))
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
		case err != nil:
			return nil, fmt.Errorf("read the stream: %w", err)
		case first == nil || m.Sequence < first.Sequence:
			first = m
		}
	}
	return first, nil
}

func (r *reader) message(data []byte, header nats.Header, sequence uint64, at time.Time) source.Message {
	place := fmt.Sprintf("%s@%d/%d", r.s.Stream, r.made.UnixNano(), sequence)
	headers := map[string]string{}
	for name := range header {
		headers[name] = header.Get(name)
	}
	m := source.Message{Message: intake.Message{Body: data, ID: source.EventID(headers[r.s.IDHeader], place)}, Key: place, WrittenAt: at}
	m.Describe(headers["Content-Type"]+headers["content-type"], headers, "ce-")
	return m
}

// Commit acknowledges. The server answers the last acknowledgement, which it handles after the others.
func (r *reader) Commit(ctx context.Context) error {
	defer func() { r.pulled = nil }()
	for i, m := range r.pulled {
		if i < len(r.pulled)-1 {
			if err := m.Ack(); err != nil {
				return fmt.Errorf("acknowledge: %w", err)
			}
			continue
		}
		asked, cancel := context.WithTimeout(ctx, askWait)
		err := m.DoubleAck(asked)
		cancel()
		if err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
	return nil
}

// Lag counts what was not acknowledged, and what was not delivered.
func (r *reader) Lag(ctx context.Context) (source.Lag, error) {
	consumer, err := r.stream.Consumer(ctx, r.s.Consumer) // the other goroutine's is not shared
	if err != nil {
		return source.Lag{}, err
	}
	info := consumer.CachedInfo()
	lag := source.Lag{Messages: int64(min(info.NumPending, 1<<62)) + int64(info.NumAckPending)}
	if lag.Messages == 0 {
		return lag, nil
	}
	m, err := r.from(ctx, info.AckFloor.Stream+1)
	if m != nil {
		lag.Oldest = m.Time
	}
	return lag, err
}

func (r *reader) Close() { r.conn.Close() }
