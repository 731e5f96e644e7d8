package sqlite

import (
	"bytes"
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
	"modernc.org/libc"
	"modernc.org/sqlite"
	capi "modernc.org/sqlite/lib"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// direct is a connection to SQLite by its C interface (https://sqlite.org/c3ref/intro.html), with its
// prepared statements. The writer has one, because nearly all of its work is to bind small values:
// through database/sql and the driver an attempt cost 5.5 µs and two kilobytes of garbage, most of it
// in interfaces, locks and copies; here it costs 2 µs and none.
//
// It belongs to one goroutine at a time, so it does without SQLite's own mutexes. A statement runs
// whatever its caller's context says: SQLite answers an interrupted one by rolling the whole
// transaction back, which is everybody's. All memory that SQLite sees is that of the C library, which
// the collector neither moves nor frees.
type direct struct {
	tls   *libc.TLS
	db    uintptr
	stmts map[string]*statement
}

// openDirect opens a database file, which must be there, and runs the pragmas.
func openDirect(ctx context.Context, path string, pragmas []string) (*direct, error) {
	d := &direct{tls: libc.NewTLS(), stmts: map[string]*statement{}}
	name, err := libc.CString(path)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(d.tls, name)
	into := d.tls.Alloc(8)
	defer d.tls.Free(8)
	*pointer[uintptr](into) = 0
	rc := capi.Xsqlite3_open_v2(d.tls, name, into, capi.SQLITE_OPEN_READWRITE|capi.SQLITE_OPEN_NOMUTEX, 0)
	d.db = *pointer[uintptr](into)
	if rc != capi.SQLITE_OK {
		return nil, errors.Join(d.fail(rc), d.close())
	}
	capi.Xsqlite3_extended_result_codes(d.tls, d.db, 1)
	for _, pragma := range pragmas {
		if _, err := d.Exec(ctx, "PRAGMA "+pragma); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", pragma, err), d.close())
		}
	}
	return d, nil
}

func (d *direct) close() error {
	for _, s := range d.stmts {
		s.free(0)
		capi.Xsqlite3_finalize(d.tls, s.handle) // its result is that of its last step
	}
	rc := capi.Xsqlite3_close_v2(d.tls, d.db)
	d.tls.Close()
	if rc != capi.SQLITE_OK {
		return fmt.Errorf("close: result %d", rc)
	}
	return nil
}

// directError is what SQLite says of a call that failed.
type directError struct {
	code int // extended (https://sqlite.org/rescode.html)
	text string
}

func (e *directError) Error() string { return e.text + " (" + strconv.Itoa(e.code) + ")" }

func (d *direct) fail(rc int32) error {
	text := "out of memory"
	if d.db != 0 {
		text = libc.GoString(capi.Xsqlite3_errmsg(d.tls, d.db))
		text = named(text, int(rc), unix.Errno(capi.Xsqlite3_system_errno(d.tls, d.db)))
	}
	return &directError{int(rc), text}
}

// named adds to SQLite's words for a fault of the disk the system's name of it: SQLite says "disk I/O error" to
// a dead disk and to one without room alike.
func named(text string, code int, errno unix.Errno) string {
	switch {
	case code&0xff == sqliteFull:
		errno = unix.ENOSPC // for which it keeps no number
	case code&0xff != sqliteIOErr || errno == 0:
		return text
	}
	return text + ": " + unix.ErrnoName(errno) + ", " + errno.Error()
}

// Code is SQLite's extended result code in an error, whichever connection it came from.
func Code(err error) (code int, ok bool) {
	if e, ok := errors.AsType[*directError](err); ok {
		return e.code, true
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code(), true
	}
	return 0, false
}

func (d *direct) Exec(_ context.Context, query string, args ...any) (affected int64, err error) {
	s, err := d.statement(query)
	if err != nil {
		return 0, err
	}
	if err := s.bind(args); err != nil {
		return 0, err
	}
	if err := s.run(); err != nil {
		return 0, err
	}
	return capi.Xsqlite3_changes64(d.tls, d.db), nil
}

func (d *direct) Query(_ context.Context, query string, args ...any) (sql.Rows, error) {
	s, err := d.statement(query)
	if err != nil {
		return nil, err
	}
	if err := s.bind(args); err != nil {
		return nil, err
	}
	return &directRows{s: s}, nil
}

// statement prepares a text once.
func (d *direct) statement(query string) (*statement, error) {
	if s, ok := d.stmts[query]; ok {
		return s, nil
	}
	text, err := libc.CString(query)
	if err != nil {
		return nil, err
	}
	defer libc.Xfree(d.tls, text)
	into := d.tls.Alloc(8)
	defer d.tls.Free(8)
	if rc := capi.Xsqlite3_prepare_v3(d.tls, d.db, text, -1, capi.SQLITE_PREPARE_PERSISTENT, into, 0); rc != capi.SQLITE_OK {
		return nil, fmt.Errorf("prepare %q: %w", query, d.fail(rc))
	}
	s := &statement{d: d, handle: *pointer[uintptr](into)}
	for i := range capi.Xsqlite3_bind_parameter_count(d.tls, s.handle) {
		at := int(i)
		// $2 is a name to SQLite, which numbers parameters as they come; to us it is the second argument.
		if name := capi.Xsqlite3_bind_parameter_name(d.tls, s.handle, i+1); name != 0 {
			if at, err = strconv.Atoi(libc.GoString(name)[1:]); err != nil {
				return nil, fmt.Errorf("prepare %q: %w", query, err)
			}
			at--
		}
		s.takes = append(s.takes, at)
	}
	d.stmts[query] = s
	return s, nil
}

// statement is a prepared one. Its parameters are bound from the first to the last, then it runs.
type statement struct {
	d      *direct
	handle uintptr
	takes  []int // for each parameter, the argument that it takes
	bound  int32
	failed int32 // result of the first parameter that could not be bound
	memory uintptr
	used   int
	size   int
	outOf  []uintptr // memory that got too small while parameters were bound
}

// Sizes of the memory that a statement keeps for its texts and blobs.
const (
	leastMemory = 512
	mostMemory  = 64 << 10
)

// lay copies a value to where SQLite reads it until the statement has run.
func lay[T string | []byte](s *statement, value T) uintptr {
	if s.memory == 0 || s.used+len(value) > s.size {
		if s.memory != 0 {
			s.outOf = append(s.outOf, s.memory)
		}
		s.size = max(leastMemory, 2*s.size, len(value))
		s.memory, s.used = libc.Xmalloc(s.d.tls, capi.Tsize_t(s.size)), 0
		if s.memory == 0 {
			panic("out of memory")
		}
	}
	at := s.memory + uintptr(s.used)
	copy(unsafe.Slice(pointer[byte](at), len(value)), value)
	s.used += len(value)
	return at
}

// free gives memory back: all but what is kept for the next run, if that is not more than most.
func (s *statement) free(most int) {
	for _, p := range s.outOf {
		libc.Xfree(s.d.tls, p)
	}
	s.outOf, s.used = s.outOf[:0], 0
	if s.size > most {
		libc.Xfree(s.d.tls, s.memory)
		s.memory, s.size = 0, 0
	}
}

func (s *statement) next(rc int32) {
	if rc != capi.SQLITE_OK && s.failed == capi.SQLITE_OK {
		s.failed = rc
	}
}

func (s *statement) int(v int64) {
	s.bound++
	s.next(capi.Xsqlite3_bind_int64(s.d.tls, s.handle, s.bound, v))
}

func (s *statement) float(v float64) {
	s.bound++
	s.next(capi.Xsqlite3_bind_double(s.d.tls, s.handle, s.bound, v))
}

func (s *statement) text(v string) {
	s.bound++
	s.next(capi.Xsqlite3_bind_text(s.d.tls, s.handle, s.bound, lay(s, v), int32(min(len(v), math.MaxInt32)), 0))
}

// blob binds bytes; none of them are a blob of length 0 (a null is [statement.null]).
func (s *statement) blob(v []byte) {
	s.bound++
	s.next(capi.Xsqlite3_bind_blob(s.d.tls, s.handle, s.bound, lay(s, v), int32(min(len(v), math.MaxInt32)), 0))
}

// bytesOf binds a text as a blob.
func (s *statement) bytesOf(v string) {
	s.bound++
	s.next(capi.Xsqlite3_bind_blob(s.d.tls, s.handle, s.bound, lay(s, v), int32(min(len(v), math.MaxInt32)), 0))
}

func (s *statement) blobOrNull(v []byte) {
	if v == nil {
		s.null()
	} else {
		s.blob(v)
	}
}

func (s *statement) null() {
	s.bound++
	s.next(capi.Xsqlite3_bind_null(s.d.tls, s.handle, s.bound))
}

// bind binds arguments as database/sql does.
func (s *statement) bind(args []any) error {
	for _, at := range s.takes {
		if at >= len(args) {
			s.reset()
			return fmt.Errorf("argument %d is missing, there are %d", at+1, len(args))
		}
		if err := s.value(args[at]); err != nil {
			s.reset()
			return fmt.Errorf("argument %d: %w", at+1, err)
		}
	}
	return nil
}

func (s *statement) value(v any) error {
	switch v := v.(type) {
	case nil:
		s.null()
	case int64:
		s.int(v)
	case string:
		s.text(v)
	case []byte:
		s.blobOrNull(v)
	case float64:
		s.float(v)
	default:
		return s.converted(reflect.ValueOf(v))
	}
	return nil
}

// converted binds a value of a named or a narrower type.
func (s *statement) converted(v reflect.Value) error {
	switch {
	case v.Kind() == reflect.Pointer && v.IsNil():
		s.null()
	case v.Kind() == reflect.Pointer:
		return s.value(v.Elem().Interface())
	case v.CanInt():
		s.int(v.Int())
	case v.Kind() == reflect.Bool:
		s.int(sql.Flag(v.Bool()))
	case v.Kind() == reflect.String:
		s.text(v.String())
	case v.CanFloat():
		s.float(v.Float())
	default:
		return fmt.Errorf("a %s cannot be stored", v.Type())
	}
	return nil
}

// run runs the statement to its end, whatever rows it answers.
func (s *statement) run() error {
	for {
		more, err := s.step()
		if err != nil || !more {
			s.reset()
			return err
		}
	}
}

func (s *statement) step() (row bool, err error) {
	if s.failed != capi.SQLITE_OK {
		return false, s.d.fail(s.failed)
	}
	switch rc := capi.Xsqlite3_step(s.d.tls, s.handle); rc {
	case capi.SQLITE_ROW:
		return true, nil
	case capi.SQLITE_DONE:
		return false, nil
	default:
		return false, s.d.fail(rc)
	}
}

// reset makes the statement ready for the next run. Bound values stay, pointing at nothing, until each
// is bound anew.
func (s *statement) reset() {
	capi.Xsqlite3_reset(s.d.tls, s.handle) // its result is that of the last step
	s.bound, s.failed = 0, capi.SQLITE_OK
	s.free(mostMemory)
}

// directRows are the rows of a statement; the first step is that of the first Next.
type directRows struct {
	s     *statement
	err   error
	ended bool
}

func (r *directRows) Next() bool {
	if r.ended {
		return false
	}
	row, err := r.s.step()
	if !row {
		r.err = err
		_ = r.Close() // which cannot fail
	}
	return row
}

func (r *directRows) Err() error { return r.err }

func (r *directRows) Close() error {
	if !r.ended {
		r.ended = true
		r.s.reset()
	}
	return nil
}

func (r *directRows) Scan(into ...any) error {
	if n := int(capi.Xsqlite3_column_count(r.s.d.tls, r.s.handle)); n != len(into) {
		return fmt.Errorf("there are %d columns, not %d", n, len(into))
	}
	for i, to := range into {
		if err := r.s.scan(int32(i), to); err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
	}
	return nil
}

// scan reads a column of the row that the statement is at.
func (s *statement) scan(i int32, into any) error {
	tls := s.d.tls
	null := capi.Xsqlite3_column_type(tls, s.handle, i) == capi.SQLITE_NULL
	switch to := into.(type) {
	case *[]byte:
		*to = bytes.Clone(s.bytes(i))
		return nil
	case *stdsql.RawBytes: // valid until the next step
		*to = s.bytes(i)
		return nil
	case *int64:
		*to = capi.Xsqlite3_column_int64(tls, s.handle, i)
	case *string:
		*to = string(s.bytes(i))
	default:
		return s.convert(i, reflect.ValueOf(into).Elem(), null)
	}
	return notNull(null)
}

var errNull = errors.New("NULL where there must be a value")

func notNull(null bool) error {
	if null {
		return errNull
	}
	return nil
}

// convert reads a column into a value of a named or a narrower type, or into a pointer, which is nil
// for NULL.
func (s *statement) convert(i int32, to reflect.Value, null bool) error {
	tls := s.d.tls
	switch {
	case to.Kind() == reflect.Pointer:
		if null {
			to.SetZero()
			return nil
		}
		to.Set(reflect.New(to.Type().Elem()))
		return s.scan(i, to.Interface())
	case to.CanInt():
		v := capi.Xsqlite3_column_int64(tls, s.handle, i)
		if to.OverflowInt(v) {
			return fmt.Errorf("%d does not fit into a %s", v, to.Type())
		}
		to.SetInt(v)
	case to.Kind() == reflect.Bool:
		to.SetBool(capi.Xsqlite3_column_int64(tls, s.handle, i) != 0)
	case to.CanFloat():
		to.SetFloat(capi.Xsqlite3_column_double(tls, s.handle, i))
	case to.Kind() == reflect.String:
		to.SetString(string(s.bytes(i)))
	default:
		return fmt.Errorf("cannot be read into a %s", to.Type())
	}
	return notNull(null)
}

// bytes is a column's text or blob, in SQLite's memory, valid until the next step.
func (s *statement) bytes(i int32) []byte {
	p := capi.Xsqlite3_column_blob(s.d.tls, s.handle, i)
	if p == 0 {
		return nil
	}
	return unsafe.Slice(pointer[byte](p), capi.Xsqlite3_column_bytes(s.d.tls, s.handle, i))
}

// pointer is an address in the C library's memory as Go sees it.
func pointer[T any](p uintptr) *T { return *(**T)(unsafe.Pointer(&p)) }
