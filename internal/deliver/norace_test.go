//go:build !race

package deliver

const simulatedShare = 1
