package store

import (
	"context"
	"fmt"
	"math/bits"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// The two statements that every delivery pays for, with many rows each.
var (
	insertEventTexts   = insertTexts(`INSERT INTO events ("offset", id, company, topic, object_key, data, digest, occurred_at, accepted_at) VALUES `, 9)
	insertAttemptTexts = insertTexts(`INSERT INTO attempts (`+attemptColumns+`) VALUES `, 23)
)

// mostRows is how many rows one statement inserts at most. A row of many costs half of one alone.
const mostRows = 32

// insertTexts are the texts that insert 1, 2, 4 … rows, so that few stay prepared.
func insertTexts(into string, columns int) map[int]string {
	row := "(" + strings.Repeat("?,", columns-1) + "?)"
	texts := map[int]string{}
	for n := 1; n <= mostRows; n *= 2 {
		texts[n] = into + strings.Repeat(row+",", n-1) + row
	}
	return texts
}

// chunkOf is how many of n rows the next statement takes.
func chunkOf(n int) int { return 1 << (bits.Len(uint(min(n, mostRows))) - 1) }

func (w *writer) insertEvents(events []*hook.Event) error {
	for len(events) > 0 {
		n := chunkOf(len(events))
		s, err := w.statement(insertEventTexts[n])
		if err != nil {
			return err
		}
		for _, e := range events[:n] {
			s.int(int64(e.Offset))
			s.text(e.ID)
			s.int(int64(e.Company))
			s.text(e.Topic)
			s.text(e.ObjectKey)
			s.blob(e.Data)
			s.blob(e.Digest[:])
			if e.OccurredAt == nil {
				s.null()
			} else {
				s.int(micros(*e.OccurredAt))
			}
			s.int(micros(e.AcceptedAt))
		}
		if err := s.run(); err != nil {
			return fmt.Errorf("insert events: %w", err)
		}
		events = events[n:]
	}
	return nil
}

func (w *writer) insertAttempts(_ context.Context, attempts []*hook.Attempt) error {
	for len(attempts) > 0 {
		n := chunkOf(len(attempts))
		s, err := w.statement(insertAttemptTexts[n])
		if err != nil {
			return err
		}
		for _, a := range attempts[:n] {
			s.attempt(a)
		}
		if err := s.run(); err != nil {
			return err
		}
		attempts = attempts[n:]
	}
	return nil
}

// attempt binds one row of attempts.
func (s *statement) attempt(a *hook.Attempt) {
	s.int(int64(a.Webhook))
	s.int(int64(a.Offset))
	s.int(int64(a.Number))
	s.int(a.Sequence)
	s.text(string(a.Kind))
	s.int(flag(a.Counted))
	s.int(a.Version)
	s.text(a.TimestampText)
	s.text(string(a.Format))
	s.int(a.Replay)
	s.int(micros(a.StartedAt))
	s.int(a.Phases.DNS.Microseconds())
	s.int(a.Phases.Connect.Microseconds())
	s.int(a.Phases.TLS.Microseconds())
	s.int(a.Phases.FirstByte.Microseconds())
	s.int(a.Phases.Total.Microseconds())
	s.int(flag(a.Reused))
	s.text(string(a.Outcome))
	s.int(int64(a.StatusCode))
	s.text(string(a.ErrorClass))
	s.blob([]byte(a.ErrorDetail))
	s.blobOrNull(a.AnswerHeader)
	s.blobOrNull(a.AnswerBody)
}
