package proof_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/process"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/postgrestest"
)

// shared is a cluster for the tests that do nothing to it, started by the first of them.
var shared struct {
	sync.Once
	cluster *postgrestest.Cluster
	err     error
}

func stopShared() {
	if shared.cluster != nil {
		shared.cluster.Stop()
	}
}

func sharedCluster(t *testing.T) *postgrestest.Cluster {
	t.Helper()
	shared.Do(func() { shared.cluster, shared.err = postgrestest.Start(context.Background()) })
	return started(t, shared.cluster, shared.err)
}

// ownCluster is one that the test may end, kill or cut off.
func ownCluster(t *testing.T) *postgrestest.Cluster {
	t.Helper()
	c, err := postgrestest.Start(t.Context())
	if err == nil {
		t.Cleanup(c.Stop)
	}
	return started(t, c, err)
}

func started(t *testing.T, c *postgrestest.Cluster, err error) *postgrestest.Cluster {
	t.Helper()
	need(t, !errors.Is(err, postgrestest.ErrMissing), "Postgres")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// leaseLasts is how long others wait for a server that has gone without a word.
const leaseLasts = 3 * time.Second

// unhurried is a lease that outlasts a restart of the database, and a machine that is busy: where it
// runs out, what is under way is sent again, and that is not what such a test is about.
var unhurried = []string{"--lease-seconds", "10"}

// newPostgresRig makes a rig whose servers share a database of their own on a cluster.
func newPostgresRig(t *testing.T, c *postgrestest.Cluster, args ...string) (r *rig, database string) {
	t.Helper()
	database, err := c.Database(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	r = newRig(t, append([]string{"--lease-seconds", fmt.Sprint(int(leaseLasts.Seconds()))}, args...)...)
	onPostgres(&r.options, c.URL(database))
	return r, database
}

// onPostgres tells a server where its database is, and what all servers on it must share.
func onPostgres(o *process.Options, url string) {
	o.Key = "awo_" + strings.Repeat("operator", 5)
	o.Env = []string{
		"ATLAS_WEBHOOKS_DATABASE_URL=" + url,
		"ATLAS_WEBHOOKS_MASTER_KEY=" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32))),
	}
}
