package sqlite

import (
	"context"
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// The two statements that every delivery pays for, with many rows each.
var (
	insertEvents   = insertTexts(&log.Events)
	insertAttempts = insertTexts(&log.Attempts)
)

// insertTexts are the texts that insert as many rows as a chunk may have.
func insertTexts[R any](t *sql.Table[R]) map[int]string {
	texts := map[int]string{}
	for n := 1; n <= sql.MostRows; n *= 2 {
		texts[n] = t.Insert(n)
	}
	return texts
}

func (w *writer) insertEvents(events []*hook.Event) error {
	if err := insertRows(w.direct, &log.Events, insertEvents, events); err != nil {
		return fmt.Errorf("insert events: %w", err)
	}
	return nil
}

func (w *writer) InsertAttempts(_ context.Context, attempts []*hook.Attempt) error {
	return insertRows(w.direct, &log.Attempts, insertAttempts, attempts)
}

// insertRows inserts rows, many with one statement.
func insertRows[R any](d *direct, t *sql.Table[R], texts map[int]string, rows []R) error {
	for len(rows) > 0 {
		n := sql.Chunk(len(rows))
		s, err := d.statement(texts[n])
		if err != nil {
			return err
		}
		for _, r := range rows[:n] {
			bindRow(s, t, r)
		}
		if err := s.run(); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// bindRow binds the values of a row.
func bindRow[R any](s *statement, t *sql.Table[R], r R) {
	for i := range t.Columns {
		switch c := &t.Columns[i]; c.Kind {
		case sql.Integer:
			s.int(c.Int(r))
		case sql.Time:
			if at := c.Time(r); at == nil {
				s.null()
			} else {
				s.int(sql.Micros(*at))
			}
		case sql.Text:
			s.text(c.Text(r))
		case sql.Bytes:
			s.bytesOf(c.Text(r))
		case sql.Blob:
			s.blob(c.Blob(r))
		case sql.BlobOrNull:
			s.blobOrNull(c.Blob(r))
		case sql.Boolean:
			s.int(sql.Flag(c.Bool(r)))
		}
	}
}
