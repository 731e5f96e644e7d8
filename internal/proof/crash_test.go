package proof_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// maxInFlight is what a server of these tests may have under way, and so what one crash may double.
const maxInFlight = 64

// patient is a schedule that outlasts the test: nothing fails for good.
const patient = `, "retry_schedule_seconds": [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5]`

// moods are how endpoints fail; each recovers, again and again. Most do not.
var moods = [][]string{
	{"fail 500:7", "ok:60"},
	{"fail 503:2", "ok:80"},
	{"reset:3", "ok:50"},
	{"garbage:2", "ok:40"},
	{"close:1", "ok:30"},
	{"truncated:2", "status-000:1", "ok:70"},
}

// crowd subscribes webhooks of several companies, a third of which fail at times, and one of which is
// slow.
func crowd(r *rig, dice *rand.Rand, companies []string, webhooks int) {
	r.t.Helper()
	topics := hook.Topics()
	for i := range webhooks {
		e := &endpoint{webhook: oracle.Webhook{Company: companies[i%len(companies)], Object: i%5 == 4}, settings: patient}
		for _, n := range dice.Perm(len(topics))[:4+dice.IntN(8)] {
			e.webhook.Topics = append(e.webhook.Topics, topics[n].Name)
		}
		switch i % 3 {
		case 0:
			mood := moods[i/3%len(moods)]
			for range 200 {
				e.script = append(e.script, mood...)
			}
		case 1:
			if i == 1 {
				e.script = []string{"slow 30ms"}
			}
			if i == 4 { // fails long enough to be called failing
				e.script = []string{"ok:20", "fail 500:13"}
			}
		}
		r.subscribe(e)
	}
}

// someEvent is the n-th event of a run.
func someEvent(dice *rand.Rand, n int, companies []string) *oracle.Event {
	topics := hook.Topics()
	return &oracle.Event{
		ID: fmt.Sprintf("event-%06d", n), Company: companies[dice.IntN(len(companies))], Topic: topics[dice.IntN(len(topics))].Name,
		ObjectID: fmt.Sprintf("object-%d", dice.IntN(200)),
		Data:     fmt.Sprintf("{\"id\": %d, \"name\": \"José O'Brien 🔥 #%d\",\r\n\t\"text\": \"\\\"quoted\\\"\\n\\u0000 \x7f\", \"n\": 1e400}", n, n),
	}
}

// campaign is a crash test's size.
type campaign struct {
	events, webhooks, companies, kills int
	perSecond                          float64
	between                            time.Duration // two kills, at most
}

// TestCrash is D1 of the test plan: the server is killed at random moments while events come in and
// go out.
func TestCrash(t *testing.T) {
	crash(t, newRig(t, "--max-in-flight", fmt.Sprint(maxInFlight)), crashes)
}

// TestCrashPostgres is the same with the log in Postgres, which goes on.
func TestCrashPostgres(t *testing.T) {
	r, _ := newPostgresRig(t, sharedCluster(t), "--max-in-flight", fmt.Sprint(maxInFlight))
	crash(t, r, crashes)
}

func crash(t *testing.T, r *rig, c campaign) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's dice
	companies := names("company", c.companies)
	r.start()
	crowd(r, dice, companies, c.webhooks)

	published := r.produce(dice, companies, &c)
	for i := range c.kills {
		pause(r.ctx, c.between/10+time.Duration(dice.Int64N(int64(c.between))))
		r.kill()
		s := r.start()
		t.Logf("kill %d: answers again after %s", i+1, s.Took.Round(time.Millisecond))
	}
	published.Wait()
	r.settled(companies, time.Minute)
	r.stop()

	fates := r.judge(seed, c.kills)
	if fates[oracle.Acked]+fates[oracle.Unknown] != c.events || fates[oracle.Acked] < c.events*8/10 {
		t.Errorf("%v of %d events: the test tested little", fates, c.events)
	}
	controls(t, r.oracle)
}

// produce publishes from several connections. Most events are published until they are acknowledged;
// every tenth once only, so that its fate can stay unknown.
func (r *rig) produce(dice *rand.Rand, companies []string, c *campaign) *sync.WaitGroup {
	events := make([]*oracle.Event, c.events)
	for i := range events {
		events[i] = someEvent(dice, i, companies)
	}
	limit := rate.NewLimiter(rate.Limit(c.perSecond), 10)
	var next atomic.Int64
	all := &sync.WaitGroup{}
	for range 8 {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(events) || limit.Wait(r.ctx) != nil {
					return
				}
				if i%10 == 9 {
					r.publish(r.ctx, events[i])
				} else {
					r.persist(r.ctx, events[i])
				}
			}
		})
	}
	return all
}

func names(kind string, n int) (list []string) {
	for i := range n {
		list = append(list, fmt.Sprintf("%s-%d", kind, i))
	}
	return list
}

// controls falsifies the journals of a run that went well: the check must notice.
func controls(t *testing.T, o *oracle.Oracle) {
	t.Helper()
	for want, change := range map[oracle.Kind]func([]oracle.Receipt) []oracle.Receipt{
		oracle.Lost: func(list []oracle.Receipt) []oracle.Receipt {
			var kept []oracle.Receipt
			for _, x := range list {
				if x.Event != list[0].Event || x.Webhook != list[0].Webhook {
					kept = append(kept, x)
				}
			}
			return kept
		},
		oracle.Phantom: func(list []oracle.Receipt) []oracle.Receipt { list[0].Event = "never"; return list },
		oracle.Corrupt: func(list []oracle.Receipt) []oracle.Receipt { list[0].Body[0] ^= 1; return list },
		oracle.Unexplained: func(list []oracle.Receipt) []oracle.Receipt {
			x := list[len(list)-1]
			x.Accepted = true
			y := x
			y.At = y.At.Add(time.Millisecond)
			return append(list, x, y)
		},
	} {
		if len(o.Tampered(change).Check()[want]) == 0 {
			t.Errorf("control: a journal with something %s in it passes for sound", want)
		}
	}
}

// TestCrashControl: the same harness over a server that does lose what it acknowledged. After the
// kill it finds the files of a moment before.
func TestCrashControl(t *testing.T) {
	r := newRig(t, "--max-in-flight", fmt.Sprint(maxInFlight))
	dice := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's dice
	server := r.start()
	var all []string
	for _, topic := range hook.Topics() {
		all = append(all, topic.Name)
	}
	r.subscribe(&endpoint{
		webhook: oracle.Webhook{Company: "company-0", Topics: all}, script: []string{"slow 200ms"}, settings: patient + `, "max_concurrency": 2`,
	})
	publish := func(from, to int) {
		for n := from; n < to; n++ {
			r.persist(r.ctx, someEvent(dice, n, []string{"company-0"}))
		}
	}
	publish(0, 30)
	saved := t.TempDir()
	if err := server.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	copyFiles(t, r.options.Dir, saved)
	if err := server.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	publish(30, 60)
	r.kill()
	copyFiles(t, saved, r.options.Dir)
	r.start()
	eventually(t, time.Minute, "what is left is delivered", func() bool {
		list := r.conservation("company-0", false)
		return len(list) == 1 && list[0].Pending == 0
	})
	if report := r.oracle.Check(); len(report[oracle.Lost]) == 0 {
		t.Errorf("control: a server that lost acknowledged events passes for sound: %s", report)
	}
	r.accounted("company-0") // what is left is
	r.stop()
	r.outsider().exec(`DELETE FROM attempts WHERE "offset" = (SELECT max("offset") - 1 FROM attempts)`)
	r.start()
	if list := r.conservation("company-0", true); list[0].Balanced {
		t.Errorf("control: a store without the trace of a delivery passes for balanced: %+v", list)
	}
	r.stop()
}

// copyFiles makes the store's files in one directory be those of another.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	for _, name := range []string{"atlas-webhooks.db", "atlas-webhooks.db-wal", "atlas-webhooks.db-shm"} {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
