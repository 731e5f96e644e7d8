package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Bounds of the platform's own topics: every node holds them in memory.
const (
	MaxTopics     = 256
	MaxTopicBytes = 1 << 20 // of all together
	MaxDerived    = 16      // from objects of one type: one change can mean an event of each
)

// followEvery is how often a node asks whether another one changed a topic.
const followEvery = 400 * time.Millisecond

// catalogued is the catalogue of a moment.
type catalogued struct {
	version int64 // of the topics; another one says that they changed
	topics  *hook.Catalogue
	// validate is what companies ask for, by their ids; those that ask for nothing are not in it.
	validate map[string]hook.Validation
}

// Catalogue is what topics there are, as this process knows it: what it changes itself it knows at once,
// what other nodes change while [Store.FollowTopics] runs.
func (s *Store) Catalogue() *hook.Catalogue {
	if c := s.topics.Load(); c != nil {
		return c.topics
	}
	return nil
}

// Validation is what a company asks for, known as the catalogue is.
func (s *Store) Validation(company string) hook.Validation {
	if c := s.topics.Load(); c != nil {
		return c.validate[company]
	}
	return ""
}

// FollowTopics learns of other nodes' changes until ctx ends. The embedded store has no others.
func (s *Store) FollowTopics(ctx context.Context, log *slog.Logger) {
	if s.Nodes() == nil {
		return
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := s.ReadTopics(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			log.Warn("topics cannot be read; those known before go on", "error", err)
		}
		failing = err != nil
	}
}

// ReadTopics reads the topics where they changed.
func (s *Store) ReadTopics(ctx context.Context) error {
	s.reading.Lock() // else what was read earlier could be kept later
	defer s.reading.Unlock()
	const version = `SELECT value FROM meta WHERE name = 'topics'`
	var fresh catalogued
	known := s.topics.Load()
	err := s.look(ctx, func(q sql.Tx) error { return sql.One(ctx, q, version, nil, &fresh.version) })
	if err != nil || known != nil && known.version == fresh.version {
		return err
	}
	err = s.read(ctx, func(q sql.Tx) error {
		if err := sql.One(ctx, q, version, nil, &fresh.version); err != nil {
			return err
		}
		own, gone, err := ownTopics(ctx, q)
		if err != nil {
			return err
		}
		topics := func(list []ownTopic) (topics []hook.Topic) {
			for _, t := range list {
				topics = append(topics, t.Topic)
			}
			return topics
		}
		fresh.topics = hook.NewCatalogue(topics(own), topics(gone)...)
		fresh.validate = map[string]hook.Validation{}
		return sql.Each(ctx, q, `SELECT id, validate FROM companies WHERE validate <> ''`, nil, func(r sql.Rows) error {
			var id, validate string
			err := r.Scan(&id, &validate)
			fresh.validate[id] = hook.Validation(validate)
			return err
		})
	})
	if err == nil {
		s.topics.Store(&fresh)
	}
	return err
}

// Who put a topic, as its row says. One that is gone leaves its name and category, by which its events are found.
const (
	putByAPI = iota
	putByFile
	topicGone
)

const mostGone = 1000 // topics that are remembered after they are gone

type ownTopic struct {
	hook.Topic
	put     int64
	bytes   int
	changed time.Time
}

// ownTopics reads the topics that there are, then those that there were.
func ownTopics(ctx context.Context, q sql.Tx) (list, gone []ownTopic, err error) {
	err = sql.Each(ctx, q, `SELECT name, document, from_file, updated_at FROM topics ORDER BY name`, nil, func(r sql.Rows) error {
		var name, document string
		var at int64
		var t ownTopic
		if err := r.Scan(&name, &document, &t.put, &at); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(document), &t.Topic); err != nil {
			return fmt.Errorf("topic %s: %w", name, err)
		}
		if t.Name, t.bytes, t.changed = name, len(document), sql.FromMicros(at); t.put == topicGone {
			gone = append(gone, t)
		} else {
			list = append(list, t)
		}
		return nil
	})
	return list, gone, err
}

// PutTopic adds a topic of the platform's own, or changes it. Its category stays: it is a part of what
// names an event's object.
func (s *Store) PutTopic(ctx context.Context, t hook.Topic, a Audit) error {
	err := s.changeTopics(ctx, func(q sql.Tx, own []ownTopic) error {
		own, err := s.putTopic(ctx, q, own, t, putByAPI)
		if err != nil {
			return err
		}
		if err := boundTopics(own); err != nil {
			return err
		}
		return writeAudit(ctx, q, 0, t.Name, a, hook.Now(s.now()))
	})
	if err != nil {
		return fmt.Errorf("put topic: %w", err)
	}
	return nil
}

// DeleteTopic takes a topic away that no webhook names. Its events stay, and so does what matched them.
func (s *Store) DeleteTopic(ctx context.Context, name string, a Audit) error {
	err := s.changeTopics(ctx, func(q sql.Tx, own []ownTopic) error {
		i := indexOfTopic(own, name)
		if i < 0 {
			return hook.NotFound("topic")
		}
		used, err := topicsUsed(ctx, q)
		if err != nil {
			return err
		}
		if used[name] > 0 {
			return hook.Refuse(hook.KindConflict, "topic_in_use", "%d webhooks name this topic; change or delete them first", used[name])
		}
		if err := s.forgetTopic(ctx, q, own[i]); err != nil {
			return err
		}
		return writeAudit(ctx, q, 0, name, a, hook.Now(s.now()))
	})
	if err != nil {
		return fmt.Errorf("delete topic: %w", err)
	}
	return nil
}

// fileSettles is for how long a topic stays that a file put or changed, although another file does not name it:
// while nodes are started with a new file one after another, one of those with the former file may start too.
const fileSettles = time.Hour

// KeptTopic is one that a file no longer names, and why it is kept.
type KeptTopic struct{ Name, Why string }

// ApplyTopics makes the topics of a file those of the catalogue: it puts each, and takes away those that an
// earlier file put and this one does not name. Kept are those of them that webhooks name, and where nodes share
// the store those that a file put a moment ago.
func (s *Store) ApplyTopics(ctx context.Context, file []hook.Topic, a Audit) (kept []KeptTopic, err error) {
	err = s.changeTopics(ctx, func(q sql.Tx, own []ownTopic) error {
		left, gone, stay, err := s.unnamed(ctx, q, own, file)
		if err != nil {
			return err
		}
		kept = stay
		for _, o := range gone {
			if err := s.forgetTopic(ctx, q, o); err != nil {
				return err
			}
		}
		changed := len(gone) > 0
		for _, t := range file {
			if i := indexOfTopic(left, t.Name); i >= 0 && left[i].Topic == t && left[i].put == putByFile {
				continue
			}
			changed = true
			if left, err = s.putTopic(ctx, q, left, t, putByFile); err != nil {
				return fmt.Errorf("%s: %w", t.Name, err)
			}
		}
		if !changed {
			return errUnchanged
		}
		if err := boundTopics(left); err != nil { // at the end: a file may let one grow and another shrink
			return err
		}
		return writeAudit(ctx, q, 0, "topics_file", a, hook.Now(s.now()))
	})
	if err != nil && !errors.Is(err, errUnchanged) {
		return nil, fmt.Errorf("apply topics: %w", err)
	}
	return kept, nil
}

// unnamed tells the topics that stay from those that a file takes away, as an earlier one put them and it does not
// name them.
func (s *Store) unnamed(ctx context.Context, q sql.Tx, own []ownTopic, file []hook.Topic) (left, gone []ownTopic, kept []KeptTopic, err error) {
	for _, o := range own {
		if o.put == putByFile && !slices.ContainsFunc(file, func(t hook.Topic) bool { return t.Name == o.Name }) {
			gone = append(gone, o)
		} else {
			left = append(left, o)
		}
	}
	if len(gone) == 0 {
		return left, nil, nil, nil
	}
	used, err := topicsUsed(ctx, q)
	gone = slices.DeleteFunc(gone, func(o ownTopic) bool {
		why := ""
		switch {
		case used[o.Name] > 0:
			why = "a webhook names it"
		case s.Nodes() != nil && s.now().Sub(o.changed) < fileSettles:
			why = "a file put it within the last hour, and a node may have been started with another one; read the file again later"
		default:
			return false
		}
		left, kept = append(left, o), append(kept, KeptTopic{o.Name, why})
		return true
	})
	return left, gone, kept, err
}

var errUnchanged = errors.New("nothing changed")

func indexOfTopic(list []ownTopic, name string) int {
	for i := range list {
		if list[i].Name == name {
			return i
		}
	}
	return -1
}

// changeTopics is the frame of every change of the catalogue. The count of changes comes first: it is the
// lock that keeps two of them apart.
func (s *Store) changeTopics(ctx context.Context, fn func(q sql.Tx, own []ownTopic) error) error {
	err := s.write(ctx, func(q sql.Tx) error {
		if _, err := sql.NextKey(ctx, q, "topics"); err != nil {
			return err
		}
		own, _, err := ownTopics(ctx, q)
		if err != nil {
			return err
		}
		return fn(q, own)
	})
	if err != nil {
		return err
	}
	return s.ReadTopics(context.WithoutCancel(ctx)) // it is committed, whether anybody waits or not
}

// putTopic writes a row, and returns the rows that there are then of those that there were.
func (s *Store) putTopic(ctx context.Context, q sql.Tx, own []ownTopic, t hook.Topic, by int64) ([]ownTopic, error) {
	document := topicDocument(t)
	fresh := ownTopic{Topic: t, put: by, bytes: len(document), changed: s.now()}
	switch i := indexOfTopic(own, t.Name); {
	case i < 0:
		own = append(own, fresh)
	case own[i].Category != t.Category:
		return nil, hook.Refuse(hook.KindConflict, "category_fixed", "the topic is of category %s, which cannot change: it is part of what names an event's object", own[i].Category)
	default:
		if own[i].Schema != t.Schema { // what was counted was by another
			if err := forgetChecks(ctx, q, t.Name); err != nil {
				return nil, err
			}
		}
		own[i] = fresh
	}
	return own, writeTopic(ctx, q, t.Name, document, by, s.now())
}

// forgetTopic leaves of a topic what its events are found by.
func (s *Store) forgetTopic(ctx context.Context, q sql.Tx, t ownTopic) error {
	err := writeTopic(ctx, q, t.Name, topicDocument(hook.Topic{Category: t.Category}), topicGone, s.now())
	if err == nil {
		_, err = q.Exec(ctx, `DELETE FROM topics WHERE from_file = $1 AND name NOT IN (SELECT name FROM topics WHERE from_file = $1 ORDER BY updated_at DESC LIMIT $2)`,
			int64(topicGone), int64(mostGone))
	}
	if err == nil {
		err = forgetChecks(ctx, q, t.Name)
	}
	return err
}

func writeTopic(ctx context.Context, q sql.Tx, name string, document []byte, by int64, now time.Time) error {
	_, err := q.Exec(ctx, `
		INSERT INTO topics (name, document, from_file, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (name) DO UPDATE SET document = excluded.document, from_file = excluded.from_file, updated_at = excluded.updated_at`,
		name, string(document), by, sql.Micros(now))
	return err
}

// boundTopics refuses more than there may be.
func boundTopics(own []ownTopic) error {
	bytes := 0
	derived := map[string]int{}
	for _, o := range own {
		bytes += o.bytes
		if derived[o.DeriveFrom]++; o.DeriveFrom != "" && derived[o.DeriveFrom] > MaxDerived {
			return hook.Refuse(hook.KindConflict, "too_many_derived", "%d topics may be derived from objects of one type beside the built-in ones", MaxDerived)
		}
	}
	if len(own) > MaxTopics || bytes > MaxTopicBytes {
		return hook.Refuse(hook.KindConflict, "too_many_topics", "there may be %d topics beside the built-in ones, of %d bytes in all", MaxTopics, MaxTopicBytes)
	}
	return nil
}

func topicDocument(t hook.Topic) []byte {
	t.Name = ""
	text, _ := json.Marshal(t) // texts
	return text
}

// topicsUsed counts the webhooks that name topics, of all companies, a part of the table at a time. A wildcard
// names none.
func topicsUsed(ctx context.Context, q sql.Tx) (used map[string]int, err error) {
	const part = 5000
	var last int64
	if err := sql.One(ctx, q, `SELECT value FROM meta WHERE name = 'webhook_key'`, nil, &last); err != nil {
		return nil, err
	}
	used = map[string]int{}
	for after := int64(0); after < last; after += part {
		err := sql.Each(ctx, q, `SELECT topics, count(*) FROM webhooks WHERE key > $1 AND key <= $2 AND deleted_at IS NULL GROUP BY topics`,
			[]any{after, after + part}, func(r sql.Rows) error {
				var list string
				var n int
				if err := r.Scan(&list, &n); err != nil {
					return err
				}
				var names []string
				if err := json.Unmarshal([]byte(list), &names); err != nil {
					return err
				}
				for _, name := range names {
					used[name] += n
				}
				return nil
			})
		if err != nil {
			return nil, err
		}
	}
	return used, nil
}

// CopyTopics takes the topics of one database, which belong to no company, along into another; those that are
// there stay, and there are no more in the end than there may be. Where the other one has topics of its own, its
// file of topics did not put those that come.
func CopyTopics(ctx context.Context, from, to sql.Tx) error {
	list, gone, err := ownTopics(ctx, from)
	if err != nil {
		return err
	}
	there, forgotten, err := ownTopics(ctx, to)
	if err != nil {
		return err
	}
	merged := there
	for _, t := range append(list, gone...) {
		if indexOfTopic(there, t.Name) >= 0 || t.put == topicGone && indexOfTopic(forgotten, t.Name) >= 0 {
			continue
		}
		if len(there) > 0 && t.put == putByFile {
			t.put = putByAPI
		}
		if t.put != topicGone {
			merged = append(merged, t)
		}
		if err := writeTopic(ctx, to, t.Name, topicDocument(t.Topic), t.put, t.changed); err != nil {
			return err
		}
	}
	if err := boundTopics(merged); err != nil {
		return fmt.Errorf("copy topics: %w", err)
	}
	_, err = sql.NextKey(ctx, to, "topics")
	return err
}
