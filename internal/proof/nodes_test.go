package proof_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
)

const allPartitions = 64

// fleet is a rig of several nodes on one database, which it looks into.
type fleet struct {
	*rig
	cluster  *postgrestest.Cluster
	database string
	mu       sync.Mutex
	db       *pgx.Conn
}

// newFleet starts nodes and waits until each has its share.
func newFleet(t *testing.T, nodes int, args ...string) *fleet {
	t.Helper()
	f := &fleet{cluster: sharedCluster(t)}
	f.rig, f.database = newPostgresRig(t, f.cluster, append([]string{"--max-in-flight", fmt.Sprint(maxInFlight)}, args...)...)
	var err error
	if f.db, err = pgx.Connect(f.ctx, f.cluster.URL(f.database)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.db.Close(f.ctx) })
	for range nodes {
		f.join()
	}
	if nodes > 0 {
		f.balanced(nodes)
	}
	return f
}

// join starts another node, with variables added to its environment. In the database's list of
// sessions it has a name of its own.
func (f *fleet) join(env ...string) *process.Server {
	f.t.Helper()
	onPostgres(&f.options, f.cluster.URL(f.database)+"&application_name="+fmt.Sprintf("node-%d", len(f.started)))
	f.options.Env = append(f.options.Env, env...)
	f.options.Dir = f.t.TempDir()
	return f.start()
}

// name is what the database calls the sessions of a node.
func (f *fleet) name(s *process.Server) string {
	for i, x := range f.started {
		if x == s {
			return fmt.Sprintf("node-%d", i)
		}
	}
	return ""
}

// query reads rows of one text each from the database.
func (f *fleet) query(statement string, args ...any) []string {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	rows, err := f.db.Query(f.ctx, statement, args...)
	if err != nil {
		f.t.Fatalf("%s: %v", statement, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil && f.ctx.Err() == nil {
		f.t.Fatalf("%s: %v", statement, err)
	}
	return list
}

// shares are how many partitions each node that is not dead owns, by its address.
func (f *fleet) shares() map[string]int {
	f.t.Helper()
	shares := map[string]int{}
	for _, address := range f.query(`SELECT n.url FROM owners o JOIN nodes n ON n.id = o.node_id AND NOT n.dead`) {
		shares[address]++
	}
	return shares
}

// balanced waits until a number of nodes share all partitions evenly.
func (f *fleet) balanced(nodes int) {
	f.t.Helper()
	took := eventually(f.t, 30*time.Second, fmt.Sprintf("%d nodes share the partitions", nodes), func() bool {
		shares := f.shares()
		sum := 0
		for _, n := range shares {
			sum += n
			if n < allPartitions/nodes || n > allPartitions/nodes+1 {
				return false
			}
		}
		return len(shares) == nodes && sum == allPartitions
	})
	f.t.Logf("%d nodes share the partitions after %s", nodes, took.Round(10*time.Millisecond))
}

// owner is the node that runs a company's webhooks, and others are those that do not.
func (f *fleet) owner(company string) (owner *process.Server, others []*process.Server) {
	f.t.Helper()
	address := f.query(`SELECT n.url FROM companies c JOIN owners o ON o.partition = c.partition JOIN nodes n ON n.id = o.node_id WHERE c.id = $1`, company)
	for _, s := range f.servers {
		if len(address) == 1 && port(s.URL) == port(address[0]) {
			owner = s
		} else {
			others = append(others, s)
		}
	}
	if owner == nil {
		f.t.Fatalf("nobody runs %s: %v", company, address)
	}
	return owner, others
}

func port(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Port()
}

// takenOver waits until a node that serves no more owns nothing.
func (f *fleet) takenOver(s *process.Server, since time.Time) time.Duration {
	f.t.Helper()
	eventually(f.t, leaseLasts+5*time.Second, "the work of a dead node is taken over", func() bool {
		shares := f.shares()
		sum := 0
		for address, n := range shares {
			if port(address) == port(s.URL) {
				return false
			}
			sum += n
		}
		return sum == allPartitions
	})
	return time.Since(since)
}

// ends checks what every run of several nodes must end with.
func (f *fleet) ends(companies []string, duplicates int) {
	f.t.Helper()
	f.settled(companies, time.Minute)
	f.foundInLog(companies)
	fates, receipts := f.oracle.Counts()
	report := f.check()
	f.t.Logf("%v, %d requests: %s", fates, receipts, report)
	if faults := report.Faults(); len(faults) > 0 {
		f.t.Error(faults)
	}
	if n := len(report[oracle.Duplicate]); n > duplicates {
		f.t.Errorf("%d duplicates, more than the %d that can have been in flight", n, duplicates)
	}
}

// TestNodesKilled is O3 of the test plan: nodes are killed one after the other, and others take their
// place.
func TestNodesKilled(t *testing.T) {
	t.Parallel() // it waits, mostly
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 9)) //nolint:gosec // a test's dice
	f := newFleet(t, 3)
	companies := names("company", 12)
	sound(f.rig, companies)
	load := f.flow(rand.New(rand.NewPCG(seed, 10)), companies, fleets.perSecond) //nolint:gosec // a test's dice
	for n := range fleets.kills {
		pause(f.ctx, fleets.between/2)
		victim := f.servers[dice.IntN(len(f.servers))]
		f.killNode(victim)
		killed := time.Now()
		f.join()
		t.Logf("kill %d: taken over %s later", n+1, f.takenOver(victim, killed).Round(10*time.Millisecond))
		pause(f.ctx, fleets.between-time.Since(killed))
	}
	load.recovers(10*time.Second, "the kills")
	load.end()
	f.ends(companies, fleets.kills*maxInFlight)
	f.balanced(3)
	for _, s := range f.servers {
		f.stopNode(s)
	}
}

// TestRollingRestart is O6 of the test plan: one node after the other is replaced under load. No
// client sees more than one retry mends, and nothing is sent twice.
func TestRollingRestart(t *testing.T) {
	t.Parallel() // it waits, mostly
	f := newFleet(t, 2, unhurried...)
	companies := names("company", 12)
	sound(f.rig, companies)
	load := f.flowOf(rand.New(rand.NewPCG(3, 11)), companies, fleets.rolling, f.publishTwice) //nolint:gosec // a test's dice
	load.recovers(10*time.Second, "the start")
	for range fleets.restarts {
		leaver := f.servers[0]
		f.join()
		began := time.Now()
		// It is asked until the end: who publishes is told by its answers alone that it leaves.
		if err := leaver.Stop(30 * time.Second); err != nil {
			t.Error(err)
		}
		f.leaves(leaver)
		t.Logf("a node left within %s", time.Since(began).Round(10*time.Millisecond))
		if n := f.query(`SELECT o.partition::text FROM owners o JOIN nodes n ON n.id = o.node_id WHERE n.dead`); len(n) > 0 {
			t.Errorf("it left %d partitions to be taken", len(n))
		}
	}
	load.end()
	f.ends(companies, 0)
}

// publishTwice asks one node and, if it has no good answer, another one. That must do.
func (f *fleet) publishTwice(e *oracle.Event) {
	f.oracle.Publishing(*e)
	first, err := f.current(f.ctx)
	if err != nil {
		return
	}
	other := first
	for range 100 { // others take their turns meanwhile
		if other != first || f.ctx.Err() != nil {
			break
		}
		if other, err = f.current(f.ctx); err != nil {
			return
		}
	}
	var said []string
	for _, s := range []*process.Server{first, other} {
		status, answer, err := f.at(s).call(f.ctx, http.MethodPost, "/v1/events", "", publication(e))
		if err == nil && status == http.StatusAccepted {
			f.oracle.Answered(e.ID, oracle.Acked)
			return
		}
		said = append(said, strings.TrimSpace(fmt.Sprintf("%d %s %v", status, answer, err)))
	}
	if f.ctx.Err() == nil {
		f.t.Errorf("%s was accepted neither by one node nor by another: %q", e.ID, said)
	}
}

// TestRestartedAfterACrash: a node that is started again on the same machine after it was killed waits for
// nobody's lease. The control's predecessor did not say which process it was.
func TestRestartedAfterACrash(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, "--lease-seconds", "60")
	for _, tells := range []bool{true, false} {
		f.kill()
		if !tells {
			f.query(`UPDATE nodes SET process = '' WHERE NOT dead RETURNING id`)
		}
		begun := time.Now()
		address := port(f.join().URL)
		has := func() int {
			return len(f.query(`SELECT n.id FROM owners o JOIN nodes n ON n.id = o.node_id AND NOT n.dead WHERE n.url LIKE '%:' || $1`, address))
		}
		for tells && has() < allPartitions {
			if time.Since(begun) > 40*time.Second {
				t.Fatalf("the node has %d partitions after %s", has(), time.Since(begun))
			}
		}
		for !tells && time.Since(begun) < 3*time.Second {
			if n := has(); n > 0 {
				t.Fatalf("it has %d partitions without proof: the test proves nothing", n)
			}
		}
		t.Logf("told %t: %d partitions %s after the start", tells, has(), time.Since(begun))
	}
}
