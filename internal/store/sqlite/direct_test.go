package sqlite

import (
	"bytes"
	stdsql "database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

func newDirect(t *testing.T) *direct {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	made, err := stdsql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = made.ExecContext(t.Context(), `CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c BLOB, d REAL) STRICT`)
	if err := made.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	d, err := openDirect(t.Context(), path, []string{"journal_mode(WAL)"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

const insertT = `INSERT INTO t (a, b, c, d) VALUES ($1, $2, $3, $4)`

type row struct {
	A *int64
	B *string
	C []byte
	D *float64
}

func rowsOf(t *testing.T, d *direct) (all []row) {
	t.Helper()
	err := sql.Each(t.Context(), d, `SELECT a, b, c, d FROM t ORDER BY a`, nil, func(r sql.Rows) error {
		var x row
		err := r.Scan(&x.A, &x.B, &x.C, &x.D)
		all = append(all, x)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestDirectValues(t *testing.T) {
	d := newDirect(t)
	large := bytes.Repeat([]byte("x\x00"), 1<<20)
	half, one := 0.5, int64(1)
	for i, args := range [][]any{
		{int64(1), "text", []byte("blob"), 0.5},
		{hook.Offset(2), hook.Kind("named"), []byte(nil), nil},
		{3, "", []byte{}, float32(0.5)},
		{int64(1) << 62, "a\x00b", large, &half},
		{&one, "x", nil, nil}, // a pointer to a key that is there
	} {
		n, err := d.Exec(t.Context(), insertT, args...)
		if refused := err != nil; refused != (i == 4) || !refused && n != 1 {
			t.Errorf("%d: %d rows, %v", i, n, err)
		}
	}
	p := func(s string) *string { return &s }
	two, three, big := int64(2), int64(3), int64(1)<<62
	want := []row{{&one, p("text"), []byte("blob"), &half}, {&two, p("named"), nil, nil}, {&three, p(""), nil, &half}, {&big, p("a\x00b"), large, &half}}
	if diff := cmp.Diff(want, rowsOf(t, d), cmp.Comparer(bytes.Equal)); diff != "" {
		t.Error(diff)
	}
	var kinds string
	if err := read1(t, d, `SELECT group_concat(typeof(c), ' ') FROM (SELECT c FROM t ORDER BY a)`, &kinds); err != nil || kinds != "blob null blob blob" {
		t.Errorf("%s, %v", kinds, err)
	}
	if s := d.stmts[insertT]; s.size > mostMemory || len(s.outOf) > 0 {
		t.Errorf("a statement keeps %d bytes", s.size)
	}
}

func read1(t *testing.T, d *direct, query string, into ...any) error {
	t.Helper()
	return sql.One(t.Context(), d, query, nil, into...)
}

// Parameters take the argument of their number, wherever they stand and however often.
func TestDirectParameters(t *testing.T) {
	d := newDirect(t)
	var got string
	err := sql.One(t.Context(), d, `SELECT $2 || $1 || $2`, []any{"a", "b"}, &got)
	if err != nil || got != "bab" {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := d.Exec(t.Context(), insertT, 1, "x"); err == nil || !strings.Contains(err.Error(), "argument 3 is missing") {
		t.Error(err)
	}
	if _, err := d.Exec(t.Context(), insertT, 1, "x", struct{}{}, nil); err == nil || !strings.Contains(err.Error(), "argument 3") {
		t.Error(err)
	}
	if _, err := d.Exec(t.Context(), insertT, 1, "x", nil, nil); err != nil {
		t.Errorf("after what was refused: %v", err)
	}
}

func TestDirectErrors(t *testing.T) {
	d := newDirect(t)
	insert := func(args ...any) error {
		_, err := d.Exec(t.Context(), insertT, args...)
		return err
	}
	if err := insert(1, "x", nil, nil); err != nil {
		t.Fatal(err)
	}
	for want, err := range map[int]error{
		sqliteUnique: insert(2, "x", nil, nil),
		3091:         insert(2, 7.5, nil, "text"), // SQLITE_CONSTRAINT_DATATYPE
		1:            read1(t, d, `SELECT nothing FROM t`, new(int64)),
	} {
		if code, ok := Code(err); !ok || code != want {
			t.Errorf("%v, want result %d", err, want)
		}
	}
	var text string
	if err := read1(t, d, `SELECT c FROM t`, &text); err == nil {
		t.Error("NULL was read as a text")
	}
	var small int8
	if err := read1(t, d, `SELECT 300`, &small); err == nil {
		t.Errorf("300 was read as %d", small)
	}
	if err := read1(t, d, `SELECT 1, 2`, &small); err == nil {
		t.Error("two columns were read into one value")
	}
}

// A statement may run while the rows of another one are read.
func TestDirectRowsBesideOthers(t *testing.T) {
	d := newDirect(t)
	for i := range 20 {
		if _, err := d.Exec(t.Context(), insertT, i, strings.Repeat("x", i), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	err := sql.Each(t.Context(), d, `SELECT a FROM t WHERE b <> $1 ORDER BY a`, []any{"xxx"}, func(r sql.Rows) error {
		var a int64
		if err := r.Scan(&a); err != nil {
			return err
		}
		n++
		_, err := d.Exec(t.Context(), `UPDATE t SET c = $1 WHERE a = $2`, []byte("seen"), a)
		return err
	})
	if err != nil || n != 19 {
		t.Errorf("%d rows, %v", n, err)
	}
	changed, err := d.Exec(t.Context(), `UPDATE t SET c = NULL WHERE c IS NOT NULL`)
	if err != nil || changed != 19 {
		t.Errorf("%d rows changed, %v", changed, err)
	}
	var returned int64
	if err := sql.One(t.Context(), d, `INSERT INTO t (b) VALUES ($1) RETURNING a`, []any{"new"}, &returned); err != nil || returned != 20 {
		t.Errorf("%d, %v", returned, err)
	}
}

// TestFaultsOfTheDiskAreNamed as the system names them.
func TestFaultsOfTheDiskAreNamed(t *testing.T) {
	for _, x := range []struct {
		code  int
		errno unix.Errno
		want  string
	}{
		{sqliteIOErr, unix.EIO, "x: EIO, input/output error"},
		{1034, unix.ENOSPC, "x: ENOSPC, no space left on device"}, // IOERR_FSYNC
		{sqliteFull, 0, "x: ENOSPC, no space left on device"},
		{sqliteIOErr, 0, "x"},
		{sqliteUnique, unix.EIO, "x"},
	} {
		if got := named("x", x.code, x.errno); got != x.want {
			t.Errorf("%d, %d: %q, want %q", x.code, x.errno, got, x.want)
		}
	}
}
