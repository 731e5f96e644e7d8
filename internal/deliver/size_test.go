//go:build !full

package deliver

// The small sizes, for every run.
const (
	crowdOf = 200 // webhooks
)
