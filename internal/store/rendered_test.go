package store

import (
	"context"
	flags "flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

var update = flags.Bool("update", false, "write the golden files anew")

// TestRenderedSQL holds the statements that write, with their arguments, to what they were: those of a
// record in both forms, of an append on both engines, and of a copy. How a text is broken into lines
// does not matter.
func TestRenderedSQL(t *testing.T) {
	for name, got := range map[string]string{
		"sqlite.sql":   renderedSQLite(),
		"postgres.sql": renderedPostgres(),
		"steps.sql":    renderedSteps(t),
		"copy.sql":     renderedCopy(),
	} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got; -update writes it anew):\n%s", file, diff)
		}
	}
}

// everything is a record in which every kind of news stands, and every column has a value of its own.
func everything() *Record {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	later := at.Add(time.Minute)
	full := hook.Attempt{
		Webhook: 1, Offset: 2, Number: 3, Sequence: 4, Kind: hook.Live, Counted: true, Version: 5, TimestampText: "6", Format: hook.DataString, Replay: 7,
		StartedAt: at, Phases: hook.Phases{DNS: 8 * time.Microsecond, Connect: 9 * time.Microsecond, TLS: 10 * time.Microsecond, FirstByte: 11 * time.Microsecond, Total: 12 * time.Microsecond},
		Reused: true, Outcome: hook.OutcomeRetry, StatusCode: 13, ErrorClass: hook.ErrUnrecordable, ErrorDetail: "detail", AnswerHeader: []byte("header"), AnswerBody: []byte{},
	}
	var latency, arrival hook.Histogram
	latency.Add(time.Millisecond)
	arrival.Add(time.Second)
	bare := hook.Attempt{Webhook: 1, Offset: 14, Number: 1, Kind: hook.Manual, StartedAt: at, Outcome: hook.OutcomeDelivered}
	return &Record{
		Node: "n1", At: at,
		Items: []Item{
			{Attempt: &full, Park: &hook.Parked{
				Webhook: 1, Kind: hook.Live, Offset: 2, Partition: 3, Sequence: 4, ObjectKey: "o", Attempts: 5, Step: 6, Throttles: 7, DueAt: &later, ParkedAt: at, Reason: "why", Replay: 8,
			}},
			{Attempt: &bare, Unpark: &ParkedKey{Webhook: 1, Kind: hook.Live, Offset: 3}, Free: &ParkedKey{Webhook: 1, Offset: 4}, Release: &ParkedKey{Webhook: 1, Object: "p"}},
		},
		Cursors: []CursorMove{{
			Webhook: 1, Detached: true, Offset: 2, Sequence: 3, Delivered: 4, Failed: 5, Skipped: 6,
			Health: Health{
				FailingSince: &at, FailingHours: 7, LastFailingHour: 8, ConsecutiveFailures: 9, LastSuccessAt: &later, LastFailureAt: nil, ProbeAt: &at, ProbeStep: 10,
			},
		}},
		Gates:   []GateMove{{Webhook: 1, Gate: hook.Gate{NotBefore: &later, Wait: time.Second, Reason: "wait", EndpointVersion: 2, Throttles: 3}}},
		Swept:   map[hook.Partition]hook.Offset{4: 5},
		Status:  []StatusChange{{Webhook: 1, Partition: 2, EndpointVersion: 3, Status: hook.Inactive, Reason: "gone"}},
		Stats:   []Stat{{Webhook: 1, Bucket: 2, Delivered: 3, Failed: 4, Retried: 5, Latency: latency, Arrival: arrival}},
		Answers: []Answer{{Webhook: 1, Slot: 2, Offset: 3, Number: 4, Header: []byte("h"), Body: nil}},
		Notices: []Notice{{Webhook: 1, Kind: "down", Detail: "since then"}},
		Replays: []ReplayMove{{Key: 1, Place: 2, Started: 3, Delivered: 4, Failed: 5, Done: true}},
		Rewind:  []hook.Partition{6},
	}
}

// script takes statements down.
type script struct {
	strings.Builder
	insert func(s *script, attempts []*hook.Attempt)
}

var idsMade = regexp.MustCompile(`\b(ntc|aud)_\w+`) // ids are random

func (s *script) add(query string, args ...any) {
	fmt.Fprintln(s, strings.Join(strings.Fields(query), " "))
	for i, a := range args {
		fmt.Fprintf(s, "  $%d = %T %s\n", i+1, a, idsMade.ReplaceAllString(plain(reflect.ValueOf(a)), "id"))
	}
}

// plain shows what an argument holds: pointers by what they point at, bytes and texts quoted.
func plain(v reflect.Value) string {
	switch {
	case !v.IsValid(), v.Kind() == reflect.Pointer && v.IsNil(), v.Kind() == reflect.Slice && v.IsNil():
		return "null"
	case v.Kind() == reflect.Pointer, v.Kind() == reflect.Interface:
		return plain(v.Elem())
	case v.Kind() == reflect.String, v.Type() == reflect.TypeFor[[]byte]():
		return fmt.Sprintf("%q", v)
	case v.Kind() != reflect.Slice:
		return fmt.Sprint(v)
	}
	parts := make([]string, v.Len())
	for i := range parts {
		parts[i] = plain(v.Index(i))
	}
	return "[" + strings.Join(parts, " ") + "]"
}

func (s *script) exec(_ context.Context, query string, args ...any) (int64, error) {
	s.add(query, args...)
	return 1, nil
}

func (s *script) query(_ context.Context, query string, args ...any) (rows, error) {
	s.add(query, args...)
	return &noRows{}, nil
}

func (s *script) insertAttempts(_ context.Context, attempts []*hook.Attempt) error {
	s.insert(s, attempts)
	return nil
}

// noRows is a row of zeros when it is a counter that is asked for, and nothing otherwise.
type noRows struct{ next bool }

func (r *noRows) Next() bool             { r.next = !r.next; return r.next }
func (r *noRows) Err() error             { return nil }
func (r *noRows) Close() error           { return nil }
func (r *noRows) Scan(into ...any) error { return nil }

// renderedSteps is a record written one item after another.
func renderedSteps(t *testing.T) string {
	s := script{insert: func(s *script, attempts []*hook.Attempt) { fmt.Fprintln(s, len(attempts), "attempts") }}
	if _, err := writeRecord(t.Context(), &s, everything()); err != nil {
		t.Fatal(err)
	}
	return s.String()
}

func renderedSQLite() string {
	var s script
	for n := 1; n <= 2; n++ {
		s.add(insertEvents[n])
		s.add(insertAttempts[n])
	}
	return s.String()
}

func renderedPostgres() string {
	var s script
	r := everything()
	p := piped{recording: &recording{}, e: &elephant{}, r: r, at: map[statKey]int{}}
	for _, step := range p.begin() {
		s.add(step.query, step.args...)
	}
	p.news()
	for _, step := range p.steps {
		s.add(step.query, step.args...)
	}
	events := []*hook.Event{
		{ID: "e1", Company: 1, Partition: 2, Topic: "t", ObjectKey: "o", Data: []byte("1"), OccurredAt: &r.At},
		{ID: "e2", Company: 1, Partition: 3, Topic: "u", Data: []byte{}, FreshID: true},
	}
	e := elephant{opt: Options{Now: func() time.Time { return r.At }}}
	for _, p := range []hook.Partition{2, across} {
		step := newAppendGroup(p, []*work{{events: events}}).insertion(&e, nil)
		s.add(step.query, step.args...)
	}
	return s.String()
}

func renderedCopy() string {
	var s script
	for i := range tables {
		s.add(insertCopied(&tables[i], 2))
	}
	return s.String()
}
