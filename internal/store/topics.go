package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Bounds of the platform's own topics: every node holds them in memory.
const (
	MaxTopics     = 256
	MaxTopicBytes = 1 << 20 // of all together
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
		own, err := ownTopics(ctx, q)
		if err != nil {
			return err
		}
		list := make([]hook.Topic, len(own))
		for i := range own {
			list[i] = own[i].Topic
		}
		fresh.topics = hook.NewCatalogue(list)
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

type ownTopic struct {
	hook.Topic
	fromFile bool
	bytes    int
}

func ownTopics(ctx context.Context, q sql.Tx) (list []ownTopic, err error) {
	err = sql.Each(ctx, q, `SELECT name, document, from_file FROM topics ORDER BY name`, nil, func(r sql.Rows) error {
		var name, document string
		var fromFile int64
		if err := r.Scan(&name, &document, &fromFile); err != nil {
			return err
		}
		t := ownTopic{fromFile: fromFile == 1, bytes: len(document)}
		if err := json.Unmarshal([]byte(document), &t.Topic); err != nil {
			return fmt.Errorf("topic %s: %w", name, err)
		}
		t.Name = name
		list = append(list, t)
		return nil
	})
	return list, err
}

// PutTopic adds a topic of the platform's own, or changes it. Its category stays: it is a part of what
// names an event's object.
func (s *Store) PutTopic(ctx context.Context, t hook.Topic, a Audit) error {
	err := s.changeTopics(ctx, func(q sql.Tx, own []ownTopic) error {
		own, err := s.putTopic(ctx, q, own, t, false)
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
		if indexOfTopic(own, name) < 0 {
			return hook.NotFound("topic")
		}
		used, err := topicUsed(ctx, q, name)
		if err != nil {
			return err
		}
		if used > 0 {
			return hook.Refuse(hook.KindConflict, "topic_in_use", "%d webhooks name this topic; change or delete them first", used)
		}
		if err := deleteTopic(ctx, q, name); err != nil {
			return err
		}
		return writeAudit(ctx, q, 0, name, a, hook.Now(s.now()))
	})
	if err != nil {
		return fmt.Errorf("delete topic: %w", err)
	}
	return nil
}

// ApplyTopics makes the topics of a file those of the catalogue: it puts each, and takes away those that an
// earlier file put and this one does not name. Kept are those of them that webhooks name, which it returns.
func (s *Store) ApplyTopics(ctx context.Context, file []hook.Topic, a Audit) (kept []string, err error) {
	err = s.changeTopics(ctx, func(q sql.Tx, own []ownTopic) error {
		var err error
		kept = nil
		named := map[string]bool{}
		for _, t := range file {
			named[t.Name] = true
		}
		var left []ownTopic
		var gone []string
		for _, o := range own {
			if !o.fromFile || named[o.Name] {
				left = append(left, o)
				continue
			}
			used, err := topicUsed(ctx, q, o.Name)
			if err != nil {
				return err
			}
			if used > 0 {
				left, kept = append(left, o), append(kept, o.Name)
				continue
			}
			if err := deleteTopic(ctx, q, o.Name); err != nil {
				return err
			}
			gone = append(gone, o.Name)
		}
		changed := len(gone) > 0
		for _, t := range file {
			if i := indexOfTopic(left, t.Name); i >= 0 && left[i].Topic == t && left[i].fromFile {
				continue
			}
			changed = true
			if left, err = s.putTopic(ctx, q, left, t, true); err != nil {
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
		own, err := ownTopics(ctx, q)
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

func deleteTopic(ctx context.Context, q sql.Tx, name string) error {
	if _, err := q.Exec(ctx, `DELETE FROM topics WHERE name = $1`, name); err != nil {
		return err
	}
	return forgetChecks(ctx, q, name)
}

// putTopic writes a row, and returns the rows that there are then of those that there were.
func (s *Store) putTopic(ctx context.Context, q sql.Tx, own []ownTopic, t hook.Topic, fromFile bool) ([]ownTopic, error) {
	document := topicDocument(t)
	own = slices.Clone(own)
	if i := indexOfTopic(own, t.Name); i < 0 {
		own = append(own, ownTopic{})
	} else if own[i].Category != t.Category {
		return nil, hook.Refuse(hook.KindConflict, "category_fixed", "the topic is of category %s, which cannot change: it is part of what names an event's object", own[i].Category)
	} else {
		if own[i].Schema != t.Schema { // what was counted was by another
			if err := forgetChecks(ctx, q, t.Name); err != nil {
				return nil, err
			}
		}
		own = append(slices.Delete(own, i, i+1), ownTopic{})
	}
	own[len(own)-1] = ownTopic{Topic: t, fromFile: fromFile, bytes: len(document)}
	_, err := q.Exec(ctx, `
		INSERT INTO topics (name, document, from_file, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)
		ON CONFLICT (name) DO UPDATE SET document = excluded.document, from_file = excluded.from_file, updated_at = excluded.updated_at`,
		t.Name, string(document), sql.Flag(fromFile), sql.Micros(s.now()))
	return own, err
}

// boundTopics refuses more than there may be.
func boundTopics(own []ownTopic) error {
	bytes := 0
	for _, o := range own {
		bytes += o.bytes
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

// topicUsed counts the webhooks that name a topic, of all companies, a part of the table at a time. A wildcard
// names none.
func topicUsed(ctx context.Context, q sql.Tx, name string) (used int, err error) {
	const part = 5000
	var last int64
	if err := sql.One(ctx, q, `SELECT value FROM meta WHERE name = 'webhook_key'`, nil, &last); err != nil {
		return 0, err
	}
	pattern := `%"` + strings.ReplaceAll(name, "_", `\_`) + `"%`
	for after := int64(0); after < last; after += part {
		var n int
		err := sql.One(ctx, q, `SELECT count(*) FROM webhooks WHERE key > $1 AND key <= $2 AND deleted_at IS NULL AND topics LIKE $3 ESCAPE '\'`,
			[]any{after, after + part, pattern}, &n)
		if err != nil {
			return 0, err
		}
		used += n
	}
	return used, nil
}

// CopyTopics takes the topics of one database, which belong to no company, along into another; those that are
// there stay.
func CopyTopics(ctx context.Context, from, to sql.Tx) error {
	var rows [][]any
	err := sql.Each(ctx, from, `SELECT name, document, from_file, created_at, updated_at FROM topics`, nil, func(r sql.Rows) error {
		var name, document string
		var fromFile, created, updated int64
		err := r.Scan(&name, &document, &fromFile, &created, &updated)
		rows = append(rows, []any{name, document, fromFile, created, updated})
		return err
	})
	if err != nil {
		return err
	}
	for _, row := range rows {
		if _, err := to.Exec(ctx, `
			INSERT INTO topics (name, document, from_file, created_at, updated_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING`, row...); err != nil {
			return err
		}
	}
	_, err = sql.NextKey(ctx, to, "topics")
	return err
}
