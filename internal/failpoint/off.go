//go:build !failpoint

package failpoint

// Hit marks the point.
func Hit(Point) {}

// Is says that the program runs with the point armed.
func Is(Point) bool { return false }
