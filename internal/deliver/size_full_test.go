//go:build full

package deliver

const (
	crowdOf   = 1000
	backlogOf = 100_000
	burstOf   = 100_000
	tarpitOf  = 10_000

	simulatedSeeds = 20_000
	simulatedDays  = 7
	controlDays    = 2
	tracedSeeds    = 200
)
