package wire_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

func TestTimestamp(t *testing.T) {
	for _, test := range []struct {
		at   time.Time
		want string
	}{
		{time.Unix(1732363200, 123000000), "1732363200.123"},
		{time.Unix(1732363200, 123999999), "1732363200.123"}, // below a millisecond is cut off
		{time.Unix(1732363200, 500000000), "1732363200.5"},
		{time.Unix(1732363200, 120000000), "1732363200.12"},
		{time.Unix(1732363200, 0), "1732363200.001"}, // never whole
		{time.Unix(1732363200, 999999), "1732363200.001"},
		{time.Unix(1732363200, 1000000), "1732363200.001"},
		{time.Unix(1732363200, 999999999), "1732363200.999"},
		{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), "946684800.001"},
		{time.Date(2000, 1, 1, 1, 0, 0, 0, time.FixedZone("", 3600)), "946684800.001"},
		{time.Unix(0, 0), "1.001"},
		{time.Unix(-5, 5), "1.001"},
		{time.Time{}, "1.001"},
	} {
		if got := wire.Timestamp(test.at); got != test.want {
			t.Errorf("Timestamp(%v) = %s, want %s", test.at, got, test.want)
		}
	}
}

func TestTimestampParsesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(1_000, 1<<33*1_000).Draw(t, "milliseconds")).UTC()
		text := wire.Timestamp(at)
		got, ok := wire.ParseTimestamp(text)
		if at.Nanosecond() == 0 {
			at = at.Add(time.Millisecond)
		}
		if !ok || !got.Equal(at) {
			t.Fatalf("%s is %v, %v, want %v", text, got, ok, at)
		}
		if seconds, ok := wire.ParseTimestamp(wire.StandardSeconds(text)); !ok || seconds.Unix() != at.Unix() {
			t.Fatalf("whole seconds of %s: %v, %v", text, seconds, ok)
		}
	})
}
