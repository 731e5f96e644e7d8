// Package storetest is what a store promises, as tests. Every engine runs all of them: what passes
// here may differ in speed, and in nothing else.
package storetest

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// MasterKey is what the suite's stores are sealed with.
const MasterKey = "0123456789abcdef0123456789abcdef"

// Open opens the store that lives in opt.Dir; a second call with the same directory finds what the
// first one left there. The suite closes it.
type Open func(t *testing.T, opt store.Options) (*store.Store, error)

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, test := range []func(*fixture){
		appendGapless, appendDuplicates, appendAllOrNothing, appendSurvivesCancelledNeighbour, outcomesOfStalledCommits, closedStoreRefuses,
		acceptedAtNeverGoesBack,
		tailReadsWithinLimits, notifiesInOrder,
		recordMovesEverything, recordNeverMovesBack, recordSetsPoisonAside, recordKeepsPatience, recordReleasesHeld, recordSettles, recordKeepsTheOrder, recordMakesDueWhatWasParkedSince, recordStatusOfOneEndpoint,
		laneLoadsWhatIsAbove, dueInOrder, dueAfterTheClockWasSetBack, placesTellWhatChanged,
		reopenKeepsEverything, refusesOtherMasterKey, manyReadersAtOnce,
		companiesAppearOnce, companyChanges, topicsAreKept, checksAreCounted, changesAreKept, topicsOfAFile, deadLettersAreKept, deadLettersOfAnyKind, deadLettersAreBounded, keysAreFoundByHash, answersAreGivenTwice, historyIsListed, thingsAreCapped, pastIsPurged, sessionsEnd,
		webhookRoundTrip, webhookDuplicates, webhookLimit, webhookVersions, webhookRepaired, webhookRules, webhookStartsInThePast, webhookActivation,
		webhookResume, webhookDeleted, webhookList, webhookCounts, secretsRotate, secretsExpire, signingKeysRotate,
		eventsAreListed, offsetsOfTimes,
		scheduledEnter, scheduledIdsAreTaken, scheduledAcrossPartitions, scheduledEnterOnce, scheduledAreCapped, scheduledAreCancelled, cancelledInTheLog, cancelledAreSkippedLater, skipsAreRecorded,
		deliveryStatuses, deliveriesByStatus, deliveriesPage, deliveriesByObject, deliverySequences, deliveryDetail, deliveriesEndEarly,
		retryWishes, retryHeld,
		replayLifecycle, replayCovers, replayOfTheUnmatched, replayByTheCurrentRule, ruleReported, replayNumbers,
		feedInSequence, matchesExplain, filtersDecide, standingCounts, lastFailureIsTheLatest, statsMerge,
		conservationHolds, conservationNoticesLoss,
		purgeInSteps, purgeOfOthersLeavesAll, purgeStopsAtUnsettled, purgeFindsWhatComesLate, purgeNumbersOn, eraseDeleted, testsAreKept, agedIsFound, unresolvedIsFound,
	} {
		name := runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name()
		t.Run(name[strings.LastIndex(name, ".")+1:], func(t *testing.T) {
			t.Parallel()
			test(newFixture(t, open))
		})
	}
}

// fixture is a store with one company in it, and a clock that tests move.
type fixture struct {
	*testing.T
	*store.Store
	ctx     context.Context
	open    Open
	opt     store.Options
	company *store.Company

	mu  sync.Mutex
	now time.Time
}

func newFixture(t *testing.T, open Open) *fixture {
	f := &fixture{T: t, ctx: t.Context(), open: open, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	f.opt = store.Options{
		Dir: t.TempDir(), MasterKey: []byte(MasterKey), Now: f.clock, MinFreeDisk: -1,
		Judge: func(_ context.Context, _ hook.CompanyKey, e *hook.Event, filters []string) ([]hook.Judged, error) {
			judged := make([]hook.Judged, len(filters))
			for i, source := range filters {
				judged[i].Matched = strings.Contains(string(e.Data), source)
			}
			return judged, nil
		},
	}
	t.Cleanup(func() { f.Store.Close() })
	f.reopen()
	var err error
	f.company, err = f.Company(f.ctx, "c1")
	if hook.IsKind(err, hook.KindNotFound) {
		f.company, err = f.EnsureCompany(f.ctx, "c1")
	}
	f.must(err)
	return f
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// advance moves the clock.
func (f *fixture) advance(d time.Duration) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
	return f.now
}

func (f *fixture) reopen() {
	f.Helper()
	if f.Store != nil {
		f.must(f.Store.Close())
	}
	s, err := f.open(f.T, f.opt)
	f.must(err)
	f.Store = s
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// refused wants an error of a kind with a code.
func (f *fixture) refused(err error, kind hook.ErrorKind, code string) {
	f.Helper()
	if !hook.IsKind(err, kind) || !strings.Contains(err.Error(), code) {
		f.Fatalf("error %v, want %s %s", err, kind, code)
	}
}

func equal[T any](f *fixture, what string, got, want T) {
	f.Helper()
	if diff := cmp.Diff(want, got, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
		f.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

var audit = store.Audit{Actor: "key_1", RequestID: "r1", Action: "tested"}

// event makes one that is not appended yet.
func (f *fixture) event(id, topic, object, data string) *hook.Event {
	key := hook.ObjectKey(topic, object)
	return &hook.Event{
		ID: id, Company: f.company.Key, CompanyID: f.company.ID, Partition: f.company.Partition, Topic: topic, ObjectKey: key,
		Data: []byte(data), Digest: hook.EventDigest(topic, key, []byte(data)),
	}
}

// publish appends events and returns their offsets.
func (f *fixture) publish(events ...*hook.Event) (offsets []hook.Offset) {
	f.Helper()
	b, err := f.Append(f.ctx, f.company.Partition, events)
	f.must(err)
	for _, a := range b.Appended {
		if a.Conflict || a.Duplicate {
			f.Fatalf("event %s: %+v", a.Event.ID, a)
		}
		offsets = append(offsets, a.Event.Offset)
	}
	return offsets
}

// publishN appends n events of one topic, e1 … en after the prefix, each about an object of its own.
func (f *fixture) publishN(prefix, topic string, n int) []hook.Offset {
	f.Helper()
	events := make([]*hook.Event, n)
	for i := range events {
		id := fmt.Sprintf("%s%d", prefix, i+1)
		events[i] = f.event(id, topic, id, `{"id":"`+id+`"}`)
	}
	return f.publish(events...)
}

func settings(f *fixture, topics ...string) hook.Webhook {
	return hook.Webhook{
		Company: f.company.Key, Endpoint: "https://example.com/" + strings.Join(topics, "+"), Topics: topics, Scheme: hook.SchemeHex, Format: hook.DataString,
		Ordering: hook.Relaxed, MaxConcurrency: 64, Timeout: hook.DefaultTimeout, HTTPVersion: hook.HTTPAuto, RetrySchedule: hook.DefaultRetrySchedule(),
	}
}

func (f *fixture) subscribe(topics ...string) *hook.Webhook {
	f.Helper()
	w, err := f.CreateWebhook(f.ctx, settings(f, topics...), nil, audit)
	f.must(err)
	return w
}

func (f *fixture) update(w *hook.Webhook, resume store.Resume, change func(*hook.Webhook)) *hook.Webhook {
	f.Helper()
	w, err := f.UpdateWebhook(f.ctx, w.Company, w.ID, store.Change{Resume: resume, Audit: audit, Apply: func(w *hook.Webhook) error {
		change(w)
		return nil
	}})
	f.must(err)
	return w
}

func (f *fixture) head() hook.Offset {
	f.Helper()
	head, err := f.Head(f.ctx, f.company.Partition)
	f.must(err)
	return head
}

// attempt is one of a webhook's, at an offset.
func (f *fixture) attempt(w *hook.Webhook, o hook.Offset, number int, sequence int64, outcome hook.Outcome) *hook.Attempt {
	a := &hook.Attempt{
		Webhook: w.Key, Offset: o, Number: number, Sequence: sequence, Kind: hook.Live, Counted: true, Version: w.Version, TimestampText: "1.5",
		Format: hook.DataString, Reused: number > 1, StartedAt: hook.Now(f.clock()), Outcome: outcome, Phases: hook.Phases{Connect: time.Millisecond, Total: 7 * time.Millisecond},
	}
	if outcome == hook.OutcomeDelivered {
		a.StatusCode = 200
	} else {
		a.StatusCode, a.ErrorClass, a.ErrorDetail = 500, hook.ErrServerStatus, "it failed"
		a.AnswerHeader, a.AnswerBody = []byte("X: y\r\n"), []byte("oh\x00no")
	}
	return a
}

func (f *fixture) park(w *hook.Webhook, o hook.Offset, sequence int64, due *time.Time) *hook.Parked {
	p := &hook.Parked{Webhook: w.Key, Kind: hook.Live, Offset: o, Partition: w.Partition, Sequence: sequence, Attempts: 1, DueAt: due, Reason: "status_5xx"}
	if due == nil {
		p.Reason, p.Attempts = "held", 0
	}
	return p
}

func (f *fixture) record(r store.Record) store.Recorded {
	f.Helper()
	r.At = f.clock()
	done, err := f.Record(f.ctx, &r)
	f.must(err)
	return done
}

// move says where a webhook's cursor is now, and what it gained.
func move(w *hook.Webhook, o hook.Offset, sequence, delivered, failed, skipped int64) store.CursorMove {
	return store.CursorMove{Webhook: w.Key, Offset: o, Sequence: sequence, Delivered: delivered, Failed: failed, Skipped: skipped}
}

// deliver records deliveries as made, the cursor after the last of them.
func (f *fixture) deliver(w *hook.Webhook, firstSequence int64, offsets ...hook.Offset) {
	f.Helper()
	r := store.Record{}
	for i, o := range offsets {
		r.Items = append(r.Items, store.Item{Attempt: f.attempt(w, o, 1, firstSequence+int64(i), hook.OutcomeDelivered)})
	}
	n := int64(len(offsets))
	r.Cursors = []store.CursorMove{move(w, offsets[n-1], firstSequence+n-1, n, 0, 0)}
	f.record(r)
}

// sweep moves the partition's low-water mark.
func (f *fixture) sweep(o hook.Offset) {
	f.Helper()
	f.record(store.Record{Swept: map[hook.Partition]hook.Offset{f.company.Partition: o}})
}
