//go:build !full

package proof_test

import "time"

// The small sizes, for every run.
var crashes = campaign{events: 5000, webhooks: 20, companies: 4, kills: 10, perSecond: 400, between: 1500 * time.Millisecond}

var once = struct {
	ids, atOnce, publishers int
	within                  time.Duration
}{1000, 25, 10, 15 * time.Millisecond}

const (
	powerCuts   = 4
	controlCuts = 4
)

// faultyCalls are which of its calls fail.
var faultyCalls = []int{1, 2, 3, 5, 9, 20}
