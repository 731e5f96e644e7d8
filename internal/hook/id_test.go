package hook_test

import (
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// crockford is the alphabet of TypeID's text, in order of value.
const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

func TestNewIDIsATimeOrderedUUID(t *testing.T) {
	shape := regexp.MustCompile(`^wh_[0-7][` + crockford + `]{25}$`)
	now := time.Now()
	id := hook.NewID(hook.WebhookPrefix, now)
	if !shape.MatchString(id) {
		t.Fatalf("NewID = %q, want %s", id, shape)
	}
	if !hook.ValidEventID(id) {
		t.Errorf("our own id %q could not travel", id)
	}
	// The 26 characters are 130 bits: the UUID behind two zero ones.
	var hi, lo uint64
	for _, c := range strings.TrimPrefix(id, "wh_") {
		hi = hi<<5 | lo>>59
		lo = lo<<5 | uint64(strings.IndexRune(crockford, c))
	}
	if version := hi >> 12 & 0xf; version != 7 {
		t.Errorf("version %d, want 7", version)
	}
	if variant := lo >> 62; variant != 2 {
		t.Errorf("variant %b, want 10", variant)
	}
	// Ids of the process never go back, so a test that ran before can have moved the clock on.
	if ms := int64(hi >> 16); ms < now.UnixMilli() {
		t.Errorf("its time is %d, before %d", ms, now.UnixMilli())
	}
}

func TestNewIDIncreases(t *testing.T) {
	now := time.Now()
	last := ""
	for i := range 10_000 { // more than fit into the counter of one millisecond
		at := now
		if i%3 == 0 {
			at = now.Add(-time.Hour) // a clock that was set back
		}
		id := hook.NewID(hook.EventPrefix, at)
		if id <= last {
			t.Fatalf("%q after %q", id, last)
		}
		last = id
	}
	later := hook.NewID(hook.EventPrefix, now.Add(time.Hour))
	if later <= last {
		t.Errorf("an hour later: %q after %q", later, last)
	}
}

func TestNewIDConcurrently(t *testing.T) {
	const goroutines, each = 8, 500
	made := make([][]string, goroutines)
	now := time.Now()
	var wg sync.WaitGroup
	for g := range made {
		wg.Go(func() {
			for range each {
				made[g] = append(made[g], hook.NewID(hook.EventPrefix, now))
			}
		})
	}
	wg.Wait()
	for g, ids := range made {
		if !slices.IsSorted(ids) {
			t.Errorf("goroutine %d saw ids go back", g)
		}
	}
	all := slices.Concat(made...)
	slices.Sort(all)
	if distinct := slices.Compact(all); len(distinct) != goroutines*each {
		t.Errorf("%d distinct ids of %d", len(distinct), goroutines*each)
	}
}

// A secret is the same in both alphabets of base64, with and without padding: 200 of them would not
// all be so by chance.
func TestNewSecret(t *testing.T) {
	seen := map[string]bool{}
	for range 200 {
		secret := hook.NewSecret()
		text, ok := strings.CutPrefix(secret, "whsec_")
		key, err := base64.RawURLEncoding.Strict().DecodeString(text)
		if !ok || err != nil || len(key) != 24 || !hook.ValidSecret(secret) || strings.ContainsAny(text, "-_+/=") {
			t.Fatalf("%q is not whsec_ and 24 bytes in letters and digits: %v", secret, err)
		}
		seen[secret] = true
	}
	if len(seen) != 200 {
		t.Errorf("%d different secrets of 200", len(seen))
	}
}

func TestValidators(t *testing.T) {
	tests := []struct {
		name    string
		valid   func(string) bool
		accepts []string
		refuses []string
	}{
		{
			"ValidCompanyID", hook.ValidCompanyID,
			[]string{"c", "c1", "Acme_Inc-2:eu", strings.Repeat("a", 64)},
			[]string{"", "a.b", "a b", "a/b", "é", "a\n", strings.Repeat("a", 65)},
		},
		{
			"ValidEventID", hook.ValidEventID,
			[]string{"evt_01", "e:1-2_3", strings.Repeat("Z", 128)},
			[]string{"", "a.b", "a b", "a,b", "\x00", "a\n", strings.Repeat("Z", 129)},
		},
		{
			"ValidObjectID", hook.ValidObjectID,
			[]string{"1", "a b", "~!@#", " ", strings.Repeat("x", 256)},
			[]string{"", "a\tb", "é", "\x7f", "a\n", strings.Repeat("x", 257)},
		},
		{
			"ValidSecret", hook.ValidSecret,
			[]string{"0123456789abcdef", "!~imported-secret-with-punctuation{}", strings.Repeat("s", 256)},
			[]string{"", "0123456789abcde", "0123456789 abcdef", "0123456789abcdef\n", "0123456789abcdeé", "0123456789abcde\x7f", strings.Repeat("s", 257)},
		},
	}
	for _, test := range tests {
		for _, s := range test.accepts {
			if !test.valid(s) {
				t.Errorf("%s(%q) = false", test.name, s)
			}
		}
		for _, s := range test.refuses {
			if test.valid(s) {
				t.Errorf("%s(%q) = true", test.name, s)
			}
		}
	}
}
