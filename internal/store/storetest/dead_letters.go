package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// deadLettersAreKept: what a source could not have accepted is kept as it came, once, until it is dropped or
// too old.
func deadLettersAreKept(f *fixture) {
	written := f.clock().Add(-time.Minute)
	odd := store.DeadLetter{
		Source: "orders", MessageKey: "t/0/1", WrittenAt: &written, EventID: "e1", Code: "invalid_json", Reason: "a \x00 and \xff", ContentType: "text/\x00plain",
		Attributes: map[string]string{"id": "\x00"}, Company: "c1", Body: []byte("\x00\xff{"),
	}
	f.must(f.AddDeadLetters(f.ctx, []store.DeadLetter{odd, {Source: "orders", MessageKey: "t/0/2", Code: "unknown_topic"}, {Source: "other", MessageKey: "t/0/1"}}))
	f.must(f.AddDeadLetters(f.ctx, []store.DeadLetter{odd}))
	f.reopen()
	list, more, err := f.DeadLetters(f.ctx, "orders", store.Page{Limit: 1})
	f.must(err)
	equal(f, "the newest", []any{len(list), list[0].MessageKey, more == list[0].ID}, []any{1, "t/0/2", true})
	list, more, err = f.DeadLetters(f.ctx, "orders", store.Page{Limit: 1, Before: more})
	f.must(err)
	equal(f, "the last", []any{len(list), more, list[0].Body == nil}, []any{1, "", true})
	got, err := f.DeadLetter(f.ctx, list[0].ID)
	f.must(err)
	want := odd
	want.ID, want.At, want.Size, want.Reason, want.ContentType = got.ID, f.clock(), 6, "a \ufffd and \ufffd", "text/\ufffdplain"
	equal(f, "as it came", *got, want)
	all, _, err := f.DeadLetters(f.ctx, "", store.Page{Limit: 9})
	f.must(err)
	equal(f, "of all", len(all), 3)
	counts, err := f.CountDeadLetters(f.ctx)
	f.must(err)
	equal(f, "counts", counts, map[string]int64{"orders": 2, "other": 1})

	f.must(f.KeepDeadLetter(f.ctx, got.ID, "event_conflict", "taken"))
	got, err = f.DeadLetter(f.ctx, got.ID)
	f.must(err)
	equal(f, "refused again", []any{got.Code, got.Reason, got.Retries}, []any{"event_conflict", "taken", 1})
	f.must(f.DropDeadLetter(f.ctx, got.ID, audit))
	f.refused(f.DropDeadLetter(f.ctx, got.ID, audit), hook.KindNotFound, "not_found")
	_, err = f.DeadLetter(f.ctx, got.ID)
	f.refused(err, hook.KindNotFound, "not_found")
	entries, _, err := f.AuditLog(f.ctx, 0, store.Page{Limit: 9})
	f.must(err)
	equal(f, "audit", []any{len(entries), entries[0].Object}, []any{1, got.ID})

	f.must(f.AddDeadLetters(f.ctx, []store.DeadLetter{{Source: "late", MessageKey: "1"}}))
	n, err := f.PurgeDeadLettersStep(f.ctx, f.advance(time.Hour), 2)
	f.must(err)
	equal(f, "a step of the purge", n, 2)
	n, err = f.PurgeDeadLettersStep(f.ctx, f.clock(), 2)
	f.must(err)
	equal(f, "the last step", n, 1)
}

// deadLettersOfAnyKind: whatever a source says of a message, it is kept and can be shown.
func deadLettersOfAnyKind(f *fixture) {
	// Postgres compresses what it puts into an index, but not hashes.
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "é%x", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	long := text.String()
	for i, key := range []string{strings.Repeat("k", 256), "k\x00", "k\xff", long, long + "k", long[:256] + "\xff"} {
		for range 2 {
			f.must(f.AddDeadLetters(f.ctx, []store.DeadLetter{{Source: "keys", MessageKey: key}}))
		}
		list, _, err := f.DeadLetters(f.ctx, "keys", store.Page{Limit: 9})
		f.must(err)
		equal(f, "how many there are", len(list), i+1)
		got := list[0].MessageKey
		equal(f, "the key", []any{len(got) <= 256, utf8.ValidString(got), strings.HasPrefix(got, key[:1]), got == key}, []any{true, true, true, i == 0})
	}
	at := func(year int) *time.Time {
		t := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		return &t
	}
	endless := time.UnixMilli(math.MaxInt64)
	for i, written := range []*time.Time{at(2), at(9999), at(0), at(-1), at(10_000), at(292_278), at(1_000_000), &endless} {
		f.must(f.AddDeadLetters(f.ctx, []store.DeadLetter{{Source: "times", MessageKey: fmt.Sprint(i), EventID: "e\x00\xff", WrittenAt: written}}))
		list, _, err := f.DeadLetters(f.ctx, "times", store.Page{Limit: 1})
		f.must(err)
		if i > 1 {
			written = nil
		}
		equal(f, "id and time", []any{list[0].EventID, list[0].WrittenAt}, []any{"e\ufffd\ufffd", written})
		_, err = json.Marshal(list)
		f.must(err)
	}
}

// deadLettersAreBounded: a source that has too many, by number or by bytes, keeps no more; others do. What is
// larger than any event is cut.
func deadLettersAreBounded(f *fixture) {
	large := bytes.Repeat([]byte("x"), 9<<20)
	for range store.MaxDeadLetterBytes >> 23 {
		f.must(f.AddDeadLetters(f.ctx, []store.DeadLetter{{Source: "large", MessageKey: hook.NewID("k", f.clock()), Body: large}}))
	}
	f.refused(f.AddDeadLetters(f.ctx, []store.DeadLetter{{Source: "large", MessageKey: "one more", Body: []byte("x")}}), hook.KindUnavailable, "dead_letters_full")
	f.must(f.AddDeadLetters(f.ctx, []store.DeadLetter{{Source: "small", MessageKey: strings.Repeat("k", 100), Body: []byte("x")}}))
	list, _, err := f.DeadLetters(f.ctx, "large", store.Page{Limit: 1})
	f.must(err)
	got, err := f.DeadLetter(f.ctx, list[0].ID)
	f.must(err)
	f.must(f.AddDeadLetters(f.ctx, []store.DeadLetter{{Source: "beside", MessageKey: "1", Attributes: map[string]string{"id": string(large)}, Body: []byte("x")}}))
	list, _, err = f.DeadLetters(f.ctx, "beside", store.Page{Limit: 1})
	f.must(err)
	equal(f, "what is large beside its body", []any{list[0].Cut(), list[0].Attributes == nil}, []any{true, true})
	equal(f, "what is cut", []any{got.Size, len(got.Body), got.Cut()}, []any{int64(9 << 20), 8 << 20, true})
}
