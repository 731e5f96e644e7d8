package deliver

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver/lane"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/send"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// endpoint is one of the receivers of the simulated world. It changes its mood now and then.
type endpoint struct {
	mood  mood
	often float64   // how often it does what the mood says
	until time.Time // when the mood changes
}

type mood int

const (
	sound mood = iota
	dead
	failing
	throttling
	choosy
	beyondOurFault // what we cannot do ourselves
	gone
	locked
	moods
)

// longestAsk is the longest Retry-After that endpoints ask for.
const longestAsk = 24 * time.Hour

// answer is what the endpoint of a webhook says now.
func (s *simulation) answer(key hook.WebhookKey) send.Result {
	e := s.endpoints[key]
	if !s.now.Before(e.until) {
		*e = s.endpoint()
	}
	if !s.chance(e.often) && e.mood != dead {
		return status(200 + s.dice.IntN(5))
	}
	switch e.mood {
	case dead:
		return send.Result{Class: []hook.ErrorClass{hook.ErrConnect, hook.ErrTimeout}[s.dice.IntN(2)]}
	case failing:
		return status(500 + s.dice.IntN(3))
	case throttling:
		r := status([]int{429, 503}[s.dice.IntN(2)])
		if s.chance(0.5) {
			r.HasRetryAfter = true
			r.RetryAfter = []time.Duration{0, time.Second, time.Minute, time.Hour, longestAsk}[s.dice.IntN(5)]
		}
		return r
	case choosy:
		return status([]int{400, 409, 418, 422}[s.dice.IntN(4)])
	case beyondOurFault:
		return send.Result{Class: hook.ErrOwnFault}
	case gone:
		return status(410)
	case locked:
		return status([]int{401, 403, 404}[s.dice.IntN(3)])
	case sound, moods:
	}
	return status(200)
}

// patient is what a receiver answers to a stubborn event.
func (s *simulation) patient() send.Result {
	r := status([]int{429, 503}[s.dice.IntN(2)])
	if s.chance(0.5) {
		r.HasRetryAfter, r.RetryAfter = true, []time.Duration{0, time.Second, time.Minute}[s.dice.IntN(3)]
	}
	return r
}

func (s *simulation) endpoint() endpoint {
	lasts := time.Duration(math.Pow(10, 5*s.dice.Float64())) * 10 * time.Second // up to eleven days
	return endpoint{mood(s.dice.IntN(int(moods))), s.dice.Float64(), s.now.Add(lasts)}
}

// create subscribes a webhook, to what comes or from a moment in the past.
func (s *simulation) create() {
	key := hook.WebhookKey(len(s.memory.webhooks) + 1)
	h := hook.Webhook{
		Key: key, ID: fmt.Sprint("wh_", key), Company: hook.CompanyKey(1 + s.dice.IntN(s.knobs.companies)), Status: hook.Active,
		Timeout: hook.DefaultTimeout, Version: 1, EndpointVersion: 1, EndpointSince: s.wall(),
	}
	s.settings(&h)
	from := s.memory.head()
	if purged := s.memory.purged[h.Company]; s.chance(0.3) && from > purged {
		from = purged + hook.Offset(s.dice.IntN(int(from-purged)))
	}
	s.memory.create(h, from, s.topics(), s.filter())
	e := s.endpoint()
	s.endpoints[key] = &e
	if s.watch != nil {
		s.watch[key] = newWatch()
	}
}

// settings are those that an owner may change at any time.
func (s *simulation) settings(h *hook.Webhook) {
	h.Ordering = []hook.Ordering{hook.Relaxed, hook.ObjectOrder, hook.WebhookOrder}[s.dice.IntN(3)]
	h.MaxConcurrency = 1 + s.dice.IntN(8)
	h.RateLimit = []float64{0, 0, 0, 0.1, float64(1 + s.dice.IntN(20))}[s.dice.IntN(5)]
	h.RetrySchedule = []time.Duration{time.Second, 5 * time.Second, time.Minute, time.Hour, time.Hour}[:s.dice.IntN(6)]
}

// topics are some of the first four.
func (s *simulation) topics() hook.TopicSet {
	var names []string
	bits := 1 + s.dice.IntN(15)
	for i, t := range hook.Topics()[:4] {
		if bits&(1<<i) != 0 {
			names = append(names, t.Name)
		}
	}
	return hook.MatchTopics(names)
}

func (s *simulation) filter() string { return []string{"", "", "odd", "even"}[s.dice.IntN(4)] }

// mutate does what owners do.
func (s *simulation) mutate() {
	key := s.memory.keys[s.dice.IntN(len(s.memory.keys))]
	w := s.memory.webhooks[key]
	if w.deleted {
		if len(s.memory.keys) < 20 {
			s.create()
		}
		return
	}
	what := s.dice.IntN(12)
	s.log("change %d of webhook %d", what, key)
	switch what {
	case 0:
		s.memory.change(key, func(w *memoryWebhook) { w.hook.Status = []hook.Status{hook.Paused, hook.Inactive}[s.dice.IntN(2)] })
	case 1, 2:
		s.activate(key)
	case 3:
		topics, filter := s.topics(), s.filter()
		s.memory.change(key, func(w *memoryWebhook) {
			w.rules = slices.DeleteFunc(w.rules, func(r hook.Rule) bool { return r.From == s.memory.head()+1 })
			w.rules = append(w.rules, hook.Rule{Webhook: key, From: s.memory.head() + 1, Topics: topics, Filter: filter})
		})
	case 4:
		s.redirect(key)
	case 5:
		if len(s.memory.keys) < 20 {
			s.create()
		}
	case 6:
		if s.chance(0.2) {
			s.memory.change(key, func(w *memoryWebhook) { w.deleted = true })
		}
	case 7:
		s.retry(key)
	case 8, 10, 11:
		s.replay(key)
	case 9:
		s.cancel()
	}
	s.commits = append(s.commits, commit{0, nil, s.memory.version})
}

// redirect gives a webhook another endpoint and other settings.
func (s *simulation) redirect(key hook.WebhookKey) {
	before := s.memory.webhooks[key].hook.Ordering
	s.memory.change(key, func(w *memoryWebhook) {
		s.settings(&w.hook)
		w.forget(s.wall())
		w.allDue(s.wall())
	})
	if before != s.memory.webhooks[key].hook.Ordering {
		s.watch[key].ordered = s.memory.head()
	}
	*s.endpoints[key] = s.endpoint()
}

// allDue makes what waits for a retry due.
func (w *memoryWebhook) allDue(now time.Time) {
	for k, p := range w.parked {
		if p.DueAt != nil && p.DueAt.After(now) {
			p.DueAt, p.ParkedAt, p.Throttles = &now, now, 0
			w.parked[k] = p
		}
	}
}

// forget starts with a clean record of health, as a new endpoint does.
func (w *memoryWebhook) forget(now time.Time) {
	w.hook.EndpointVersion++
	w.hook.EndpointSince, w.hook.UpdatedAt = now, now
	w.cursor.FailingSince, w.cursor.ProbeAt, w.cursor.ConsecutiveFailures, w.cursor.ProbeStep = nil, nil, 0, 0
	w.cursor.FailingHours, w.cursor.LastFailingHour, w.cursor.Gate = 0, 0, hook.Gate{}
}

func (s *simulation) activate(key hook.WebhookKey) {
	now := s.chance(0.5)
	if s.memory.webhooks[key].hook.Status == hook.Active {
		return
	}
	s.memory.change(key, func(w *memoryWebhook) {
		w.hook.Status, w.hook.StatusReason = hook.Active, ""
		w.forget(s.wall())
		if place := s.memory.place(w); now && s.memory.head() > place {
			w.skips = append(w.skips, store.SkipRange{From: place + 1, To: s.memory.head(), Reason: "resumed_now"})
		}
	})
	if now {
		s.watch[key].ordered = s.memory.head()
	}
}

// retry asks for one delivery again, as the API would.
func (s *simulation) retry(key hook.WebhookKey) {
	w := s.memory.webhooks[key]
	if len(w.deliveries) == 0 || w.hook.Status == hook.Inactive {
		return
	}
	i := s.dice.IntN(len(w.deliveries))
	d, now := w.deliveries[i], s.wall()
	o := d.event.Offset
	if o <= s.memory.purged[w.hook.Company] {
		return
	}
	place := lane.Key{Kind: hook.Manual, Offset: o}
	p := hook.Parked{Webhook: key, Kind: hook.Manual, Offset: o, Attempts: d.number(), ObjectKey: d.event.ObjectKey, Sequence: int64(i + 1)}
	switch s.memory.settled(w, d) {
	case pending:
		return
	case parked:
		place = lane.Key{Kind: hook.Live, Offset: o}
		if p = w.parked[place]; p.DueAt == nil { // held: the first of its object goes
			for k, x := range w.parked {
				if k.Kind == hook.Live && x.ObjectKey == p.ObjectKey && k.Offset < place.Offset {
					place, p = k, x
				}
			}
		}
	case delivered, failed, skipped:
		if x, there := w.parked[place]; there {
			p = x
		}
	}
	p.DueAt, p.ParkedAt, p.Reason = &now, now, "requested"
	s.memory.touch(key, func(w *memoryWebhook) { w.parked[place] = p })
	if s.chance(0.5) { // else the configuration's version tells
		s.core.kick(key)
	}
}

func (s *simulation) replayOf(key hook.WebhookKey) *store.Replay {
	for _, r := range s.memory.replays {
		if r.Webhook == key && r.Status == store.ReplayRunning {
			return r
		}
	}
	return nil
}

func (s *simulation) replay(key hook.WebhookKey) {
	w := s.memory.webhooks[key]
	to := s.memory.place(w)
	if s.replayOf(key) != nil || to == 0 || w.hook.Status == hook.Inactive {
		return
	}
	id := int64(len(s.memory.replays) + 1)
	s.memory.replays = append(s.memory.replays, &store.Replay{
		Key: id, ID: fmt.Sprint("rpl_", id), Webhook: key, Status: store.ReplayRunning,
		NewReplay: store.NewReplay{Rate: []float64{0, 0.5, 10}[s.dice.IntN(3)]}, FromOffset: 1 + hook.Offset(s.dice.IntN(int(to))), ToOffset: to,
	})
	s.memory.touch(key, func(*memoryWebhook) {})
}

// cancel ends one of the replays that run.
func (s *simulation) cancel() {
	running := slices.DeleteFunc(slices.Clone(s.memory.replays), func(r *store.Replay) bool {
		return r.Status != store.ReplayRunning || s.memory.webhooks[r.Webhook].deleted
	})
	if len(running) == 0 {
		return
	}
	r := running[s.dice.IntN(len(running))]
	r.Status = store.ReplayCancelled
	s.memory.touch(r.Webhook, func(*memoryWebhook) { s.memory.freeCancelled(r) })
	s.cancelled[r.Key] = s.memory.version
	s.commits = append(s.commits, commit{0, nil, s.memory.version})
	s.log("replay %d is cancelled", r.Key)
}

// retain gives up and forgets what is too old.
func (s *simulation) retain() {
	s.upkeep = s.now.Add(time.Duration(1+s.dice.IntN(120)) * time.Minute)
	now := s.wall()
	for c := range s.knobs.companies {
		company, before := hook.CompanyKey(c+1), now.Add(-s.knobs.retention)
		s.memory.expire(company, before, now)
		s.memory.purge(company, before)
	}
	s.commits = append(s.commits, commit{0, nil, s.memory.version})
}
