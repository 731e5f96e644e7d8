// Package kafka takes events from topics of Kafka, as a member of a consumer group.
//
// A rebalance waits while a batch is in hand: either it is committed before, or, where the intake takes
// nothing, dropped, so that nothing is ever committed that another member has. The group's protocol is the
// eager one: after a rebalance every partition is read again from what is committed.
package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/atlas-webhooks/atlas-webhooks/internal/intake"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
)

// Settings are an entry of the file.
type Settings struct {
	source.Common `yaml:",inline"`

	Brokers      []string    `yaml:"brokers"` // host:port
	Topics       []string    `yaml:"topics"`
	Group        string      `yaml:"group"`
	IDHeader     string      `yaml:"id_header"` // that names events; none when empty
	SASL         string      `yaml:"sasl"`      // plain, scram-sha-256 or scram-sha-512
	Username     string      `yaml:"username"`
	Password     string      `yaml:"password"`
	PasswordFile string      `yaml:"password_file"`
	TLS          *source.TLS `yaml:"tls"`
}

// Define is the kind of source.
func Define(decode func(into any) error) (source.Definition, error) {
	s := &Settings{Group: "atlas-webhooks"}
	if err := decode(s); err != nil {
		return source.Definition{}, err
	}
	d := s.Definition()
	switch {
	case len(s.Brokers) == 0:
		return d, errors.New("brokers: is required, as [kafka:9092]")
	case len(s.Topics) == 0:
		return d, errors.New("topics: is required")
	case s.Group == "":
		return d, errors.New("group: must not be empty")
	case (s.SASL == "") != (s.Username == ""):
		return d, errors.New("sasl: goes with username and password")
	}
	password, err := source.Password(s.Password, s.PasswordFile)
	if err != nil {
		return d, err
	}
	s.Password = password
	if _, err := s.mechanism(); err != nil {
		return d, err
	}
	if s.TLS != nil {
		if _, err := s.TLS.Config(); err != nil {
			return d, err
		}
	}
	d.Secrets = []string{password}
	d.Where = fmt.Sprintf("%s by group %s at %s", strings.Join(s.Topics, ", "), s.Group, strings.Join(s.Brokers, ", "))
	d.Open = s.open
	return d, nil
}

func (s *Settings) mechanism() (sasl.Mechanism, error) {
	switch s.SASL {
	case "":
		return nil, nil
	case "plain":
		return plain.Auth{User: s.Username, Pass: s.Password}.AsMechanism(), nil
	case "scram-sha-256":
		return scram.Auth{User: s.Username, Pass: s.Password}.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return scram.Auth{User: s.Username, Pass: s.Password}.AsSha512Mechanism(), nil
	}
	return nil, errors.New("sasl: must be plain, scram-sha-256 or scram-sha-512")
}

const (
	askWait  = 10 * time.Second
	pollWait = 2 * time.Second
	// sessionWait is how long the partitions of a member that was killed wait for another one.
	sessionWait = 10 * time.Second
	quiet       = 5 * time.Second // after which the brokers are asked whether they are there
	failures    = 3               // polls in a row that bring errors alone, after which the connection is made anew
)

// reader is a member of the group.
type reader struct {
	s      *Settings
	client *kgo.Client
	failed int       // polls in a row
	heard  time.Time // when something last came

	mu     sync.Mutex
	next   map[string]map[int32]int64 // the offset after the last that was received, or committed
	lost   chan struct{}              // of the batch in hand; nil: there is none
	last   map[string]map[int32]*kgo.Record
	oldest time.Time // of the batch in hand
}

func (s *Settings) options() ([]kgo.Opt, error) {
	options := []kgo.Opt{kgo.SeedBrokers(s.Brokers...), kgo.ClientID("atlas-webhooks"), kgo.DialTimeout(askWait)}
	mechanism, err := s.mechanism()
	if err != nil {
		return nil, err
	}
	if mechanism != nil {
		options = append(options, kgo.SASL(mechanism))
	}
	if s.TLS != nil {
		c, err := s.TLS.Config()
		if err != nil {
			return nil, err
		}
		options = append(options, kgo.DialTLSConfig(c))
	}
	return options, nil
}

func (s *Settings) open(ctx context.Context) (source.Source, error) {
	r := &reader{s: s, heard: time.Now(), next: map[string]map[int32]int64{}}
	options, err := s.options()
	if err != nil {
		return nil, err
	}
	r.client, err = kgo.NewClient(append(options,
		kgo.ConsumerGroup(s.Group), kgo.ConsumeTopics(s.Topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(), kgo.SessionTimeout(sessionWait), kgo.HeartbeatInterval(sessionWait/5), kgo.BlockRebalanceOnPoll(), kgo.Balancers(kgo.RoundRobinBalancer()), kgo.FetchMaxBytes(2*source.MaxBytes),
		kgo.OnPartitionsCallbackBlocked(func(context.Context, *kgo.Client) { r.drop() }),
		kgo.OnPartitionsRevoked(r.forget), kgo.OnPartitionsLost(r.forget), kgo.AdjustFetchOffsetsFn(r.assigned),
	)...)
	if err != nil {
		return nil, err
	}
	if err := r.ping(ctx); err != nil {
		r.client.Close()
		return nil, err
	}
	return r, nil
}

func (r *reader) ping(ctx context.Context) error {
	asked, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	if err := r.client.Ping(asked); err != nil {
		return fmt.Errorf("no broker answers: %w", err)
	}
	return nil
}

// drop tells whoever holds the batch that a rebalance waits for it.
func (r *reader) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lost != nil {
		close(r.lost)
		r.lost = nil
	}
}

// forget forgets partitions that are no longer ours.
func (r *reader) forget(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, partitions := range gone {
		for _, p := range partitions {
			delete(r.next[topic], p)
		}
	}
}

// assigned learns from where each partition is to be read.
func (r *reader) assigned(_ context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for topic, partitions := range offsets {
		for p, o := range partitions {
			if at := o.EpochOffset().Offset; at >= 0 {
				r.moved(topic, p, at)
			}
		}
	}
	return offsets, nil
}

func (r *reader) moved(topic string, partition int32, next int64) {
	if r.next[topic] == nil {
		r.next[topic] = map[int32]int64{}
	}
	r.next[topic][partition] = next
}

// Receive returns the next records. While they are in hand, no partition is taken away.
func (r *reader) Receive(ctx context.Context) (source.Batch, error) {
	r.letGo()
	r.client.AllowRebalance()
	asked, cancel := context.WithTimeout(ctx, pollWait)
	defer cancel()
	fetches := r.client.PollRecords(asked, source.MaxMessages)
	if ctx.Err() != nil {
		return source.Batch{}, ctx.Err()
	}
	b := r.batch(fetches)
	err := r.troubled(fetches)
	switch {
	case len(b.Messages) > 0:
		r.failed, r.heard = 0, time.Now()
		return b, nil
	case err != nil:
		if r.failed++; r.failed >= failures {
			return b, err
		}
	case time.Since(r.heard) > quiet:
		if err := r.ping(ctx); err != nil {
			return b, err
		}
		r.heard = time.Now()
	}
	return b, nil
}

// troubled is an error that a poll brought.
func (r *reader) troubled(fetches kgo.Fetches) (err error) {
	fetches.EachError(func(topic string, partition int32, e error) {
		if !errors.Is(e, context.DeadlineExceeded) && err == nil {
			err = fmt.Errorf("topic %s, partition %d: %w", topic, partition, e)
		}
	})
	return err
}

func (r *reader) letGo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lost, r.last, r.oldest = nil, nil, time.Time{}
}

// batch takes records into hand.
func (r *reader) batch(fetches kgo.Fetches) (b source.Batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = map[string]map[int32]*kgo.Record{}
	for _, f := range fetches {
		for i := range f.Topics {
			t := &f.Topics[i]
			for j := range t.Partitions {
				r.partition(&b, t, &t.Partitions[j])
			}
		}
	}
	if len(b.Messages) > 0 {
		r.lost = make(chan struct{})
		b.Lost = r.lost
	}
	return b
}

func (r *reader) partition(b *source.Batch, t *kgo.FetchTopic, p *kgo.FetchPartition) {
	// What has expired is skipped without an error.
	if next, known := r.next[t.Topic][p.Partition]; known && p.Err == nil && next < p.LogStartOffset {
		b.Expired += p.LogStartOffset - next
		r.moved(t.Topic, p.Partition, p.LogStartOffset)
	}
	for _, record := range p.Records {
		b.Messages = append(b.Messages, r.message(t, record))
		if r.oldest.IsZero() || record.Timestamp.Before(r.oldest) {
			r.oldest = record.Timestamp
		}
		if r.last[t.Topic] == nil {
			r.last[t.Topic] = map[int32]*kgo.Record{}
		}
		r.last[t.Topic][p.Partition] = record
		r.moved(t.Topic, p.Partition, record.Offset+1)
	}
}

// message is a record. A topic that is made anew has the same name and offsets, and another id.
func (r *reader) message(t *kgo.FetchTopic, record *kgo.Record) source.Message {
	topic := t.Topic
	if t.TopicID != [16]byte{} {
		topic = fmt.Sprintf("%s@%x", t.Topic, t.TopicID)
	}
	place := fmt.Sprintf("%s/%d/%d", topic, record.Partition, record.Offset)
	headers := map[string]string{}
	for _, h := range record.Headers {
		headers[h.Key] = string(h.Value)
	}
	m := source.Message{
		Message: intake.Message{Body: record.Value, ID: source.EventID(headers[cmp.Or(r.s.IDHeader, "\x00")], place)}, Key: place, WrittenAt: record.Timestamp,
	}
	m.Describe(cmp.Or(headers["content-type"], headers["Content-Type"]), headers, "ce_")
	return m
}

// Commit moves the group's offsets behind what is in hand.
func (r *reader) Commit(ctx context.Context) error {
	r.mu.Lock()
	var records []*kgo.Record
	for _, partitions := range r.last {
		for _, record := range partitions {
			records = append(records, record)
		}
	}
	r.mu.Unlock()
	asked, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	if err := r.client.CommitRecords(asked, records...); err != nil {
		return fmt.Errorf("commit offsets: %w", err)
	}
	r.letGo()
	r.client.AllowRebalance()
	return nil
}

// Lag compares what is committed with the ends of the partitions that this member has. The difference counts
// records that are none of ours too (of transactions), so that the age is what tells.
func (r *reader) Lag(ctx context.Context) (lag source.Lag, err error) {
	ends, err := r.ends(ctx)
	if err != nil {
		return lag, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lag.Oldest = r.oldest
	for topic, partitions := range r.next {
		for p, next := range partitions {
			if first := r.last[topic][p]; first != nil {
				next = min(next, first.Offset)
			}
			lag.Messages += max(0, ends[topic][p]-next)
		}
	}
	return lag, nil
}

// ends are the offsets behind the last records.
func (r *reader) ends(ctx context.Context) (map[string]map[int32]int64, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	r.mu.Lock()
	for topic, partitions := range r.next {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for p := range partitions {
			x := kmsg.NewListOffsetsRequestTopicPartition()
			x.Partition, x.Timestamp = p, -1
			t.Partitions = append(t.Partitions, x)
		}
		request.Topics = append(request.Topics, t)
	}
	r.mu.Unlock()
	ends := map[string]map[int32]int64{}
	if len(request.Topics) == 0 {
		return ends, nil
	}
	for _, shard := range r.client.RequestSharded(ctx, request) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		for _, t := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			if ends[t.Topic] == nil {
				ends[t.Topic] = map[int32]int64{}
			}
			for _, p := range t.Partitions {
				ends[t.Topic][p.Partition] = p.Offset
			}
		}
	}
	return ends, nil
}

func (r *reader) Close() {
	r.client.AllowRebalance()
	r.client.CloseAllowingRebalance()
}
