package store_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
)

// TestSQLite runs the suite, without waiting for the disk (what fsync promises is not its subject),
// and then looks at how every statement that it ran is executed.
func TestSQLite(t *testing.T) {
	var mu sync.Mutex
	texts := map[string]bool{}
	empty := emptyStore(t)
	t.Run("suite", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T, opt store.Options) (*store.Store, error) {
			opt.UnsafeNoSync = true
			if err := os.CopyFS(opt.Dir, os.DirFS(empty)); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, err
			}
			s, err := store.OpenSQLite(t.Context(), opt)
			if err == nil {
				t.Cleanup(func() { collect(t, s, &mu, texts) })
			}
			return s, err
		})
	})
	if len(texts) == 0 {
		t.Error("the suite ran no statements")
	}
	s, err := store.OpenSQLite(t.Context(), store.Options{Dir: t.TempDir(), MasterKey: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for text := range texts {
		plan, err := s.Explain(t.Context(), text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if why := slow(text, plan); why != "" {
			t.Errorf("%s:\n%s\n%s", why, text, plan)
		}
	}
}

// emptyStore is a directory with a store in it, so that not every test runs the migrations.
func emptyStore(t *testing.T) string {
	dir := t.TempDir()
	s, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir, MasterKey: []byte(storetest.MasterKey)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func collect(t *testing.T, s *store.Store, mu *sync.Mutex, into map[string]bool) {
	if s.Ping(context.WithoutCancel(t.Context())) != nil {
		return // closed by its test
	}
	mu.Lock()
	defer mu.Unlock()
	for _, text := range s.Texts() {
		if strings.Contains(text, "SELECT") || strings.Contains(text, "UPDATE") || strings.Contains(text, "DELETE") {
			into[text] = true
		}
	}
}

var (
	scans = regexp.MustCompile(`SCAN (events|attempts|parked|webhooks|stats|e|p|w)\b`) // under every alias that the statements use
	sorts = regexp.MustCompile(`USE TEMP B-TREE FOR (ORDER BY|GROUP BY)`)
	large = regexp.MustCompile(`FROM (events|attempts|parked|stats)\b`)
	// reverse is the beginning of an index read from its end: one row.
	reverse = regexp.MustCompile(`ORDER BY "offset" DESC LIMIT 1\b`)
)

// slow says what is wrong with a plan: a large table is read whole, or sorted before the first row.
func slow(text, plan string) string {
	switch {
	case scans.MatchString(plan) && !reverse.MatchString(text):
		return "reads a whole table"
	case sorts.MatchString(plan) && large.MatchString(text):
		return "sorts"
	case strings.Contains(text, "outcome <> 'delivered'") && !strings.Contains(plan, "attempts_failed"):
		return "looks for failures among the successes"
	}
	return ""
}

// TestSQLiteOneProcess: two writers would each number events for themselves.
func TestSQLiteOneProcess(t *testing.T) {
	opt := store.Options{Dir: emptyStore(t), MasterKey: []byte(storetest.MasterKey)}
	s, err := store.OpenSQLite(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s, err := store.OpenSQLite(t.Context(), opt); err == nil {
		s.Close()
		t.Error("two stores on one directory")
	}
}

// TestSlow is the control.
func TestSlow(t *testing.T) {
	s, err := store.OpenSQLite(t.Context(), store.Options{Dir: t.TempDir(), MasterKey: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, text := range []string{
		`SELECT id FROM events WHERE topic = $1`, `SELECT "offset" FROM attempts WHERE webhook = $1 ORDER BY started_at`, `SELECT key FROM webhooks WHERE company = $1`,
	} {
		plan, err := s.Explain(t.Context(), text)
		if err != nil || slow(text, plan) == "" {
			t.Errorf("nothing is wrong with %s: %s, %v", text, plan, err)
		}
	}
}
