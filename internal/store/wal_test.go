package store_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
)

// A reader from outside that stays for long, as a backup tool does, makes the write-ahead log grow
// for as long: nothing behind its snapshot can be written over. As soon as it has gone the log is
// begun again, and grows no further however much is written.
func TestLongReader(t *testing.T) {
	dir := t.TempDir()
	s, err := store.OpenSQLite(t.Context(), store.Options{Dir: dir, MasterKey: []byte(storetest.MasterKey), UnsafeNoSync: true, MinFreeDisk: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	company, err := s.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	write := func(megabytes int) {
		t.Helper()
		for range megabytes {
			var events []*hook.Event
			for range 64 {
				n++
				e := &hook.Event{ID: fmt.Sprint("e", n), Company: company.Key, CompanyID: "c1", Topic: "conversation", Data: make([]byte, 16<<10)}
				e.Digest = hook.EventDigest(e.Topic, "", e.Data)
				events = append(events, e)
			}
			if _, err := s.Append(t.Context(), 0, events); err != nil {
				t.Fatal(err)
			}
		}
	}
	size := func() int64 {
		info, err := os.Stat(filepath.Join(dir, "atlas-webhooks.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	const megabyte = 1 << 20
	write(1)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "atlas-webhooks.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	reader, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var count int
	if err := reader.QueryRowContext(t.Context(), `SELECT count(*) FROM events`).Scan(&count); err != nil {
		t.Fatal(err)
	}
	write(24)
	held := size()
	if held < 24*megabyte {
		t.Errorf("control: %d MB of log while a reader stays, after 24 MB were written", held/megabyte)
	}
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		before := n
		write(24)
		switch now := size(); {
		case now <= held+2*megabyte:
			return // as much again, and the log is as large as before
		case time.Now().After(deadline):
			t.Fatalf("%d MB of log, %d MB when the reader left, %d events later", now/megabyte, held/megabyte, n-before)
		default:
			held = now
		}
	}
}
