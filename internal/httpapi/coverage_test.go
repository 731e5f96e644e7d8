package httpapi_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
)

// coverage notes which operations the tests saw succeed and saw refuse something that is the
// operation's own affair (more than a missing key).
type coverage struct {
	sync.Mutex
	succeeded, refused map[string]bool
	operations         []string // of the document, as patterns
}

var covered = coverage{succeeded: map[string]bool{}, refused: map[string]bool{}}

func (c *coverage) note(pattern string, status int) {
	c.Lock()
	defer c.Unlock()
	switch {
	case status < 400:
		c.succeeded[pattern] = true
	case status != 401:
		c.refused[pattern] = true
	}
}

// TestMain fails a complete run in which some operation of the document was not seen both ways.
func TestMain(m *testing.M) {
	code := m.Run()
	complete := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.fuzz").Value.String() == "" && flag.Lookup("test.skip").Value.String() == ""
	if code == 0 && complete {
		for _, op := range covered.operations {
			if !covered.succeeded[op] || !covered.refused[op] {
				fmt.Fprintf(os.Stderr, "no test sees %s succeed and refuse: %v, %v\n", op, covered.succeeded[op], covered.refused[op])
				code = 1
			}
		}
	}
	os.Exit(code)
}

func TestCoverageKnowsTheDocument(t *testing.T) {
	s := newServer(t)
	for path, methods := range s.document().Paths {
		for method := range methods {
			covered.operations = append(covered.operations, strings.ToUpper(method)+" "+path)
		}
	}
	if len(covered.operations) == 0 {
		t.Error("the document is empty")
	}
}
