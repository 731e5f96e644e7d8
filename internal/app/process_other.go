//go:build !linux

package app

// ownProcess is not known here.
func ownProcess() string { return "" }

// ended proves nothing here: leases run out by themselves.
func ended(string, string) bool { return false }
