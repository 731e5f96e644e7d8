package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Pace at which follow asks for the state of deliveries: quickly at first, since most end within
// milliseconds, then ever slower, since retries take minutes and hours.
const (
	firstPoll = 20 * time.Millisecond
	lastPoll  = 2 * time.Second
)

// endRecord is the end that a delivery came to.
type endRecord struct {
	WebhookID      string                `json:"webhook_id"`
	EventID        string                `json:"event_id"`
	Event          string                `json:"event"`
	Status         client.DeliveryStatus `json:"status"`
	Reason         *string               `json:"reason"`
	Attempts       int                   `json:"attempts"`
	LastStatusCode *int                  `json:"last_status_code"`
	LastDurationMS *float64              `json:"last_duration_ms"`
}

// pair is a delivery that is followed, and what of it was told.
type pair struct {
	webhook  client.Webhook
	event    string
	status   client.DeliveryStatus
	attempts int
}

// followed counts what became of the deliveries.
type followed struct {
	matched, undelivered int
	still                map[client.Status]int // of webhooks that do not send
}

// follow asks for every delivery of the events until each has come to its end, or its webhook stands
// still, and prints each as it does. It fails if one of them was not delivered.
func (p *Program) follow(ctx context.Context, api *caller, topic string, events []*client.Published) error {
	webhooks, err := subscribers(ctx, api, topic)
	if err != nil {
		return err
	}
	var open []*pair
	for _, e := range events {
		for _, w := range webhooks {
			open = append(open, &pair{webhook: w, event: e.ID})
		}
	}
	sum := followed{still: map[client.Status]int{}}
	for wait := firstPoll; len(open) > 0; wait = min(2*wait, lastPoll) {
		var unended []*pair
		for _, d := range open {
			ended, err := p.look(ctx, api, d, &sum)
			if err != nil {
				return unfinished(ctx, len(open), err)
			}
			if !ended {
				unended = append(unended, d)
			}
		}
		if open = unended; len(open) > 0 {
			if err := pause(ctx, wait); err != nil {
				return unfinished(ctx, len(open), err)
			}
		}
	}
	return p.followed(sum)
}

// look asks for one delivery, tells what is new, and reports whether there is nothing more to follow.
func (p *Program) look(ctx context.Context, api *caller, d *pair, sum *followed) (ended bool, err error) {
	now, err := api.Delivery(ctx, d.webhook.ID, d.event)
	if code, _ := refusalCode(err); code == exitNotFound {
		return true, nil // not matched: its filter, or it did not exist yet
	}
	if err != nil {
		return false, err
	}
	p.tell(d, now)
	switch {
	case now.Status.Final():
		sum.matched++
		if now.Status != client.Delivered {
			sum.undelivered++
		}
		return true, p.ended(now, show(now.Reason))
	case d.webhook.Status != client.Active:
		sum.still[d.webhook.Status]++
		if text := sentence(&d.webhook); text != "" {
			p.progress("%s: %s", d.webhook.ID, text)
		}
		return true, p.ended(now, "stands still: the webhook is "+string(d.webhook.Status))
	}
	return false, nil
}

// followed says what it came to.
func (p *Program) followed(sum followed) error {
	for _, status := range []client.Status{client.Paused, client.Inactive} {
		if n := sum.still[status]; n > 0 {
			verb := map[bool]string{true: "stands", false: "stand"}[n == 1]
			p.progress("%d matched and %s still (%s); 'atlas-webhooks webhooks resume' lets it go on", n, verb, strings.ToLower(string(status)))
		}
	}
	switch {
	case sum.undelivered > 0:
		return fmt.Errorf("%d of %d deliveries were not delivered", sum.undelivered, sum.matched)
	case sum.matched == 0 && len(sum.still) == 0:
		p.progress("no webhook of the company matched")
	}
	return nil
}

// unfinished is the error of following that ended before the deliveries did.
func unfinished(ctx context.Context, n int, err error) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%d deliveries have not come to an end within --timeout", n)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%d deliveries have not come to an end: %w", n, err)
	}
	return err
}

// tell tells of every attempt that failed, once, with code and cause; and of a delivery that waits.
func (p *Program) tell(d *pair, now *client.DeliveryDetail) {
	next := ""
	if now.NextAttemptAt != nil {
		next = "; next attempt at " + now.NextAttemptAt.Format(time.RFC3339)
	}
	told := false
	for i := range now.Attempts {
		a := &now.Attempts[i]
		if a.Number <= d.attempts || a.Outcome == client.OutcomeDelivered {
			continue
		}
		d.attempts, told = a.Number, true
		line := fmt.Sprintf("%s to %s: attempt %d failed: %s", d.event, d.webhook.ID, a.Number, cause(a))
		if i == len(now.Attempts)-1 {
			line += next
		}
		p.progress("%s", line)
	}
	if d.status != now.Status && !told && !now.Status.Final() && d.webhook.Status == client.Active {
		p.progress("%s to %s: %s%s", d.event, d.webhook.ID, strings.TrimSpace(string(now.Status)+" "+show(now.Reason)), next)
	}
	d.status = now.Status
}

// cause is why an attempt failed: the code, the class, and what is known beyond.
func cause(a *client.Attempt) string {
	text := strings.TrimSpace(show(a.StatusCode) + " " + show(a.ErrorClass))
	if detail := show(a.ErrorDetail); detail != "" {
		text += ", " + detail
	}
	if advice := show(a.Advice); advice != "" {
		text += " (" + advice + ")"
	}
	return text
}

// ended prints what a delivery came to. The reason stands where there is no answer.
func (p *Program) ended(d *client.DeliveryDetail, reason string) error {
	if p.output == "json" {
		return p.record(endRecord{
			WebhookID: d.WebhookID, EventID: d.EventID, Event: d.Event, Status: d.Status, Reason: orNil(reason), Attempts: len(d.Attempts),
			LastStatusCode: d.LastStatusCode, LastDurationMS: d.LastDurationMS,
		})
	}
	answer := reason
	if d.LastStatusCode != nil && d.LastDurationMS != nil {
		answer = fmt.Sprintf("%d %.0f ms", *d.LastStatusCode, *d.LastDurationMS)
	}
	return p.line("%s %s to %s %s", d.EventID, d.Status, d.WebhookID, answer)
}

func orNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// subscribers lists the company's webhooks that want a topic, also those that do not send now.
func subscribers(ctx context.Context, api *caller, topic string) (list []client.Webhook, err error) {
	for w, err := range api.Webhooks(ctx, client.WebhookFilter{Event: topic, PageSize: hook.MaxLimit}) {
		if err != nil {
			return nil, err
		}
		list = append(list, w)
	}
	slices.SortFunc(list, func(a, b client.Webhook) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// pause waits, or returns ctx's error.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
