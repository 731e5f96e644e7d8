// Package sql is what both engines and the statements for both have in common: a transaction, its
// rows, and the description of a table, from which the statements that write many rows are rendered.
package sql

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"
)

// Table describes a table, or some of its columns, for statements that write rows made of R's. What it
// names it names once: a new column is a line here, beside its migrations and where it is scanned.
type Table[R any] struct {
	Name    string
	Key     []string // columns that tell its rows apart
	Columns []Column[R]
}

// Kind is what a column holds.
type Kind int

// Kinds of columns. A blob is never null, not even for no bytes.
const (
	Integer Kind = iota
	Time         // an integer: microseconds since 1970, null for none
	Text
	Bytes // a blob made of a text that may hold anything
	Blob
	BlobOrNull
	Boolean // of Postgres alone; a flag is an integer
)

// arrays are the types of arrays that Postgres takes a kind in.
var arrays = [...]string{"bigint[]", "bigint[]", "text[]", "bytea[]", "bytea[]", "bytea[]", "boolean[]"}

// Column is one column, and how its value is found.
type Column[R any] struct {
	Name  string
	Kind  Kind
	Added bool // an update adds to what is there

	Int  func(R) int64
	Text func(R) string // also of Bytes
	Blob func(R) []byte // also of BlobOrNull
	Time func(R) *time.Time
	Bool func(R) bool
}

// Ints is a column of integers; the others are alike.
func Ints[R any](name string, of func(R) int64) Column[R] { return Column[R]{Name: name, Int: of} }

// Sums is a column of integers to which an update adds.
func Sums[R any](name string, of func(R) int64) Column[R] {
	return Column[R]{Name: name, Int: of, Added: true}
}

func Flags[R any](name string, of func(R) bool) Column[R] {
	return Column[R]{Name: name, Int: func(r R) int64 { return Flag(of(r)) }}
}

func Times[R any](name string, of func(R) *time.Time) Column[R] {
	return Column[R]{Name: name, Kind: Time, Time: of}
}

func Texts[R any](name string, of func(R) string) Column[R] {
	return Column[R]{Name: name, Kind: Text, Text: of}
}

func ByteTexts[R any](name string, of func(R) string) Column[R] {
	return Column[R]{Name: name, Kind: Bytes, Text: of}
}

func Blobs[R any](name string, of func(R) []byte) Column[R] {
	return Column[R]{Name: name, Kind: Blob, Blob: of}
}

func BlobsOrNull[R any](name string, of func(R) []byte) Column[R] {
	return Column[R]{Name: name, Kind: BlobOrNull, Blob: of}
}

func Booleans[R any](name string, of func(R) bool) Column[R] {
	return Column[R]{Name: name, Kind: Boolean, Bool: of}
}

// MostRows is how many rows one statement inserts at most. A row of many costs half of one alone.
const MostRows = 32

// Chunk is how many of n rows the next statement takes: a power of two, so that few texts stay prepared.
func Chunk(n int) int { return 1 << (bits.Len(uint(min(n, MostRows))) - 1) }

// Insert is the text that inserts n rows, with a question mark for each value.
func (t *Table[R]) Insert(n int) string {
	row := "(" + strings.Repeat("?,", len(t.Columns)-1) + "?)"
	return "INSERT INTO " + t.Name + " (" + t.Names() + ") VALUES " + strings.Repeat(row+",", n-1) + row
}

// InsertRow is the text that inserts one row of [Table.Args].
func (t *Table[R]) InsertRow() string {
	marks := make([]string, len(t.Columns))
	for i := range marks {
		marks[i] = fmt.Sprintf("$%d", i+1)
	}
	return "INSERT INTO " + t.Name + " (" + t.Names() + ") VALUES (" + strings.Join(marks, ", ") + ")"
}

// InsertArrays is the text that inserts the rows of [Table.Arrays]: one text and one plan, whatever their
// number.
func (t *Table[R]) InsertArrays() string {
	return "INSERT INTO " + t.Name + " (" + t.Names() + ") SELECT * FROM " + t.Unnest(1)
}

// Or is the end of an insert that replaces columns of a row that is there; the rest stay.
func (t *Table[R]) Or(replace ...string) string {
	set := make([]string, len(replace))
	for i, name := range replace {
		set[i] = Name(name) + " = excluded." + Name(name)
	}
	return " ON CONFLICT (" + Names(t.Key) + ") DO UPDATE SET " + strings.Join(set, ", ")
}

// UpdateRow is the text that updates the row of a key by [Table.Moved], up to further conditions. The
// values are numbered in the order of the columns, the key's last.
func (t *Table[R]) UpdateRow() string {
	var set []string
	for i := range t.Columns {
		if c := &t.Columns[i]; !t.inKey(c) {
			mark := fmt.Sprintf("$%d", len(set)+1)
			if c.Added {
				mark = Name(c.Name) + " + " + mark
			}
			set = append(set, Name(c.Name)+" = "+mark)
		}
	}
	where := make([]string, len(t.Key))
	for i, name := range t.Key {
		where[i] = fmt.Sprintf("%s = $%d", Name(name), len(set)+i+1)
	}
	return "UPDATE " + t.Name + " SET " + strings.Join(set, ", ") + " WHERE " + strings.Join(where, " AND ")
}

// Mark is the number of a column's value in [Table.UpdateRow].
func (t *Table[R]) Mark(column string) string {
	n := 0
	for i := range t.Columns {
		if c := &t.Columns[i]; !t.inKey(c) {
			if n++; c.Name == column {
				break
			}
		}
	}
	return fmt.Sprintf("$%d", n)
}

// UpdateArrays is the text that updates the rows of [Table.Arrays], up to further conditions. A row of the
// table goes by the table's first letter, and g is what is given.
func (t *Table[R]) UpdateArrays() string {
	var set, where []string
	row := t.Name[:1]
	for i := range t.Columns {
		switch c, name := &t.Columns[i], Name(t.Columns[i].Name); {
		case t.inKey(c):
			where = append(where, row+"."+name+" = g."+name)
		case c.Added:
			set = append(set, name+" = "+row+"."+name+" + g."+name)
		default:
			set = append(set, name+" = g."+name)
		}
	}
	return "UPDATE " + t.Name + " " + row + " SET " + strings.Join(set, ", ") + " FROM " + t.Unnest(1) + " AS g (" + t.Names() + ") WHERE " + strings.Join(where, " AND ")
}

func (t *Table[R]) inKey(c *Column[R]) bool { return slices.Contains(t.Key, c.Name) }

// Unnest makes rows of the arguments from one on.
func (t *Table[R]) Unnest(from int) string {
	list := make([]string, len(t.Columns))
	for i := range list {
		list[i] = fmt.Sprintf("$%d::%s", from+i, arrays[t.Columns[i].Kind])
	}
	return "unnest(" + strings.Join(list, ", ") + ")"
}

// Names lists the columns for a statement.
func (t *Table[R]) Names() string { return Names(t.List()) }

// List are the names of the columns.
func (t *Table[R]) List() []string {
	list := make([]string, len(t.Columns))
	for i := range list {
		list[i] = t.Columns[i].Name
	}
	return list
}

// Args are the values of a row.
func (t *Table[R]) Args(r R) []any {
	args := make([]any, len(t.Columns))
	for i := range args {
		args[i] = t.Columns[i].value(r)
	}
	return args
}

// Moved are the values of a row for [Table.UpdateRow].
func (t *Table[R]) Moved(r R) []any {
	var args, key []any
	for i := range t.Columns {
		if c := &t.Columns[i]; t.inKey(c) {
			key = append(key, c.value(r))
		} else {
			args = append(args, c.value(r))
		}
	}
	return append(args, key...)
}

// value is what a statement takes for one row.
func (c *Column[R]) value(r R) any {
	switch c.Kind {
	case Integer:
		return c.Int(r)
	case Time:
		return MicrosOrNull(c.Time(r))
	case Text:
		return c.Text(r)
	case Bytes:
		return []byte(c.Text(r))
	case Blob:
		return notNull(c.Blob(r))
	case BlobOrNull:
		return c.Blob(r)
	default:
		return c.Bool(r)
	}
}

// Arrays are the values of many rows, an array for each column.
func (t *Table[R]) Arrays(rows []R) []any {
	args := make([]any, len(t.Columns))
	for i := range args {
		args[i] = t.Columns[i].array(rows)
	}
	return args
}

func (c *Column[R]) array(rows []R) any {
	switch c.Kind {
	case Integer:
		return Array(rows, c.Int)
	case Time:
		return Array(rows, func(r R) *int64 { return MicrosOrNil(c.Time(r)) })
	case Text:
		return Array(rows, c.Text)
	case Bytes:
		return Array(rows, func(r R) []byte { return []byte(c.Text(r)) })
	case Blob:
		return Array(rows, func(r R) []byte { return notNull(c.Blob(r)) })
	case BlobOrNull:
		return Array(rows, c.Blob)
	default:
		return Array(rows, c.Bool)
	}
}

// Array is one column of some rows, as an array for unnest: one text and one plan, whatever the number of
// rows.
func Array[R, T any](rows []R, of func(R) T) []T {
	list := make([]T, len(rows))
	for i, r := range rows {
		list[i] = of(r)
	}
	return list
}

func notNull(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// Name is a column in a statement; one of them is a word of the language.
func Name(column string) string {
	if column == "offset" {
		return `"offset"`
	}
	return column
}

// Names lists columns for a statement.
func Names(columns []string) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = Name(c)
	}
	return strings.Join(list, ", ")
}
