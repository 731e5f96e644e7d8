//go:build !linux

package egress

// Network namespaces are Linux's.
func runNetworkNamespaceChild() bool { return false }
