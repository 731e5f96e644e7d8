package postgres

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/group"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log/logtest"
)

// TestRenderedSQL holds the pipelines of a record and of appends to what they were.
func TestRenderedSQL(t *testing.T) {
	var s logtest.Script
	r := logtest.Everything()
	p := piped{recording: &recording{}, e: &Engine{}, r: r, at: map[statKey]int{}}
	for _, step := range p.begin() {
		s.Add(step.query, step.args...)
	}
	p.news()
	for _, step := range p.steps {
		s.Add(step.query, step.args...)
	}
	events := []*hook.Event{
		{ID: "e1", Company: 1, Partition: 2, Topic: "t", ObjectKey: "o", Data: []byte("1"), OccurredAt: &r.At},
		{ID: "e2", Company: 1, Partition: 3, Topic: "u", Data: []byte{}, FreshID: true},
	}
	e := Engine{opt: Options{Now: func() time.Time { return r.At }}}
	for _, p := range []hook.Partition{2, across} {
		step := newAppendGroup(p, []*group.Work{{Events: events}}).insertion(&e, nil)
		s.Add(step.query, step.args...)
	}
	logtest.Golden(t, "pipeline.sql", s.String())
}

// TestOwnTables: what is looked for in a database that may be being restored are the tables of the migrations.
func TestOwnTables(t *testing.T) {
	var made []string
	files, err := filepath.Glob("migrations/*.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^CREATE TABLE (\w+)`).FindAllSubmatch(text, -1) {
			made = append(made, string(m[1]))
		}
	}
	own := ownTables()
	slices.Sort(made)
	slices.Sort(own)
	if !slices.Equal(made, own) {
		t.Errorf("the migrations make %v, and known are %v", made, own)
	}
}
