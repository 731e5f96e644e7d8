package proof_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/mariadbtest"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
	producing "github.com/atlas-webhooks/atlas-webhooks/outbox"
)

// shopObjects are how many objects producers change.
const shopObjects = 8

// shop is a producer's database, whose transactions change an object and publish that. Its clients are processes,
// as are its server and the relay: all of them can be killed.
type shop struct {
	t       *testing.T
	url     string
	client  []string // runs statements from its standard input
	change  string   // of an object, a transaction
	restart func()   // of the server, which is killed
	query   func(statement string) string
	cluster *postgrestest.Cluster // of Postgres
}

const shopTable = `CREATE TABLE objects (id INT PRIMARY KEY, n INT); `

func (s *shop) begin() {
	for o := range shopObjects {
		s.query(fmt.Sprintf("INSERT INTO objects VALUES (%d, 0)", o))
	}
}

func postgresShop(t *testing.T) *shop {
	c := ownCluster(t)
	_, err := exec.LookPath("psql")
	need(t, err == nil, "psql")
	s := &shop{
		t: t, cluster: c, url: c.URL("postgres"), client: []string{"psql", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", c.URL("postgres")},
		change: `BEGIN; UPDATE objects SET n = n + 1 WHERE id = %[1]d; ` +
			`SELECT atlas_webhooks_publish('c' || id, 'customer', json_build_object('id', id::text, 'n', n)) FROM objects WHERE id = %[1]d; COMMIT;`,
	}
	s.restart = func() {
		if err := c.Restart(t.Context(), true); err != nil {
			t.Error(err)
		}
	}
	s.query = func(statement string) string {
		out, err := exec.CommandContext(t.Context(), "psql", "-qAt", s.url, "-c", statement).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", statement, err, out)
		}
		return string(out)
	}
	if err := c.Exec(t.Context(), "postgres", producing.Schema(producing.Postgres, true)+shopTable); err != nil {
		t.Fatal(err)
	}
	s.begin()
	return s
}

func mariadbShop(t *testing.T) *shop {
	m, err := mariadbtest.Start(t.Context())
	need(t, !errors.Is(err, mariadbtest.ErrMissing), "MariaDB, which 'make mariadb' installs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Stop)
	client := []string{"mariadb", "--no-defaults", "--user=root", "--socket=" + m.Socket(), "--batch", "--skip-column-names"}
	s := &shop{
		t: t, url: m.URL("shop"), client: append(slices.Clone(client), "shop"),
		change: `BEGIN; UPDATE objects SET n = n + 1 WHERE id = %[1]d; ` +
			`INSERT INTO atlas_webhooks_outbox (company_id, event, data) SELECT CONCAT('c', id), 'customer', JSON_OBJECT('id', CAST(id AS CHAR), 'n', n) FROM objects WHERE id = %[1]d; COMMIT;`,
	}
	s.restart = func() {
		m.Kill()
		if err := m.Run(t.Context()); err != nil {
			t.Error(err)
		}
	}
	s.query = func(statement string) string {
		out, err := exec.CommandContext(t.Context(), client[0], append(slices.Clone(s.client[1:]), "--execute="+statement)...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", statement, err, out)
		}
		return string(out)
	}
	if err := m.Exec(t.Context(), "", "CREATE DATABASE shop CHARACTER SET utf8mb4"); err != nil {
		t.Fatal(err)
	}
	if err := m.Exec(t.Context(), "shop", producing.Schema(producing.MariaDB, false)+shopTable); err != nil {
		t.Fatal(err)
	}
	s.begin()
	return s
}

// produce changes objects until ctx ends, in a process that is started again where it ends. kill ends it.
func (s *shop) produce(ctx context.Context) (kill func(), done *sync.WaitGroup) {
	var mu sync.Mutex
	var running *exec.Cmd
	done = &sync.WaitGroup{}
	done.Go(func() {
		for ctx.Err() == nil {
			var script bytes.Buffer
			for range 5000 {
				fmt.Fprintf(&script, s.change+"\n", rand.IntN(shopObjects)) //nolint:gosec // a test's dice
			}
			cmd := exec.CommandContext(ctx, s.client[0], s.client[1:]...)
			cmd.Stdin = &script
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			mu.Lock()
			running = cmd
			err := cmd.Start()
			mu.Unlock()
			if err != nil && ctx.Err() != nil {
				return // it is enough
			}
			if err != nil {
				s.t.Error(err)
				return
			}
			_ = cmd.Wait() // it was killed, or its server was
			pause(ctx, 20*time.Millisecond)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		if running != nil && running.Process != nil {
			_ = running.Process.Kill() // it may have ended
		}
	}, done
}

// changes are how often each object was changed, as the producer's own table has it.
func (s *shop) changes() map[string]int {
	counts := map[string]int{}
	for line := range strings.Lines(s.query("SELECT id, n FROM objects")) {
		f := strings.FieldsFunc(line, func(r rune) bool { return r == '|' || r == '\t' || r == '\n' })
		if len(f) != 2 {
			s.t.Fatalf("%q", line)
		}
		counts[f[0]], _ = strconv.Atoi(f[1])
	}
	return counts
}

// shopEvent is an event of the shop.
type shopEvent struct {
	ID   string
	Data struct {
		ID string
		N  int
	}
}

// shopEvents are all events, those of each object in the order of the log.
func (r *rig) shopEvents() (list []shopEvent) {
	r.t.Helper()
	var page struct {
		Data []shopEvent
		Next *string `json:"next_cursor"`
	}
	for o := range shopObjects {
		var newest []shopEvent
		for cursor := ""; ; cursor = *page.Next {
			page.Data, page.Next = nil, nil
			r.ask(http.MethodGet, "/v1/events?limit=250&cursor="+cursor, fmt.Sprintf("c%d", o), "", &page)
			newest = append(newest, page.Data...)
			if page.Next == nil {
				break
			}
		}
		slices.Reverse(newest)
		list = append(list, newest...)
	}
	return list
}

// shopFaults is what is lost, doubled or out of order, with changes 1, 2, 3 … of each object.
func shopFaults(events []shopEvent, changes map[string]int) (faults []string) {
	last := map[string]int{}
	for _, e := range events {
		if e.Data.N != last[e.Data.ID]+1 {
			faults = append(faults, fmt.Sprintf("%s: %d after %d", e.Data.ID, e.Data.N, last[e.Data.ID]))
		}
		last[e.Data.ID] = e.Data.N
	}
	for o, n := range changes {
		if last[o] != n {
			faults = append(faults, fmt.Sprintf("%s: %d changes, the last event is %d", o, n, last[o]))
		}
	}
	return faults
}

// judgeShop waits until the outbox is empty, compares, and sees that the comparison finds what is wrong.
func (r *rig) judgeShop(s *shop) {
	r.t.Helper()
	eventually(r.t, time.Minute, "the outbox is empty", func() bool {
		return strings.TrimSpace(s.query("SELECT COUNT(*) FROM atlas_webhooks_outbox")) == "0"
	})
	changes, events := s.changes(), r.shopEvents()
	if faults := shopFaults(events, changes); len(faults) > 0 {
		r.t.Errorf("%d events: %q", len(events), faults[:min(len(faults), 20)])
	}
	if len(events) < 200 {
		r.t.Errorf("only %d events", len(events))
	}
	r.t.Logf("%d changes, as many events, in order", len(events))
	middle := len(events) / 2
	swapped := slices.Clone(events)
	swapped[0], swapped[1] = swapped[1], swapped[0] // of one object
	for what, tampered := range map[string][]shopEvent{
		"lost":    slices.Delete(slices.Clone(events), middle, middle+1),
		"doubled": slices.Insert(slices.Clone(events), middle, events[middle]),
		"swapped": swapped,
	} {
		if len(shopFaults(tampered, changes)) == 0 {
			r.t.Errorf("control: an event is %s, and nobody minds", what)
		}
	}
}

// TestOutbox kills the server of the producer's database, the relay and producers, again and again, at any moment
// and also between the commit to the log and the removal from the outbox: each change is one event, in order.
func TestOutbox(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *shop{"postgres": postgresShop, "mariadb": mariadbShop} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			killOutbox(t, open(t))
		})
	}
}

func killOutbox(t *testing.T, s *shop) {
	r := newRig(t)
	path, err := armable()
	if err != nil {
		t.Fatal(err)
	}
	r.options.Binary = path
	r.options.Env = append(r.options.Env, "ATLAS_WEBHOOKS_OUTBOX_URL="+s.url)
	r.start()
	loading, enough := context.WithCancel(r.ctx)
	killOne, one := s.produce(loading)
	_, other := s.produce(loading)
	for range outboxRounds {
		pause(r.ctx, time.Duration(50+rand.IntN(200))*time.Millisecond) //nolint:gosec // a test's dice
		killOne()
		pause(r.ctx, time.Duration(50+rand.IntN(200))*time.Millisecond) //nolint:gosec // a test's dice
		r.kill()
		r.takenAndGone()
		r.start()
		pause(r.ctx, time.Duration(50+rand.IntN(200))*time.Millisecond) //nolint:gosec // a test's dice
		s.restart()
	}
	enough()
	one.Wait()
	other.Wait()
	r.judgeShop(s)
	r.stop()
}

// outboxRounds are how often each is killed.
const outboxRounds = 3

// takenAndGone runs a server until it has committed what it read of the outbox, and has not yet said so there.
func (r *rig) takenAndGone() {
	r.t.Helper()
	options := r.options
	options.Env = append(slices.Clone(options.Env), fmt.Sprintf("FAILPOINT=%s:%d", failpoint.Taken, 1+rand.IntN(4))) //nolint:gosec // a test's dice
	server, err := process.Start(r.ctx, options)
	if err != nil {
		if !strings.Contains(err.Error(), "signal: killed") {
			r.t.Fatal(err)
		}
		return // it came there before it served
	}
	select {
	case <-server.Ended():
	case <-r.ctx.Done():
		server.Kill()
	}
}

// TestOutboxOfTwoNodes: two nodes share an outbox that they read through a pooler, which gives each transaction
// another session. One is killed, later started again, and the other does its share meanwhile.
func TestOutboxOfTwoNodes(t *testing.T) {
	t.Parallel()
	s := postgresShop(t)
	before, err := s.cluster.PgBouncer(t.Context(), "pool_mode = transaction", "default_pool_size = 3")
	need(t, !errors.Is(err, postgrestest.ErrMissing), "PgBouncer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(before.Stop)
	f := newFleet(t, 0)
	url := "ATLAS_WEBHOOKS_OUTBOX_URL=" + before.URL("postgres")
	first := f.join(url)
	f.join(url)
	f.balanced(2)
	loading, enough := context.WithCancel(f.ctx)
	_, one := s.produce(loading)
	_, other := s.produce(loading)
	eventually(t, time.Minute, "both nodes take events in", func() bool {
		for _, server := range f.servers {
			var page struct{ Data []struct{ Accepted int } }
			f.at(server).ask(http.MethodGet, "/v1/sources", "", "", &page)
			if len(page.Data) != 1 || page.Data[0].Accepted < 20 {
				return false
			}
		}
		return true
	})
	f.killNode(first)
	pause(f.ctx, leaseLasts)
	f.join(url)
	f.balanced(2)
	enough()
	one.Wait()
	other.Wait()
	f.judgeShop(s)
}
