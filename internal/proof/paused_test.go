package proof_test

import (
	"context"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
)

// TestNodePaused is O4 of the test plan: a node stands still for twice its lease, wherever it is, and
// goes on as if nothing had happened. Others have taken its work over, and nothing that it still
// writes is accepted.
func TestNodePaused(t *testing.T) {
	t.Parallel() // it waits, mostly
	f := newFleet(t, 3)
	f.watch()
	ctx, stop := context.WithCancel(f.ctx)
	var sampling sync.WaitGroup
	defer sampling.Wait()
	defer stop()
	sampling.Go(func() { f.sampleCursors(ctx) })
	companies := names("company", 12)
	sound(f.rig, companies)
	load := f.flow(rand.New(rand.NewPCG(1, 12)), companies, fleets.perSecond) //nolint:gosec // a test's dice
	for n := range fleets.pauses {
		pause(f.ctx, time.Second)
		victim := f.servers[n%len(f.servers)]
		f.pauseNode(victim, func() {})
		select {
		case <-victim.Ended():
			t.Fatalf("the node ended: %s", victim.Tail())
		default:
			f.again(victim)
		}
		f.balanced(3)
	}
	load.recovers(10*time.Second, "the pauses")
	load.end()
	f.ends(companies, fleets.pauses*maxInFlight)
	if n := f.foreign(); n > 0 {
		t.Errorf("%d times a node wrote what was no longer its own", n)
	}
}

// TestNodePausedControl: a write into what is another's is counted, whatever becomes of it; and with
// a fence that lets the dead in, a node that stood still does try to write, until a cursor that would
// move back stops it. Neither passes for sound.
func TestNodePausedControl(t *testing.T) {
	t.Parallel() // it waits, mostly
	f := newFleet(t, 3)
	f.watch()
	companies := names("company", 12)
	sound(f.rig, companies)
	f.flow(rand.New(rand.NewPCG(1, 13)), companies, fleets.perSecond) //nolint:gosec // a test's dice
	if n := f.foreign(); n > 0 {
		t.Errorf("%d writes are counted where nothing happened", n)
	}
	f.exec(`BEGIN; SET LOCAL application_name = '` + f.name(f.servers[0]) + `'; UPDATE cursors SET delivered = delivered; ROLLBACK`)
	if f.foreign() == 0 {
		t.Error("control: a foreign write is not counted")
	}
	for before := f.foreign(); len(f.servers) > 1; {
		pause(f.ctx, time.Second)
		victim := f.servers[0]
		f.pauseNode(victim, func() {
			f.query(`UPDATE nodes SET dead = false, lease_until = clock_timestamp() + interval '1 hour' WHERE url LIKE '%:' || $1 RETURNING id`, port(victim.URL))
		})
		select {
		case <-victim.Ended():
			t.Log("control: the node ended")
			return
		default:
		}
		if n := f.foreign() - before; n > 0 {
			t.Logf("control: %d writes", n)
			return
		}
	}
	t.Error("control: without a fence nobody wrote what was not theirs, or nobody noticed")
}

// pauseNode stops a node for twice its lease. It is not asked any more from then on.
func (f *fleet) pauseNode(s *process.Server, goesOn func()) {
	f.t.Helper()
	f.leaves(s)
	f.signal(s, syscall.SIGSTOP)
	stopped := time.Now()
	f.oracle.Crashed(stopped) // what it has under way then, others do again
	f.t.Logf("a node stands still: taken over %s later", f.takenOver(s, stopped).Round(10*time.Millisecond))
	pause(f.ctx, 2*leaseLasts-time.Since(stopped))
	goesOn()
	f.oracle.Crashed(time.Now()) // what was on its way arrives
	f.signal(s, syscall.SIGCONT)
	pause(f.ctx, time.Second)
}

func (f *fleet) signal(s *process.Server, signal syscall.Signal) {
	f.t.Helper()
	if err := s.Signal(signal); err != nil {
		f.t.Fatal(err)
	}
}

// again makes a node that did not answer for a while one of those that are asked.
func (f *fleet) again(s *process.Server) {
	f.rig.mu.Lock()
	defer f.rig.mu.Unlock()
	f.serves(s)
}

// watch has the database count, beyond any rollback, who writes into a partition that is another's.
func (f *fleet) watch() {
	f.t.Helper()
	for _, statement := range []string{
		`CREATE TABLE processes (app text, port text)`,
		`CREATE SEQUENCE foreign_writes`,
		`CREATE FUNCTION note_foreign() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE
			place bigint;
		BEGIN
			IF TG_TABLE_NAME = 'owners' THEN
				place := NEW.partition;
			ELSE
				SELECT partition INTO place FROM webhooks WHERE key = NEW.webhook;
			END IF;
			IF NOT EXISTS (
				SELECT 1 FROM owners o JOIN nodes n ON n.id = o.node_id JOIN processes p ON n.url LIKE '%:' || p.port
				WHERE o.partition = place AND p.app = current_setting('application_name')
			) THEN
				PERFORM nextval('foreign_writes');
			END IF;
			RETURN NEW;
		END $$`,
	} {
		f.exec(statement)
	}
	for _, s := range f.started {
		f.query(`INSERT INTO processes VALUES ($1, $2) RETURNING app`, f.name(s), port(s.URL))
	}
	for _, on := range []string{
		`INSERT ON attempts FOR EACH ROW`, `UPDATE OF "offset", sequence, delivered ON cursors FOR EACH ROW`,
		`UPDATE ON owners FOR EACH ROW WHEN (OLD.swept <> NEW.swept)`,
	} {
		f.exec(`CREATE TRIGGER note_foreign BEFORE ` + on + ` EXECUTE FUNCTION note_foreign()`)
	}
}

// foreign is how many such writes there were.
func (f *fleet) foreign() int {
	f.t.Helper()
	n, err := strconv.Atoi(f.query(`SELECT (CASE WHEN is_called THEN last_value ELSE 0 END)::text FROM foreign_writes`)[0])
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fleet) exec(statement string) {
	f.t.Helper()
	if err := f.cluster.Exec(f.ctx, f.database, statement); err != nil {
		f.t.Fatalf("%s: %v", statement, err)
	}
}

// sampleCursors reads all places again and again: none moves back.
func (f *fleet) sampleCursors(ctx context.Context) {
	db, err := pgx.Connect(ctx, f.cluster.URL(f.database))
	if err != nil {
		if ctx.Err() == nil {
			f.t.Error(err)
		}
		return
	}
	defer db.Close(context.WithoutCancel(ctx))
	highest := map[string]int64{}
	for pause(ctx, 50*time.Millisecond) {
		rows, err := db.Query(ctx, `
			SELECT 'swept of partition ' || partition, swept FROM owners
			UNION ALL SELECT 'offset of webhook ' || webhook, "offset" FROM cursors
			UNION ALL SELECT 'sequence of webhook ' || webhook, sequence FROM cursors
			UNION ALL SELECT 'delivered of webhook ' || webhook, delivered FROM cursors`)
		var name string
		var place int64
		if err == nil {
			_, err = pgx.ForEachRow(rows, []any{&name, &place}, func() error {
				if place < highest[name] {
					f.t.Errorf("%s moved back from %d to %d", name, highest[name], place)
				}
				highest[name] = max(place, highest[name])
				return nil
			})
		}
		if err != nil && ctx.Err() == nil {
			f.t.Error(err)
			return
		}
	}
}
