package advice

import (
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

func TestSentence(t *testing.T) {
	at := time.Date(2026, 11, 29, 3, 4, 5, 0, time.UTC)
	failed := func(status int, class hook.ErrorClass, detail string) *Failure {
		f := FailureOf(&hook.Attempt{Outcome: hook.OutcomeRetry, StatusCode: status, ErrorClass: class, ErrorDetail: detail, StartedAt: at}, &hook.Webhook{Endpoint: "https://example.com/"})
		return &f
	}
	unauthorized := failed(401, hook.ErrClientStatus, "the receiver answered 401 Unauthorized")
	missing := failed(404, hook.ErrClientStatus, "the receiver answered 404 Not Found")
	expired := failed(0, hook.ErrTLS, "TLS 1.3: the certificate expired on 27 November 2026, 2 days ago")
	busy := &Failure{Detail: "the receiver answered 429 Too Many Requests", Advice: "Slow down.", At: at}
	for want, s := range map[string]Standing{
		"Failing since 2026-11-29 03:04 UTC, 12 failures in a row: the receiver answered 401 Unauthorized. " + byStatus[401]: {Failing: true, Failures: 12, Since: at, Last: unauthorized},
		"Down since 2026-11-29 03:04 UTC, 1 failure in a row: " + expired.Detail + ". " + expired.Advice + " It is probed; with the first success all goes on. 1 event waits.": {
			Down: true, Failures: 1, Since: at, Last: expired, Waiting: 1,
		},
		"Down, 10 failures in a row. It is probed; with the first success all goes on.":                           {Down: true, Failures: 10, Waiting: -1},
		"The last attempt failed, at 2026-11-29 03:04 UTC: the receiver answered 404 Not Found. " + byStatus[404]: {LastSuccess: at.Add(-time.Second), Last: missing},
		"Healthy: the last success was at 2026-11-29 03:04 UTC.":                                                  {LastSuccess: at, Last: missing},
		"INACTIVE: the receiver answered 410 Gone. Set it ACTIVE. 3 events wait; they are sent when it is set ACTIVE.": {
			Status: hook.Inactive, StatusReason: hook.ReasonGone, Last: &Failure{Detail: "the receiver answered 410 Gone", Advice: "Set it ACTIVE."}, Waiting: 3,
		},
		"INACTIVE after five days without a success: the receiver answered 401 Unauthorized. " + byStatus[401] + " Then set it ACTIVE. 2 events wait; they are sent then.": {
			Status: hook.Inactive, StatusReason: hook.ReasonFailing, Down: true, Last: unauthorized, Waiting: 2,
		},
		"INACTIVE: switched off by its owner. 2 events wait; set ACTIVE, resume says whether they are sent or skipped.": {Status: hook.Inactive, Waiting: 2},
		"PAUSED by its owner: nothing is sent. 2 events wait; they are sent when it is set ACTIVE.":                     {Status: hook.Paused, Failing: true, Waiting: 2},
		"Throttled by the endpoint until 2026-11-29 03:04 UTC: the receiver answered 429 Too Many Requests. Slow down.": {Throttled: at, Last: busy},
		"As many deliveries wait to be retried as may, so newer events wait too: the receiver answered 429 Too Many Requests. Slow down. 9 events wait.": {
			ParkedFull: true, Last: busy, Waiting: 9,
		},
		"Held up by a fault of ours, not counted: too many open files. It goes on by itself when that is over.": {Down: true, OwnFault: "a fault of ours, not counted: too many open files"},
		"Nothing was sent yet.": {},
	} {
		if got := Sentence(&s); got != want {
			t.Errorf("%q\nwant %q", got, want)
		}
	}
}
