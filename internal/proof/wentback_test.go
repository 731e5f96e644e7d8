package proof_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
)

// setback is a way in which a database goes back under its nodes.
type setback struct {
	name  string
	nodes int
	after time.Duration // between the end of the old server and the promotion
	// kept is called when the copy is to be made, and back when it takes the original's place.
	prepare func(f *wentBack) (url string, kept, back func())
	whole   bool // nothing is missing afterwards
}

// wentBack is a fleet whose database goes back.
type wentBack struct {
	*rig
	cluster  *postgrestest.Cluster
	database string
	after    time.Duration
}

func (f *wentBack) do(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// promoted lets a standby take the place of the server that it followed.
func promoted(f *wentBack) (url string, kept, back func()) {
	standby, err := f.cluster.Standby(f.ctx)
	f.do(err)
	f.t.Cleanup(standby.Stop)
	return f.cluster.Either(standby, f.database),
		func() { f.do(standby.Detach(f.ctx)) },
		func() {
			f.do(f.cluster.Kill(f.ctx))
			pause(f.ctx, f.after)
			f.do(standby.Promote(f.ctx))
		}
}

// loaded brings a dump back under the nodes.
func loaded(f *wentBack) (url string, kept, back func()) {
	var file string
	return f.cluster.URL(f.database),
		func() {
			var err error
			file, err = f.cluster.Dump(f.ctx, f.database)
			f.do(err)
		},
		func() { f.do(f.cluster.Load(f.ctx, f.database, file)) }
}

// lostOf is how many events of each company are lost.
const lostOf = 5

// TestDatabaseWentBack is G4 of the test plan: a standby is promoted that lacks the last of what was
// acknowledged, or a dump is restored, while nodes run. What the server in force acknowledges arrives;
// nobody gets what is another company's; the sums are right; and it is said.
func TestDatabaseWentBack(t *testing.T) {
	for _, s := range setbacks {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel() // it waits, mostly
			s.run(t)
		})
	}
}

// begin runs nodes, with a variable in their environment, up to where their database has gone back.
func (s setback) begin(t *testing.T, program, env string) *wentBack {
	t.Helper()
	f := &wentBack{cluster: ownCluster(t), after: s.after}
	f.rig, f.database = newPostgresRig(t, f.cluster)
	f.options.Binary = program
	url, kept, back := s.prepare(f)
	for range s.nodes {
		onPostgres(&f.options, url)
		f.options.Env = append(f.options.Env, env)
		f.options.Dir = t.TempDir()
		f.start()
	}
	f.subscribeAll(f.known())
	f.publishAll("before", f.known(), 4)
	f.settled(f.known(), 30*time.Second)

	kept()
	lost := names("lost", 3)
	f.subscribeAll(lost)
	f.publishAll("lost", append(lost, f.known()...), lostOf)
	f.arrive(30 * time.Second)
	f.oracle.Crashed(time.Now())
	back()
	return f
}

// known are the companies that the database knows before and after.
func (f *wentBack) known() []string { return names("company", 4) }

func (f *wentBack) subscribeAll(companies []string) {
	f.t.Helper()
	for _, company := range companies {
		f.subscribe(&endpoint{webhook: oracle.Webhook{Company: company, Topics: []string{"conversation"}}, settings: patient})
	}
}

func (f *wentBack) publishAll(kind string, companies []string, n int) {
	f.t.Helper()
	for i := range n * len(companies) {
		f.persist(f.ctx, &oracle.Event{ID: fmt.Sprintf("%s-%d", kind, i), Company: companies[i%len(companies)], Topic: "conversation", Data: `{}`})
	}
}

// others come, whose keys would be those of the lost.
func (f *wentBack) others() []string {
	f.t.Helper()
	late := names("late", 3)
	f.insist(late)
	f.subscribeAll(late)
	return late
}

// TestDatabaseWentBackControl: the same under nodes that do not look. What was acknowledged is not delivered,
// or goes to another company.
func TestDatabaseWentBackControl(t *testing.T) {
	t.Parallel() // it waits, mostly
	program, err := armable()
	if err != nil {
		t.Fatal(err)
	}
	f := setback{nodes: 1, prepare: promoted}.begin(t, program, "FAILPOINT="+string(failpoint.Blind)+":1")
	f.publishAll("after", append(f.others(), f.known()...), 2*lostOf)
	leaks := func() bool { return len(f.oracle.Check()[oracle.WrongCompany]) > 0 }
	for began := time.Now(); !leaks() && time.Since(began) < 15*time.Second; {
		pause(f.ctx, 100*time.Millisecond)
	}
	if report := f.oracle.Check(); len(report[oracle.WrongCompany])+len(report[oracle.Lost]) == 0 {
		t.Errorf("control: nodes that do not look pass for sound: %s", report)
	}
	t.Log(f.oracle.Check())
}

func (s setback) run(t *testing.T) {
	f := s.begin(t, binary(t), "")
	known := append(f.others(), f.known()...)
	f.publishAll("after", known, 2*lostOf)
	f.arrive(time.Minute)
	for _, company := range known {
		eventually(t, 30*time.Second, "everything of "+company+" is accounted for", func() bool {
			for _, b := range append(f.conservation(company, false), f.conservation(company, true)...) {
				if !b.Balanced || b.Pending+b.Parked+b.Failed+b.Skipped != 0 || b.Matched != b.Delivered {
					return false
				}
			}
			return true
		})
	}
	if f.leapt = true; !s.whole {
		f.given = int64(lostOf)
	}
	report := f.check()
	t.Log(report)
	if faults := report.Faults(); len(faults) > 0 {
		t.Error(faults)
	}
	f.said(s, f.known())
	for _, x := range f.servers {
		f.stopNode(x)
	}
}

// arrive waits until everything that was acknowledged has arrived.
func (f *wentBack) arrive(within time.Duration) {
	f.t.Helper()
	eventually(f.t, within, "everything arrives that was acknowledged", func() bool { return len(f.oracle.Missing()) == 0 })
}

// insist waits until companies can be made, as who makes them does.
func (f *wentBack) insist(companies []string) {
	f.t.Helper()
	for _, company := range companies {
		eventually(f.t, time.Minute, "the server in force accepts", func() bool {
			status, _, err := f.call(f.ctx, http.MethodPost, "/v1/events", "", fmt.Appendf(nil, `{"company_id": %q, "event": "conversation", "data": {}}`, company))
			return err == nil && status == http.StatusAccepted
		})
	}
}

// said looks where operators and companies look.
func (f *wentBack) said(s setback, companies []string) {
	f.t.Helper()
	var eras struct {
		Data []struct {
			Number      int
			Cause       string
			MissingFrom *time.Time `json:"missing_from"`
			MissingTo   *time.Time `json:"missing_to"`
		}
	}
	f.ask(http.MethodGet, "/v1/eras", "", "", &eras)
	if len(eras.Data) != 2 || eras.Data[0].Cause == "" || s.whole != (eras.Data[0].MissingFrom == nil) || !s.whole && !eras.Data[0].MissingFrom.Before(*eras.Data[0].MissingTo) {
		f.t.Errorf("eras: %+v", eras)
	}
	for _, company := range companies {
		_, answer, err := f.call(f.ctx, http.MethodGet, "/v1/notices", company, nil)
		var notices struct {
			Data []struct{ Kind, Detail string }
		}
		if err := errors.Join(err, json.Unmarshal(answer, &notices)); err != nil {
			f.t.Fatal(err)
		}
		n := 0
		for _, x := range notices.Data {
			if x.Kind == "went_back" {
				n++
			}
		}
		if s.whole != (n == 0) || n > 1 {
			f.t.Errorf("notices of %s: %s", company, answer)
		}
	}
	if log := f.log.tail(); !strings.Contains(log, "the database went back") {
		f.t.Errorf("the log does not say it: %s", log)
	}
	sum := 0
	for _, x := range f.servers {
		sum += strings.Count(f.metrics(x.URL), "atlas_webhooks_store_went_back_total 1\n")
	}
	if sum != 1 {
		f.t.Errorf("%d nodes count that they began an era", sum)
	}
}

// metrics are those of a server.
func (f *wentBack) metrics(url string) string {
	f.t.Helper()
	q, err := http.NewRequestWithContext(f.ctx, http.MethodGet, url+"/metrics", nil)
	f.do(err)
	answer, err := f.client.Do(q)
	f.do(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	f.do(err)
	return string(text)
}
