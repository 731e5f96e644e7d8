//go:build full

package deliver

const (
	crowdOf = 1000
)
