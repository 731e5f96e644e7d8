package httpapi

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/webhook"
)

type computedIn struct {
	DeliveryPath
	Body client.SignatureComputed
}

func (a *API) explainSignature(ctx context.Context, x *exchange, in *computedIn) (*struct{ Body client.SignatureExplained }, error) {
	w, d, err := a.delivery(ctx, x, &in.DeliveryPath)
	if err != nil {
		return nil, err
	}
	attempt, err := attemptNumbered(d, in.Body.Attempt)
	if err != nil {
		return nil, err
	}
	leave, err := a.searches.enter(ctx, x.company.Key)
	if err != nil {
		return nil, err
	}
	defer leave()
	// Reading the secret is what is written down.
	audit := x.audit("delivery.signature_explained", map[string]any{"event_id": in.EventID})
	if w.Secrets, err = a.opt.Store.Secrets(ctx, x.company.Key, in.ID, audit); err != nil {
		return nil, err
	}
	sent := sentRequest{webhook: w, event: d.Event, attempt: attempt, agent: a.opt.Version}
	got, err := sent.explain(in.Body.Computed)
	if err != nil {
		return nil, err
	}
	shape := client.SignatureExplained{Attempt: attempt.Number, Right: got.Right, Found: got.Found, Complete: !got.Cut, Mistakes: []client.Mistake{}, Formula: orNull(got.Formula)}
	for _, m := range got.Mistakes {
		shape.Mistakes = append(shape.Mistakes, client.Mistake(m))
	}
	return &struct{ Body client.SignatureExplained }{shape}, nil
}

// attemptNumbered is the latest attempt of a number, or with 0 the latest of all.
func attemptNumbered(d *store.DeliveryDetail, number int) (*hook.Attempt, error) {
	for i := len(d.History) - 1; i >= 0; i-- {
		if number == 0 || d.History[i].Number == number {
			return &d.History[i], nil
		}
	}
	if number == 0 {
		return nil, hook.Refuse(hook.KindConflict, "not_attempted", "this event was not sent yet: there is no request to compare with")
	}
	return nil, hook.Invalid("attempt", "unknown_attempt", "this delivery has no attempt %d, or it is not kept any more", number)
}

// explain searches for the way to what somebody computed for this request.
func (s *sentRequest) explain(computed string) (webhook.Computed, error) {
	r := s.request()
	header, err := r.Header()
	if err != nil {
		return webhook.Computed{}, hook.Refuse(hook.KindConflict, "cannot_sign", "this body cannot be signed by scheme %s", s.webhook.Scheme)
	}
	v := webhook.Verifier{Scheme: webhook.Scheme(s.webhook.Scheme)}
	if strings.HasPrefix(strings.TrimSpace(computed), "v1,") {
		v.Scheme = webhook.Standard
	}
	for _, secret := range []string{r.Secret, r.Other} {
		if secret != "" {
			v.Secrets = append(v.Secrets, secret)
		}
	}
	return v.ExplainComputed(header, r.Body, computed), nil
}

// turns lets one search run at a time on a node, since it may take seconds of a processor, and each
// company have one that runs or waits.
type turns struct {
	mu  sync.Mutex
	own map[hook.CompanyKey]bool
	run chan struct{} // holds a token while a search runs
}

func newTurns() *turns {
	return &turns{own: map[hook.CompanyKey]bool{}, run: make(chan struct{}, 1)}
}

// enter waits for the company's turn; leave ends it.
func (t *turns) enter(ctx context.Context, company hook.CompanyKey) (leave func(), err error) {
	if !t.claim(company) {
		return nil, &hook.Error{Kind: hook.KindLimited, Code: "rate_limited", Detail: "one search at a time for each company", RetryAfter: time.Second}
	}
	select {
	case t.run <- struct{}{}:
	case <-ctx.Done():
		t.release(company)
		return nil, ctx.Err()
	}
	return func() {
		<-t.run
		t.release(company)
	}, nil
}

func (t *turns) claim(company hook.CompanyKey) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.own[company] {
		return false
	}
	t.own[company] = true
	return true
}

func (t *turns) release(company hook.CompanyKey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.own, company)
}
