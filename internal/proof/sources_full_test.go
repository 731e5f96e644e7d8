//go:build full

package proof_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/brokertest"
)

// TestSourceOfTwoNodes: a stream is read by one node. When that is killed the other goes on, first with what the dead one
// was given: nothing is lost, and each object's order holds.
func TestSourceOfTwoNodes(t *testing.T) {
	broker, err := brokertest.NATS(t.TempDir())
	if errors.Is(err, brokertest.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Stop)
	x := &sourcing{broker: broker, bus: &natsBus{addr: broker.Addr}, order: map[string][]numbered{}}
	defer x.bus.close()
	f := newFleet(t, 2, "--sources-file", x.file(t))
	x.rig = f.rig
	x.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, settings: `, "ordering": "object"`, each: x.arrived})
	enough, stop := context.WithCancel(x.ctx)
	var producers sync.WaitGroup
	for key := range busKeys {
		producers.Go(func() { x.produce(enough, fmt.Sprintf("k%d", key)) })
	}
	reader := func() (reading *process.Server, states []string) {
		for _, s := range x.servers {
			var sources struct{ Data []struct{ State string } }
			x.at(s).ask(http.MethodGet, "/v1/sources", "", "", &sources)
			states = append(states, sources.Data[0].State)
			if sources.Data[0].State == "running" {
				reading = s
			}
		}
		return reading, states
	}
	var first *process.Server
	eventually(t, time.Minute, "one node reads", func() bool {
		s, states := reader()
		first = s
		sort.Strings(states)
		return strings.Join(states, " ") == "running standby"
	})
	pause(x.ctx, 500*time.Millisecond)
	x.killNode(first)
	eventually(t, time.Minute, "the other one reads", func() bool { s, _ := reader(); return s != nil })
	pause(x.ctx, 500*time.Millisecond)
	stop()
	producers.Wait()
	x.settled([]string{"c1"}, time.Minute)
	x.judge(0, 1)
	x.ordered(t)
}
