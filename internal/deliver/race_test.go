//go:build race

package deliver

// simulatedShare is the part of the seeds that the simulation runs here: the race detector makes a step
// ten times slower. `make unit` runs all of them without it.
const simulatedShare = 0.1
