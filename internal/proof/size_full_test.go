//go:build full

package proof_test

import "time"

var crashes = campaign{events: 50_000, webhooks: 200, companies: 20, kills: 100, perSecond: 400, between: 1500 * time.Millisecond}

var once = struct {
	ids, atOnce, publishers int
	within                  time.Duration
}{1000, 10, 100, 30 * time.Millisecond}

const (
	powerCuts   = 30
	controlCuts = 10
)
