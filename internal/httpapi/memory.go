package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/ingress"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

const (
	// answerWait is how long a request waits for others' answers to be read.
	answerWait = 5 * time.Second
	// answerBytes are what an answer holds that has no data of events in it, with what it is made of.
	answerBytes = 256 << 10
	// pageBytes are what a page of the console holds, with the answers that it is made of.
	pageBytes = 2 << 20
)

// sizeOf is what the answer of a route may hold. What it does hold is known when it is rendered.
func (a *API) sizeOf(r route) int {
	if r.payloads {
		return 2 * (store.PageBytes + a.opt.Config.MaxEventBytes)
	}
	return answerBytes
}

// hold waits for the memory of an answer, in place of what it holds already. A page of the console
// holds that of all its questions.
func (x *exchange) hold(ctx context.Context, bytes int) error {
	if ctx.Value(uncountedKey{}) != nil {
		return nil
	}
	x.lease.Release()
	who := x.caller.name
	if x.company != nil {
		who = x.company.ID
	}
	var err error
	x.lease, err = x.api.answers.Take(ctx, who, bytes)
	return refuseAnswer(err)
}

// HoldPage waits for the memory that a page about a company holds until it is written to what it
// returns, or given back.
func (a *API) HoldPage(ctx context.Context, w http.ResponseWriter, company string) (held http.ResponseWriter, release func(), err error) {
	lease, err := a.answers.Take(ctx, company, pageBytes)
	return lease.Writer(w), lease.Release, refuseAnswer(err)
}

func refuseAnswer(err error) error {
	switch {
	case errors.Is(err, ingress.ErrOwnShare):
		return &hook.Error{Kind: hook.KindLimited, Code: "too_many_answers", Detail: "the company has as many answers open as it may; read those first", RetryAfter: time.Second}
	case errors.Is(err, ingress.ErrAll):
		return &hook.Error{Kind: hook.KindUnavailable, Code: "too_many_answers", Detail: "too many answers wait to be read", RetryAfter: time.Second}
	}
	return err
}
