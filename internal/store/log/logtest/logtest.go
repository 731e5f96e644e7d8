// Package logtest takes down what would be written, for golden files.
package logtest

import (
	"context"
	"flag"
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
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Golden holds statements, with their arguments, to what they were. How a text is broken into lines does not
// matter.
func Golden(t *testing.T, name, got string) {
	t.Helper()
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

// Everything is a record in which every kind of news stands, and every column has a value of its own.
func Everything() *log.Record {
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
	return &log.Record{
		Node: "n1", At: at,
		Items: []log.Item{
			{Attempt: &full, Park: &hook.Parked{
				Webhook: 1, Kind: hook.Live, Offset: 2, Partition: 3, Sequence: 4, ObjectKey: "o", Attempts: 5, Step: 6, Throttles: 7, DueAt: &later, ParkedAt: at, Reason: "why", Replay: 8,
			}},
			{Attempt: &bare, Unpark: &log.ParkedKey{Webhook: 1, Kind: hook.Live, Offset: 3}, Settle: &log.ParkedKey{Webhook: 1, Offset: 14}, Free: &log.ParkedKey{Webhook: 1, Offset: 4}, Release: &log.ParkedKey{Webhook: 1, Object: "p"}},
		},
		Cursors: []log.CursorMove{{
			Webhook: 1, Detached: true, Offset: 2, Sequence: 3, Delivered: 4, Failed: 5, Skipped: 6,
			Health: log.Health{
				FailingSince: &at, FailingHours: 7, LastFailingHour: 8, ConsecutiveFailures: 9, LastSuccessAt: &later, LastFailureAt: nil, ProbeAt: &at, ProbeStep: 10,
			},
		}},
		Gates:   []log.GateMove{{Webhook: 1, Gate: hook.Gate{NotBefore: &later, Wait: time.Second, Reason: "wait", EndpointVersion: 2, Throttles: 3}}},
		Swept:   map[hook.Partition]hook.Offset{4: 5},
		Status:  []log.StatusChange{{Webhook: 1, Partition: 2, EndpointVersion: 3, Status: hook.Inactive, Reason: "gone", Detail: "since then"}},
		Stats:   []log.Stat{{Webhook: 1, Bucket: 2, Delivered: 3, Failed: 4, Retried: 5, Latency: latency, Arrival: arrival}},
		Answers: []log.Answer{{Webhook: 1, Slot: 2, Offset: 3, Number: 4, Header: []byte("h"), Body: nil}},
		Notices: []log.Notice{{Webhook: 1, Kind: "down", Detail: "since then"}},
		Replays: []log.ReplayMove{{Key: 1, Place: 2, Started: 3, Delivered: 4, Failed: 5, Done: true}},
		Rewind:  []hook.Partition{6},
		Repairs: []log.Repair{{Webhook: 7, Since: time.UnixMicro(8)}},
	}
}

// Script takes statements down.
type Script struct {
	strings.Builder
}

var idsMade = regexp.MustCompile(`\b(ntc|aud)_\w+`) // ids are random

// Add takes one down.
func (s *Script) Add(query string, args ...any) {
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

func (s *Script) Exec(_ context.Context, query string, args ...any) (int64, error) {
	s.Add(query, args...)
	return 1, nil
}

func (s *Script) Query(_ context.Context, query string, args ...any) (sql.Rows, error) {
	s.Add(query, args...)
	return &noRows{}, nil
}

func (s *Script) InsertAttempts(_ context.Context, attempts []*hook.Attempt) error {
	fmt.Fprintln(s, len(attempts), "attempts")
	return nil
}

func (s *Script) AtFault(error) bool { return false }

// noRows is a row of zeros when it is a counter that is asked for, and nothing otherwise.
type noRows struct{ next bool }

func (r *noRows) Next() bool             { r.next = !r.next; return r.next }
func (r *noRows) Err() error             { return nil }
func (r *noRows) Close() error           { return nil }
func (r *noRows) Scan(into ...any) error { return nil }
