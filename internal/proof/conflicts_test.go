package proof_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/proof/oracle"
)

// TestConflicts: the database breaks transactions off, at any statement and at the commit, in favour
// of others that do not exist. Nobody notices.
func TestConflicts(t *testing.T) {
	t.Parallel() // it waits, mostly
	cluster := sharedCluster(t)
	r, database := newPostgresRig(t, cluster)
	r.start()
	companies := names("company", 4)
	sound(r, companies)
	for _, statement := range []string{
		`CREATE SEQUENCE broken_off`,
		`CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF random() < 0.05 THEN
				PERFORM nextval('broken_off'); -- no rollback takes this back
				IF random() < 0.5 THEN
					RAISE EXCEPTION USING ERRCODE = '40001';
				END IF;
				RAISE EXCEPTION USING ERRCODE = '40P01';
			END IF;
			RETURN NULL;
		END $$`,
		`CREATE TRIGGER break_off AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION break_off()`,
		`CREATE TRIGGER break_off AFTER INSERT ON attempts FOR EACH STATEMENT EXECUTE FUNCTION break_off()`,
		`CREATE TRIGGER break_off AFTER UPDATE ON owners FOR EACH STATEMENT EXECUTE FUNCTION break_off()`,
		`CREATE CONSTRAINT TRIGGER break_off_commit AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION break_off()`,
		`CREATE CONSTRAINT TRIGGER break_off_commit AFTER UPDATE ON owners DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION break_off()`,
		`CREATE CONSTRAINT TRIGGER break_off_commit AFTER UPDATE ON webhooks DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION break_off()`,
	} {
		if err := cluster.Exec(r.ctx, database, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	f := r.flow(rand.New(rand.NewPCG(1, 8)), companies, 300) //nolint:gosec // a test's dice
	for range 20 {
		pause(r.ctx, 150*time.Millisecond)
		// A change of the configuration, too.
		r.subscribe(&endpoint{webhook: oracle.Webhook{Company: "company-of-changes", Topics: []string{hook.Topics()[0].Name}}, settings: patient})
	}
	f.end()
	r.settled(companies, time.Minute)
	r.foundInLog(companies)
	r.stop()
	if report := r.oracle.Check(); len(report) > 0 {
		t.Error(report)
	}
	var broken int
	conn, err := pgx.Connect(r.ctx, cluster.URL(database))
	if err == nil {
		defer conn.Close(r.ctx)
		err = conn.QueryRow(r.ctx, `SELECT last_value FROM broken_off`).Scan(&broken)
	}
	if err != nil {
		t.Fatal(err)
	}
	if broken < 50 {
		t.Errorf("%d transactions were broken off: the test tested little", broken)
	}
	t.Logf("%d transactions were broken off", broken)
}
