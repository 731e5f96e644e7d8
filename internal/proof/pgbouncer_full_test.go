//go:build full

package proof_test

import (
	"fmt"
	"testing"
	"time"
)

// TestCrashPgBouncer is [TestCrashPostgres] with PgBouncer between: sessions of a server that was killed are
// handed on, and must not carry anything of it.
func TestCrashPgBouncer(t *testing.T) {
	c := sharedCluster(t)
	b, err := c.PgBouncer(t.Context(), "pool_mode=session", "default_pool_size=60")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	r, database := newPostgresRig(t, c, "--max-in-flight", fmt.Sprint(maxInFlight))
	onPostgres(&r.options, b.URL(database))
	crash(t, r, campaign{events: 5000, webhooks: 20, companies: 4, kills: 10, perSecond: 200, between: 1500 * time.Millisecond})
}
