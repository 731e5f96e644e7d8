package deliver

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

var updateTraces = flag.Bool("update", false, "write the traces that the simulation's seeds have now")

// tracesFile holds a hash of what happens in each of the first seeds. What only moves or renames code
// leaves it as it is; what changes what the engine does is written with -update, and its commit shows
// how many seeds it touched.
const (
	tracesFile = "testdata/traces.txt"
	tracesOf   = 200 // seeds in the file
	traceDays  = 0.2
)

// traceOf runs a seed and hashes everything that happens in it, in its order.
func traceOf(seed uint64, sabotage func(*simulation, *store.Record)) (uint64, error) {
	h := fnv.New64a()
	s := newSimulation(seed, func(format string, args ...any) { fmt.Fprintf(h, format+"\n", args...) })
	s.sabotage = sabotage
	err := s.run(traceDays)
	return h.Sum64(), err
}

// traces runs many seeds beside each other.
func traces(t *testing.T, seeds []uint64) []uint64 {
	sums := make([]uint64, len(seeds))
	turn := make(chan struct{}, max(runtime.GOMAXPROCS(0), 2))
	var all sync.WaitGroup
	for i, seed := range seeds {
		turn <- struct{}{}
		all.Go(func() {
			var err error
			if sums[i], err = traceOf(seed, nil); err != nil {
				t.Errorf("seed %d: %.500v", seed, err)
			}
			<-turn
		})
	}
	all.Wait()
	return sums
}

func TestSimulationTraces(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("other processors round otherwise, and so throw other dice")
	}
	n := shareOf(tracedSeeds)
	if *updateTraces {
		n = tracesOf
	}
	seeds := make([]uint64, n)
	for i := range seeds {
		seeds[i] = uint64(i + 1)
	}
	sums := traces(t, seeds)
	if *updateTraces {
		var out bytes.Buffer
		for i, sum := range sums {
			fmt.Fprintf(&out, "%d %016x\n", seeds[i], sum)
		}
		if err := os.WriteFile(tracesFile, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	file, err := os.Open(tracesFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var other []uint64
	lines := bufio.NewScanner(file)
	for i, seed := range seeds {
		if lines.Scan(); lines.Text() != fmt.Sprintf("%d %016x", seed, sums[i]) {
			other = append(other, seed)
		}
	}
	if len(other) > 0 {
		t.Errorf("%d of %d seeds went another way than they used to: %v. If the engine was meant to change what it does, run go test ./internal/deliver -run Traces -update",
			len(other), len(seeds), other)
	}
}

// twoWays are seeds that took another way now and then while the engine went through its lanes, or its
// replays, in the order of a map.
var twoWays = []uint64{5, 389, 554, 633, 1149, 1346, 1361, 1457}

// A seed must replay exactly, alone and among others, or what it finds cannot be found again.
func TestSimulationReplaysExactly(t *testing.T) {
	few := twoWays[:max(shareOf(len(twoWays)), 2)]
	alone := make([]uint64, len(few))
	for i, seed := range few {
		var err error
		if alone[i], err = traceOf(seed, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if among := traces(t, few); !slices.Equal(among, alone) {
			t.Errorf("of the seeds %v some went another way among others (%x) than alone (%x)", few, among, alone)
		}
	}
}

// TestSimulationReplaysExactlyControl: lanes in an order that the seed does not know are noticed.
func TestSimulationReplaysExactlyControl(t *testing.T) {
	shuffle := func(s *simulation, _ *store.Record) {
		lanes := s.core.awake
		rand.Shuffle(len(lanes), func(i, j int) {
			lanes[i], lanes[j] = lanes[j], lanes[i]
			lanes[i].index, lanes[j].index = i, j
		})
	}
	for _, seed := range twoWays {
		want, _ := traceOf(seed, nil)
		for range 5 {
			if got, _ := traceOf(seed, shuffle); got != want {
				return
			}
		}
	}
	t.Error("lanes were shuffled, and no seed went another way")
}
