//go:build !full

package deliver

// The small sizes, for every run.
const (
	crowdOf   = 100  // webhooks
	backlogOf = 3000 // events
	burstOf   = 3000 // events
	tarpitOf  = 500  // webhooks of one company

	simulatedSeeds = 500
	simulatedDays  = 0.2
	controlDays    = 0.25
	tracedSeeds    = 60
)
