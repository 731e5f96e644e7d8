//go:build race

package deliver

// simulatedShare is the part of the seeds that the simulation runs here: a seed is one goroutine, and the
// race detector makes it ten times slower. `make unit` runs all of them without it.
const simulatedShare = 0.02
