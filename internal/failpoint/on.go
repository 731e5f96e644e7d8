//go:build failpoint

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

var (
	armed, after = parse(os.Getenv("FAILPOINT")) //nolint:forbidigo // only programs built for tests read it
	hits         atomic.Int64
)

func parse(text string) (Point, int64) {
	name, count, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(count, 10, 64)
	if name != "" && err != nil {
		panic("FAILPOINT is not name:n")
	}
	return Point(name), n
}

// Hit marks the point, and ends the process if it is the one.
func Hit(p Point) {
	if p != armed || hits.Add(1) != after {
		return
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {} // whatever happens between the signal and the end, it is not the next line
}

// Is says that the program runs with the point armed.
func Is(p Point) bool { return p == armed }
