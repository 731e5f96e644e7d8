package retry

import (
	"fmt"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

func TestDecideEveryStatus(t *testing.T) {
	schedule := hook.DefaultRetrySchedule()
	ask := 7 * time.Second
	for status := range 1000 {
		for _, after := range []*time.Duration{nil, &ask} {
			for _, fresh := range []bool{false, true} {
				class := hook.ErrOtherStatus
				if status/100 == 2 {
					class = hook.ErrNone
				}
				d := Decide(Answer{StatusCode: status, Class: class, RetryAfter: after}, Standing{Schedule: schedule, Fresh: fresh}, 0.5)
				want, wait := hook.OutcomeRetry, 5*time.Second
				switch {
				case status/100 == 2:
					want, wait = hook.OutcomeDelivered, 0
				case status == 410 && !fresh:
					want, wait = hook.OutcomeGone, 0
				case status != 0 && after != nil:
					want, wait = hook.OutcomeThrottled, ask
				case status == 429 || status == 503:
					want, wait = hook.OutcomeThrottled, time.Second
				}
				if d.Outcome != want || d.Wait != wait || d.Reason == "" {
					t.Fatalf("status %d, Retry-After %v, fresh %v: %+v, want %s after %s", status, after, fresh, d, want, wait)
				}
				if d.Counted != (want != hook.OutcomeThrottled) || d.Gate != (want == hook.OutcomeThrottled) || d.Disable != (want == hook.OutcomeGone) {
					t.Fatalf("status %d: counted, gate or disable wrong: %+v", status, d)
				}
			}
		}
	}
}

func TestDecideEffects(t *testing.T) {
	for status, want := range map[int]Effect{
		0: Failure, 101: Failure, 200: Success, 299: Success, 302: Alive, 400: Alive, 401: Failure, 403: Failure, 404: Failure,
		409: Alive, 410: Alive, 418: Alive, 422: Alive, 429: Alive, 500: Failure, 502: Failure, 503: Failure, 504: Failure,
	} {
		class := hook.ErrOtherStatus
		if status/100 == 2 {
			class = hook.ErrNone
		}
		if d := Decide(Answer{StatusCode: status, Class: class}, Standing{Schedule: hook.DefaultRetrySchedule()}, 0); d.Effect != want {
			t.Errorf("status %d: effect %d, want %d", status, d.Effect, want)
		}
	}
}

func TestScheduleRunsOutAfterItsLastStep(t *testing.T) {
	schedule := hook.DefaultRetrySchedule()
	for step := range len(schedule) + 2 {
		for _, dice := range []float64{0, 0.25, 0.5, 0.999999} {
			d := Decide(Answer{Class: hook.ErrConnect}, Standing{Schedule: schedule, Step: step}, dice)
			if step >= len(schedule) {
				if d.Outcome != hook.OutcomeFailed || !d.Counted {
					t.Errorf("step %d: %+v, want failed", step, d)
				}
				continue
			}
			low, high := schedule[step]*8/10, schedule[step]*12/10
			if d.Outcome != hook.OutcomeRetry || d.Wait < low || d.Wait > high {
				t.Errorf("step %d, dice %v: %+v, want a wait in %s…%s", step, dice, d, low, high)
			}
		}
	}
}

func TestProbesUseNoStepEvenAtTheEnd(t *testing.T) {
	schedule := hook.DefaultRetrySchedule()
	for step := range len(schedule) + 2 {
		d := Decide(Answer{Class: hook.ErrTimeout}, Standing{Schedule: schedule, Step: step, Probe: true}, 0.5)
		if d.Outcome != hook.OutcomeRetry || d.Counted {
			t.Errorf("step %d: %+v, want an uncounted retry", step, d)
		}
	}
}

func TestOwnFaultIsNotRecorded(t *testing.T) {
	d := Decide(Answer{Class: hook.ErrOwnFault}, Standing{Schedule: hook.DefaultRetrySchedule(), OwnFaults: 3}, 0.5)
	if d.Outcome != "" || d.Counted || !d.Gate || d.Effect != Neutral || d.Wait != 4*time.Second {
		t.Errorf("%+v", d)
	}
}

// A kept connection that ended says nothing of the endpoint, and costs nothing.
func TestLostIsRecordedAndNotCounted(t *testing.T) {
	d := Decide(Answer{Class: hook.ErrReset, Lost: true}, Standing{Schedule: hook.DefaultRetrySchedule(), Step: 2}, 0.5)
	if d.Outcome != hook.OutcomeRetry || d.Counted || d.Gate || d.Shrink || d.Disable || d.Effect != Neutral || d.Wait != 0 {
		t.Errorf("%+v", d)
	}
}

func TestRetryAfterBounds(t *testing.T) {
	for _, test := range []struct{ ask, want time.Duration }{
		{time.Second, time.Second}, {48 * time.Hour, 24 * time.Hour}, {0, time.Second}, {-time.Hour, time.Second},
	} {
		d := Decide(Answer{StatusCode: 503, RetryAfter: &test.ask}, Standing{Schedule: hook.DefaultRetrySchedule()}, 0.5)
		if d.Wait != test.want {
			t.Errorf("asked for %s: wait %s, want %s", test.ask, d.Wait, test.want)
		}
	}
}

func TestPacesGrowAndEnd(t *testing.T) {
	var throttles, probes string
	for n := range 10 {
		d := Decide(Answer{StatusCode: 429}, Standing{Schedule: hook.DefaultRetrySchedule(), Throttles: n}, 0.5)
		throttles += fmt.Sprint(d.Wait, " ")
		probes += fmt.Sprint(ProbeWait(n), " ")
	}
	if want := "1s 2s 4s 8s 16s 32s 1m4s 2m8s 4m16s 5m0s "; throttles != want {
		t.Errorf("throttles: %s, want %s", throttles, want)
	}
	if want := "10s 20s 40s 1m20s 2m40s 5m0s 5m0s 5m0s 5m0s 5m0s "; probes != want {
		t.Errorf("probes: %s, want %s", probes, want)
	}
}

// What three, and ten, answers to one event that ask to wait come to, alone and not.
func TestThrottledEvent(t *testing.T) {
	ask := 3 * time.Hour
	for here := range 14 {
		for _, others := range []bool{false, true} {
			for _, after := range []*time.Duration{nil, &ask} {
				for code, effect := range map[int]Effect{429: Alive, 503: Failure} {
					for step, schedule := range map[int][]time.Duration{0: {time.Hour}, 1: {time.Hour}} {
						s := Standing{Here: here, Others: others, Throttles: 2, Step: step, Schedule: schedule}
						got := Decide(Answer{StatusCode: code, RetryAfter: after}, s, 0.5)
						want := Decision{Outcome: hook.OutcomeThrottled, Throttled: true, Wait: 4 * time.Second, Gate: true, Shrink: true, Slower: code == 429, Effect: effect}
						if after != nil {
							want.Wait = ask
						}
						switch {
						case others && here >= 9:
							want = Decision{Outcome: hook.OutcomeRetry, Throttled: true, Counted: true, Wait: time.Hour, Effect: Alive}
							if after != nil {
								want.Wait = ask
							}
							if step == 1 {
								want.Outcome = hook.OutcomeFailed
								if after == nil {
									want.Wait = 0
								}
							}
						case others && here >= 3:
							want.Gate, want.Shrink, want.Slower, want.Effect = false, false, false, Alive
							if after == nil {
								want.Wait = min(time.Second<<here, 5*time.Minute)
							}
						default:
							want.Aside = here >= 2
						}
						if got.Reason == "" {
							t.Errorf("%+v: no reason", s)
						}
						if got.Reason = ""; got != want {
							t.Errorf("%d, %+v, Retry-After %v: %+v, want %+v", code, s, after, got, want)
						}
					}
				}
			}
		}
	}
}
