package httpapi

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Paging is how every list but the webhooks' is asked for its next page.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"250" default:"50" doc:"How many at most."`
	Cursor string `query:"cursor" doc:"next_cursor of the page before. It holds although rows are added meanwhile."`
}

// byID makes a list of one whose cursor is the id of its last row.
func listByID[T, R any](p Paging, rows []R, more string, shape func(R) T) *client.List[T] {
	next := ""
	if more != "" {
		next = encodeCursor('i', more)
	}
	return newList(p, rows, next, shape)
}

// listByOffset makes a list of one whose cursor is the place of its last event.
func listByOffset[T, R any](p Paging, rows []R, more hook.Offset, shape func(R) T) *client.List[T] {
	next := ""
	if more != 0 {
		next = encodeCursor('o', strconv.FormatInt(int64(more), 10))
	}
	return newList(p, rows, next, shape)
}

func newList[T, R any](p Paging, rows []R, next string, shape func(R) T) *client.List[T] {
	l := &client.List[T]{Data: make([]T, len(rows)), Limit: p.Limit, Cursor: orNull(p.Cursor), NextCursor: orNull(next)}
	for i, row := range rows {
		l.Data[i] = shape(row)
	}
	return l
}

func orNull[T ~string](s T) *T {
	if s == "" {
		return nil
	}
	return &s
}

// page reads a cursor of a list by id.
func (p Paging) page() (store.Page, error) {
	id, err := p.place('i')
	if err == nil && id != "" && (len(id) > 128 || !printable(id)) {
		err = errCursor
	}
	return store.Page{Before: id, Limit: p.Limit}, err
}

// offset reads a cursor of a list by place; 0 for the first page.
func (p Paging) offset() (hook.Offset, error) {
	text, err := p.place('o')
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, errCursor
	}
	return hook.Offset(n), nil
}

// scheduledCursor is the cursor behind an event that is not in the log.
func scheduledCursor(e *hook.Event) string {
	return encodeCursor('s', strconv.FormatInt(e.DeliverAt.UnixMicro(), 10)+" "+e.ID)
}

// scheduledAt reads it; the zero value for the first page.
func (p Paging) scheduledAt() (store.ScheduledAt, error) {
	text, err := p.place('s')
	if err != nil || text == "" {
		return store.ScheduledAt{}, err
	}
	at, id, _ := strings.Cut(text, " ")
	us, err := strconv.ParseInt(at, 10, 64)
	if err != nil || !hook.ValidEventID(id) {
		return store.ScheduledAt{}, errCursor
	}
	return store.ScheduledAt{DeliverAt: time.UnixMicro(us).UTC(), ID: id}, nil
}

var errCursor = &hook.Error{
	Kind: hook.KindMalformed, Code: "invalid_cursor", Detail: "cursor: give next_cursor of the page before, unchanged",
	Fields: []hook.FieldError{{Field: "cursor", Code: "invalid_cursor", Detail: "give next_cursor of the page before, unchanged"}},
}

func (p Paging) place(kind byte) (string, error) {
	if p.Cursor == "" {
		return "", nil
	}
	text, err := base64.RawURLEncoding.DecodeString(p.Cursor)
	if err != nil || len(text) < 2 || text[0] != kind || encodeCursor(kind, string(text[1:])) != p.Cursor {
		return "", errCursor
	}
	return string(text[1:]), nil
}

// encodeCursor makes a cursor opaque, so that nobody takes it apart.
func encodeCursor(kind byte, place string) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{kind}, place...))
}
