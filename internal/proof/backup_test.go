package proof_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/receiver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// tally counts the requests for each event.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *tally) add(d receiver.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[d.Header.Get(wire.HeaderEventID)]++
}

func (c *tally) of(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[id]
}

func (c *tally) all() (sum int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.n {
		sum += n
	}
	return sum
}

// run runs a command of the binary with the environment of a rig's servers.
func (r *rig) run(args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.ctx, r.options.Binary, args...)
	cmd.Env = append(cmd.Environ(), r.options.Env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("%s: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestBackupUnderLoad is D11 of the test plan: a backup is made while events are published and
// delivered, and restored elsewhere. What was acknowledged before it began is there; the restored store
// delivers nothing until it may; what was delivered before is not delivered again.
func TestBackupUnderLoad(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		r := newRig(t)
		backupUnderLoad(t, r, func() {
			dir := t.TempDir()
			for _, key := range []string{"master.key", "operator.key"} {
				b, err := os.ReadFile(filepath.Join(r.options.Dir, key))
				if err == nil {
					err = os.WriteFile(filepath.Join(dir, key), b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			r.options.Dir = dir
		})
	})
	t.Run("Postgres", func(t *testing.T) {
		c := sharedCluster(t)
		r, _ := newPostgresRig(t, c)
		backupUnderLoad(t, r, func() {
			database, err := c.Database(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			onPostgres(&r.options, c.URL(database))
		})
	})
}

func backupUnderLoad(t *testing.T, r *rig, elsewhere func()) {
	s := r.start()
	seen := &tally{n: map[string]int{}}
	r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "c1", Topics: []string{"conversation"}}, settings: patient, each: seen.add})
	publish := func(kind string, n int) (ids []string) {
		for i := range n {
			e := &oracle.Event{ID: fmt.Sprintf("%s-%04d", kind, i), Company: "c1", Topic: "conversation", Data: fmt.Sprintf(`{"n": %d, "padding": %q}`, i, strings.Repeat("x", 2000))}
			r.persist(r.ctx, e)
			ids = append(ids, e.ID)
		}
		return ids
	}
	done := publish("done", 300)
	r.settled([]string{"c1"}, 30*time.Second)

	// While the backup is made, events come and go.
	stop, ended := make(chan struct{}), make(chan int, 1)
	go func() {
		n := 0
		for ; ; n++ {
			select {
			case <-stop:
				ended <- n
				return
			default:
				publish(fmt.Sprintf("during%d", n), 1)
			}
		}
	}()
	before := publish("before", 100)
	file := filepath.Join(t.TempDir(), "backup")
	r.options.Env = append(r.options.Env, "ATLAS_WEBHOOKS_URL="+s.URL, "ATLAS_WEBHOOKS_API_KEY="+s.Key)
	r.run("backup", file)
	close(stop)
	if n := <-ended; n == 0 {
		t.Error("nothing was published meanwhile: the test proves nothing")
	}
	r.settled([]string{"c1"}, 30*time.Second)
	r.stop()
	r.options.Env = r.options.Env[:len(r.options.Env)-2]

	elsewhere()
	args := []string{"restore", file}
	if len(r.options.Env) == 0 {
		args = append(args, "--data-dir", r.options.Dir)
	}
	r.run(args...)
	r.start()
	for _, id := range append(before, done...) {
		r.ask(http.MethodGet, "/v1/events/"+id, "c1", "", nil)
	}
	sent := seen.all()
	held := publish("held", 20)
	var nodes struct {
		Data []struct {
			HeldSince *time.Time `json:"held_since"`
		}
	}
	r.ask(http.MethodGet, "/v1/nodes", "", "", &nodes)
	if len(nodes.Data) == 0 || nodes.Data[0].HeldSince == nil {
		t.Errorf("the server does not say that it delivers nothing: %+v", nodes)
	}
	pause(r.ctx, 2*time.Second)
	if n := seen.all(); n != sent {
		t.Errorf("%d requests before anybody said go", n-sent)
	}
	r.stop()

	args, r.options.Args = r.options.Args, append([]string{"--resume"}, r.options.Args...)
	r.start()
	r.options.Args = args
	r.settled([]string{"c1"}, 30*time.Second)
	for _, id := range done {
		if seen.of(id) != 1 {
			t.Errorf("%s was delivered before, and sent %d times", id, seen.of(id))
		}
	}
	for _, id := range held {
		if seen.of(id) == 0 {
			t.Errorf("%s is not delivered", id)
		}
	}
	r.stop()
	r.start() // said once, it holds
	r.persist(r.ctx, &oracle.Event{ID: "last", Company: "c1", Topic: "conversation", Data: `{}`})
	r.settled([]string{"c1"}, 30*time.Second)
	r.stop()
}

// TestRestoreForNodes: a backup of one installation is restored for another of two nodes. Both hold
// back what they have, and both go on, each with its share, when one of them was told to.
func TestRestoreForNodes(t *testing.T) {
	t.Parallel() // it waits, mostly
	f := newFleet(t, 1)
	companies := names("company", 8)
	seen := &tally{n: map[string]int{}}
	for _, company := range companies {
		f.subscribe(&endpoint{webhook: oracle.Webhook{Company: company, Topics: []string{"conversation"}}, settings: patient, each: seen.add})
	}
	publish := func(kind string) {
		for i := range 5 * len(companies) {
			f.persist(f.ctx, &oracle.Event{ID: fmt.Sprintf("%s-%d", kind, i), Company: companies[i%len(companies)], Topic: "conversation", Data: `{}`})
		}
	}
	publish("before")
	f.settled(companies, 30*time.Second)
	file := filepath.Join(t.TempDir(), "backup")
	s := f.only()
	f.options.Env = append(f.options.Env, "ATLAS_WEBHOOKS_URL="+s.URL, "ATLAS_WEBHOOKS_API_KEY="+s.Key)
	f.run("backup", file)
	f.stop()

	f.move()
	onPostgres(&f.options, f.cluster.URL(f.database))
	f.run("restore", file)
	f.leapt = true
	for range 2 {
		f.join()
	}
	f.balanced(2)
	holds := func(s *process.Server) bool {
		var nodes struct {
			Data []struct {
				HeldSince *time.Time `json:"held_since"`
			}
		}
		f.at(s).ask(http.MethodGet, "/v1/nodes", "", "", &nodes)
		return len(nodes.Data) > 0 && nodes.Data[0].HeldSince != nil
	}
	if !holds(f.servers[0]) || !holds(f.servers[1]) {
		t.Error("not both nodes say that they deliver nothing")
	}
	sent := seen.all()
	publish("held")
	pause(f.ctx, 2*time.Second)
	if n := seen.all(); n != sent {
		t.Errorf("%d requests before anybody said go", n-sent)
	}

	first, second := f.servers[0], f.servers[1]
	f.stopNode(first)
	if !holds(second) {
		t.Error("a node goes on because another has left")
	}
	f.options.Args = append([]string{"--resume"}, f.options.Args...)
	f.join()
	eventually(t, 10*time.Second, "the other node goes on, too", func() bool { return !holds(second) })
	f.balanced(2)
	f.settled(companies, 30*time.Second)
	publish("after")
	f.ends(companies, 0)
	for _, kind := range []string{"before", "held", "after"} {
		for i := range 5 * len(companies) {
			if id := fmt.Sprintf("%s-%d", kind, i); seen.of(id) != 1 {
				t.Errorf("%s was sent %d times", id, seen.of(id))
			}
		}
	}
	for _, s := range slices.Clone(f.servers) {
		f.stopNode(s)
	}
}

// move gives the nodes that join from now on another database, an empty one.
func (f *fleet) move() {
	f.t.Helper()
	var err error
	if f.database, err = f.cluster.Database(f.ctx, ""); err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.db.Close(f.ctx)
	if f.db, err = pgx.Connect(f.ctx, f.cluster.URL(f.database)); err != nil {
		f.t.Fatal(err)
	}
}
