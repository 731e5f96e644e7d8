package httpapi

import (
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// limits gives each company so many requests per second, with a burst of one second's worth, however
// many keys and sessions it has. Publishing has bounds of its own, those of the intake.
type limits struct {
	perSecond int // 0 = no limit

	mu        sync.Mutex
	byCompany map[hook.CompanyKey]*rate.Limiter
}

// take counts a request against its company and says in the answer how many are left.
func (l *limits) take(x *exchange) error {
	if x.caller.operator() || x.caller.publisher() || l.perSecond <= 0 || x.r.Context().Value(uncountedKey{}) != nil {
		return nil
	}
	now := x.api.opt.Now()
	limiter := l.of(x.caller.company)
	allowed := limiter.AllowN(now, 1)
	left := max(0, int(limiter.TokensAt(now)))
	h := x.Header()
	h.Set("RateLimit-Limit", strconv.Itoa(l.perSecond))
	h.Set("RateLimit-Remaining", strconv.Itoa(left))
	h.Set("RateLimit-Reset", "1")
	if allowed {
		return nil
	}
	return &hook.Error{
		Kind: hook.KindLimited, Code: "rate_limited", RetryAfter: time.Second,
		Detail: "a company may make " + strconv.Itoa(l.perSecond) + " requests a second",
	}
}

func (l *limits) of(company hook.CompanyKey) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byCompany == nil || len(l.byCompany) >= maxKnown {
		l.byCompany = map[hook.CompanyKey]*rate.Limiter{}
	}
	limiter := l.byCompany[company]
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Limit(l.perSecond), l.perSecond)
		l.byCompany[company] = limiter
	}
	return limiter
}

// pacer lets something happen to a webhook at most once a second.
type pacer struct {
	mu   sync.Mutex
	last map[hook.WebhookKey]time.Time
}

func (p *pacer) allow(w hook.WebhookKey, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, ok := p.last[w]; ok && now.Sub(last) < time.Second && !now.Before(last) {
		return false
	}
	if p.last == nil || len(p.last) >= maxKnown {
		p.last = map[hook.WebhookKey]time.Time{}
	}
	p.last[w] = now
	return true
}
