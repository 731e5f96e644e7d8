package inbox_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/inbox"
	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

// The test's binary is a receiver too, as a process that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 8 && os.Args[1] == "receiver" {
		if err := receive(os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6], os.Args[7] == "remembers"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// forgetful does each event as often as it comes.
type forgetful struct {
	*inbox.SQLStore
	db *sql.DB
}

func (s forgetful) Once(ctx context.Context, _ *webhook.Event, run func(*sql.Tx) error) (bool, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	if err := run(tx); err != nil {
		return false, errors.Join(err, tx.Rollback())
	}
	return true, tx.Commit()
}

// receive does the events of a webhook into a SQLite file. Some of them fail for once, and of some that were
// done the answer says that they were not.
func receive(address, path, secret, url, key string, remembers bool) error {
	db, err := sql.Open("sqlite", sqlite(path))
	if err != nil {
		return err
	}
	api, err := client.New(client.Config{URL: url, Key: key})
	if err != nil {
		return err
	}
	store := inbox.NewSQLStore(db, inbox.SQLite)
	if err := store.Create(context.Background()); err != nil {
		return err
	}
	if _, err := db.ExecContext(context.Background(), `CREATE TABLE IF NOT EXISTS done (n INTEGER PRIMARY KEY, event_id TEXT, object_id TEXT, sequence INTEGER)`); err != nil {
		return err
	}
	x := &inbox.Inbox{Store: store, Client: api, Handle: func(ctx context.Context, tx *sql.Tx, e *webhook.Event) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO done (event_id, object_id, sequence) VALUES (?, ?, ?)`, e.ID, e.ObjectID, e.Sequence)
		if err == nil && rand.IntN(50) == 0 { //nolint:gosec // a test's dice
			err = errors.New("a handler failed, after it wrote")
		}
		return err
	}}
	if !remembers {
		x.Store = forgetful{store, db}
	}
	lies := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e, _ := webhook.FromContext(r.Context()); rand.IntN(10) == 0 && x.Take(r.Context(), e) == nil { //nolint:gosec // a test's dice
			http.Error(w, "done, and nobody knows", http.StatusInternalServerError)
			return
		}
		x.ServeHTTP(w, r)
	})
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("listening\n"); err != nil {
		return err
	}
	v := &webhook.Verifier{Secrets: []string{secret}}
	return (&http.Server{Handler: v.Handler(lies), ReadHeaderTimeout: time.Minute}).Serve(l)
}

// A receiver that is killed again and again, and whose handlers fail, has done each event once in the end, those
// of an object in order, and misses none.
func TestKilledReceiver(t *testing.T) {
	done, twice, disordered := killed(t, 300, 5, "remembers")
	if done != 300 || twice > 0 || disordered > 0 {
		t.Errorf("%d of 300 events done, %d twice, %d pairs of an object in the wrong order", done, twice, disordered)
	}
}

// A control: who does not remember does some twice.
func TestKilledReceiverControl(t *testing.T) {
	if done, twice, _ := killed(t, 100, 1, "forgets"); done != 100 || twice == 0 {
		t.Errorf("%d of 100 events done, %d twice: the test proves nothing", done, twice)
	}
}

// killed publishes events for a receiver that is killed meanwhile, and counts what it did.
func killed(t *testing.T, events, kills int, how string) (done, twice, disordered int) {
	t.Helper()
	const objects = 20
	s := apptest.Start(t)
	operator, err := client.New(client.Config{URL: s.URL, Key: s.Key, Company: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	key, err := operator.CreateKey(t.Context(), "c1", client.KeyCreate{Scope: client.Read})
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close() // the receiver has it from now on
	w, err := operator.CreateWebhook(t.Context(), client.WebhookCreate{
		Endpoint: "http://" + address, Events: []string{"customer"}, RetryScheduleSeconds: []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2}, Ordering: "object",
	})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "inbox.db")
	start := func() (kill func()) {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "receiver", address, path, w.SigningSecret, s.URL, key.Key, how) //nolint:gosec // this test's own binary
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill = func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, "listening") {
			kill()
			t.Fatalf("the receiver says %q, %v", line, err)
		}
		return kill
	}
	kill := start()
	defer func() { kill() }()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for i := range events {
		if _, err := operator.PublishEvent(t.Context(), client.Publish{
			CompanyID: "c1", Event: "customer", ID: fmt.Sprint("e", i), ObjectID: fmt.Sprint("o", i%objects), Data: map[string]int{"i": i},
		}); err != nil {
			t.Fatal(err)
		}
		if i%(events/kills) == events/kills/2 {
			kill()
			kill = start()
		}
		if i%4 == 0 {
			<-pause.C
		}
	}
	db, err := sql.Open("sqlite", sqlite(path))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for began := time.Now(); done < events && time.Since(began) < 2*time.Minute; <-pause.C {
		if err := db.QueryRowContext(t.Context(), `SELECT count(DISTINCT event_id) FROM done`).Scan(&done); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) - count(DISTINCT event_id) FROM done`).Scan(&twice); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM done a JOIN done b ON a.object_id = b.object_id AND a.n < b.n AND a.sequence > b.sequence`).Scan(&disordered); err != nil {
		t.Fatal(err)
	}
	return done, twice, disordered
}
