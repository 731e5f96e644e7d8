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
		{time.Unix(1732363200, 123457000), "1732363200.123457"},
		{time.Unix(1732363200, 123457999), "1732363200.123457"}, // below a microsecond is cut off
		{time.Unix(1732363200, 500000000), "1732363200.5"},
		{time.Unix(1732363200, 100000), "1732363200.0001"},
		{time.Unix(1732363200, 0), "1732363200.000001"}, // never whole
		{time.Unix(1732363200, 999), "1732363200.000001"},
		{time.Unix(1732363200, 1000), "1732363200.000001"},
		{time.Unix(1732363200, 999999999), "1732363200.999999"},
		{time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), "946684800.000001"},
		{time.Date(2000, 1, 1, 1, 0, 0, 0, time.FixedZone("", 3600)), "946684800.000001"},
		{time.Unix(0, 0), "1.000001"},
		{time.Unix(-5, 5), "1.000001"},
		{time.Time{}, "1.000001"},
	} {
		if got := wire.Timestamp(test.at); got != test.want {
			t.Errorf("Timestamp(%v) = %s, want %s", test.at, got, test.want)
		}
	}
}

func TestTimestampParsesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMicro(rapid.Int64Range(1_000_000, 1<<33*1_000_000).Draw(t, "micros")).UTC()
		text := wire.Timestamp(at)
		got, ok := wire.ParseTimestamp(text)
		if at.Nanosecond() == 0 {
			at = at.Add(time.Microsecond)
		}
		if !ok || !got.Equal(at) {
			t.Fatalf("%s is %v, %v, want %v", text, got, ok, at)
		}
		if seconds, ok := wire.ParseTimestamp(wire.StandardSeconds(text)); !ok || seconds.Unix() != at.Unix() {
			t.Fatalf("whole seconds of %s: %v, %v", text, seconds, ok)
		}
	})
}
