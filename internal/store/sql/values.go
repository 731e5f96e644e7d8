package sql

import "time"

// Micros and its kin carry times in and out of integer columns.
func Micros(t time.Time) int64 { return t.UnixMicro() }

// MicrosOrNull is nil for no time.
func MicrosOrNull(t *time.Time) any {
	if us := MicrosOrNil(t); us != nil {
		return *us
	}
	return nil
}

// MicrosOrNil is nil for no time.
func MicrosOrNil(t *time.Time) *int64 {
	if t == nil || t.IsZero() {
		return nil
	}
	us := t.UnixMicro()
	return &us
}

func FromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

// FromMicrosOrNull is nil for no time.
func FromMicrosOrNull(us *int64) *time.Time {
	if us == nil {
		return nil
	}
	t := FromMicros(*us)
	return &t
}

// Flag is a truth in an integer column.
func Flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
