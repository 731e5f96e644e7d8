package httpapi

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// Each delivery that waits is counted once, by what keeps it first: its owner, a fault of ours, the endpoint.
func TestWaiting(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	fault := "no resolver"
	backlog := client.Waiting{Count: 7, Exact: true, OldestAt: &at}
	for name, x := range map[string]struct {
		status hook.Status
		health client.Health
		store  store.Standing
		want   map[client.Cause]client.Waiting
	}{
		"nothing":   {hook.Active, client.Health{}, store.Standing{BacklogExact: true}, map[client.Cause]client.Waiting{}},
		"its turn":  {hook.Active, client.Health{}, store.Standing{Backlog: 7, BacklogExact: true, OldestInBacklogAt: &at}, map[client.Cause]client.Waiting{client.CausePending: backlog}},
		"throttled": {hook.Active, client.Health{ThrottledUntil: &at}, store.Standing{Backlog: 7, BacklogExact: true, OldestInBacklogAt: &at}, map[client.Cause]client.Waiting{client.CauseThrottled: backlog}},
		"down": {
			hook.Active,
			client.Health{State: client.Down, ThrottledUntil: &at},
			store.Standing{Backlog: 7, BacklogExact: true, OldestInBacklogAt: &at},
			map[client.Cause]client.Waiting{client.CauseDown: backlog},
		},
		"a fault of ours": {
			hook.Active,
			client.Health{State: client.Down, OwnFault: &fault},
			store.Standing{Backlog: 7, BacklogExact: true, OldestInBacklogAt: &at},
			map[client.Cause]client.Waiting{client.CauseOwnFault: backlog},
		},
		"inactive": {
			hook.Inactive,
			client.Health{State: client.Down},
			store.Standing{Backlog: 10_000, OldestInBacklogAt: &at},
			map[client.Cause]client.Waiting{client.CausePaused: {Count: 10_000, OldestAt: &at}},
		},
		"parked and held": {
			hook.Active,
			client.Health{},
			store.Standing{Parked: 5, Held: 2, BacklogExact: true, OldestRetryAt: &at},
			map[client.Cause]client.Waiting{client.CauseParked: {Count: 3, Exact: true, OldestAt: &at}, client.CauseHeld: {Count: 2, Exact: true}},
		},
	} {
		if diff := cmp.Diff(x.want, waiting(&hook.Webhook{Status: x.status}, &x.health, &x.store)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
