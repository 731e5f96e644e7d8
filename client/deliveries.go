package client

import (
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/url"
	"time"
)

// DeliveryHead is what a delivery is, in a list and alone.
type DeliveryHead struct {
	EventID        string         `json:"event_id"`
	Event          string         `json:"event"`
	ObjectID       *string        `json:"object_id"`
	Sequence       *int64         `json:"sequence" doc:"The count of the events that the webhook matched; null where it never matched this one."`
	Unmatched      bool           `json:"unmatched" doc:"No rule of the webhook wanted the event; a replay sent it all the same. It has no sequence."`
	Status         DeliveryStatus `json:"status" enum:"pending,retrying,held,delivered,failed,skipped"`
	Reason         *string        `json:"reason" doc:"Why it waits, failed or was skipped."`
	LastStatusCode *int           `json:"last_status_code"`
	LastDurationMS *float64       `json:"last_duration_ms"`
	LastAttemptAt  *time.Time     `json:"last_attempt_at"`
	NextAttemptAt  *time.Time     `json:"next_attempt_at"`
	AcceptedAt     time.Time      `json:"accepted_at"`
}

// Delivery is the pair of an event and a webhook that wants it.
type Delivery struct {
	DeliveryHead
	Attempts int `json:"attempts" doc:"Requests made, of every kind."`
}

// DeliveryDetail is a delivery with its attempts.
type DeliveryDetail struct {
	DeliveryHead
	WebhookID    string    `json:"webhook_id"`
	Attempts     []Attempt `json:"attempts"`
	AttemptsMore bool      `json:"attempts_more" doc:"There were more attempts than are shown: the first and the last ones are."`
	Curl         string    `json:"curl" doc:"The request as a command, with <signature> in the signature's place."`
}

// Attempt is one request of a delivery, and what came of it.
type Attempt struct {
	Number            int            `json:"number" doc:"1, 2, 3 … of its delivery."`
	Kind              Kind           `json:"kind" enum:"live,manual,replay,test"`
	ReplayID          *string        `json:"replay_id"`
	Counted           bool           `json:"counted" doc:"Whether it used a step of the schedule."`
	StartedAt         time.Time      `json:"started_at"`
	Reused            bool           `json:"reused" doc:"Whether it went over a connection that had been used before. Where that ended before one byte of an answer the next attempt followed at once, on a new one; neither step nor failure is counted."`
	Outcome           Outcome        `json:"outcome" enum:"delivered,retry,throttled,failed,gone"`
	StatusCode        *int           `json:"status_code"`
	ErrorClass        *string        `json:"error_class"`
	ErrorDetail       *string        `json:"error_detail"`
	Advice            *string        `json:"advice" doc:"What usually causes this, and what to do."`
	RetryAfterSeconds *float64       `json:"retry_after_seconds" doc:"What the receiver asked for."`
	Timing            Timing         `json:"timing"`
	Request           AttemptRequest `json:"request"`
	Response          *AttemptAnswer `json:"response" doc:"Kept for failures and the last 20 successes of a webhook."`
}

// Timing is how long each phase of an attempt took; nil where it did not take place.
type Timing struct {
	DNSMS       *float64 `json:"dns_ms"`
	ConnectMS   *float64 `json:"connect_ms"`
	TLSMS       *float64 `json:"tls_ms"`
	FirstByteMS *float64 `json:"first_byte_ms"`
	TotalMS     float64  `json:"total_ms"`
}

// AttemptRequest is a request as it was sent, secrets masked.
type AttemptRequest struct {
	Method          string            `json:"method"`
	URL             string            `json:"url"`
	Headers         map[string]string `json:"headers"`
	Body            string            `json:"body"`
	BodyTruncated   bool              `json:"body_truncated" doc:"The body is longer than 64 KiB; GET /v1/events/{event_id} has all of it."`
	SettingsChanged bool              `json:"settings_changed" doc:"The webhook was changed since: URL and own headers are those of today."`
}

// AttemptAnswer is what a receiver said: the header block as it came and the first 16 KiB.
type AttemptAnswer struct {
	Headers string `json:"headers" doc:"The header block as it came. Bytes that are not text are replaced."`
	Body    string `json:"body" doc:"The first 16 KiB. Bytes that are not text are replaced."`
}

// DeliveryFilter narrows a list of deliveries. Its zero value is all of them.
type DeliveryFilter struct {
	Status     DeliveryStatus
	Event      string // a topic
	ObjectID   string
	StatusCode int       // of the last attempt
	From       time.Time // accepted at or after
	To         time.Time // accepted before
	PageSize   int       // 1 to 250; 0 = 50; not for an export
}

func (f DeliveryFilter) query() query {
	return query{}.text("status", string(f.Status)).text("event", f.Event).text("object_id", f.ObjectID).
		number("status_code", int64(f.StatusCode)).time("from", f.From).time("to", f.To)
}

// Deliveries lists a webhook's deliveries, newest event first.
func (c *Client) Deliveries(ctx context.Context, webhook string, f DeliveryFilter) iter.Seq2[Delivery, error] {
	q := f.query().number("limit", int64(f.PageSize))
	return list[Delivery](ctx, c, get("/v1/webhooks/{id}/deliveries", webhook).with(url.Values(q)))
}

// Delivery returns one delivery with its attempts.
func (c *Client) Delivery(ctx context.Context, webhook, event string) (*DeliveryDetail, error) {
	return fetch[DeliveryDetail](ctx, c, get("/v1/webhooks/{id}/deliveries/{id}", webhook, event))
}

// RetryDelivery sends an event again that the webhook has passed, also a delivered one.
func (c *Client) RetryDelivery(ctx context.Context, webhook, event string) (*Delivery, error) {
	return fetch[Delivery](ctx, c, post("/v1/webhooks/{id}/deliveries/{id}/retry", nil, webhook, event))
}

// SignedCurl is a command that sends a delivery's request again.
type SignedCurl struct {
	Curl      string   `json:"curl"`
	Variables []string `json:"variables" doc:"Shell variables that the command reads: the values of the webhook's own headers."`
}

// SignCurl returns a delivery's request as a command with a valid signature. That is audited.
func (c *Client) SignCurl(ctx context.Context, webhook, event string) (*SignedCurl, error) {
	return fetch[SignedCurl](ctx, c, post("/v1/webhooks/{id}/deliveries/{id}/curl", nil, webhook, event).again())
}

// SignatureComputed is what a receiver's code computed for an attempt; 0 is the last one.
type SignatureComputed struct {
	Computed string `json:"computed" minLength:"1" maxLength:"1024" doc:"What your code computed, in hex or base64. What begins with v1, is compared with webhook-signature, everything else with X-Atlas-Webhook-Signature."`
	Attempt  int    `json:"attempt,omitzero" required:"false" minimum:"1" doc:"The attempt whose request your code read; the last one when left out."`
}

// SignatureExplained is how somebody's code came to what it computed.
type SignatureExplained struct {
	Attempt  int       `json:"attempt" doc:"The attempt whose request it was compared with."`
	Right    bool      `json:"right" doc:"It is the signature of this request: the code computes it well."`
	Found    bool      `json:"found" doc:"The way to compute it was found."`
	Complete bool      `json:"complete" doc:"Everything was tried, or it was found. False when the body is too large for that."`
	Mistakes []Mistake `json:"mistakes" doc:"What the code does otherwise than it should."`
	Formula  *string   `json:"formula" doc:"Who computes this gets what was computed."`
}

// Mistake is one way in which code differs from the contract.
type Mistake struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// ExplainSignature says which mistake a receiver's code makes. That is audited.
func (c *Client) ExplainSignature(ctx context.Context, webhook, event string, s SignatureComputed) (*SignatureExplained, error) {
	return fetch[SignatureExplained](ctx, c, post("/v1/webhooks/{id}/deliveries/{id}/explain", s, webhook, event).again())
}

// ExportDeliveries writes a webhook's deliveries to w, whole, a line each. An export that breaks off
// is an error, and what was written stays.
func (c *Client) ExportDeliveries(ctx context.Context, webhook string, format Format, f DeliveryFilter, w io.Writer) error {
	q := f.query().text("webhook_id", webhook).text("format", string(format))
	answer, err := c.open(ctx, get("/v1/deliveries/export").with(url.Values(q)))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	_, err = io.Copy(w, answer.Body)
	return err
}

// FedEvent is an event in a webhook's pull feed.
type FedEvent struct {
	Sequence   int64           `json:"sequence"`
	EventID    string          `json:"event_id"`
	Event      string          `json:"event"`
	ObjectID   *string         `json:"object_id"`
	AcceptedAt time.Time       `json:"accepted_at"`
	Data       json.RawMessage `json:"data" doc:"Any JSON value."`
	Changes    Object          `json:"changes,omitempty" doc:"By place what changed, with its value before (old) and after (new); of derived events, where the webhook has include_changes."`
}

// Feed is a stretch of the events that a webhook matched, oldest first.
type Feed struct {
	Data      []FedEvent `json:"data"`
	Limit     int        `json:"limit"`
	NextAfter int64      `json:"next_after" doc:"The value of after for what follows; the same again at the end."`
}

// PullEvents lists the events that a webhook matched, oldest first, after a sequence: for a receiver
// that noticed a gap. It ends with the latest.
func (c *Client) PullEvents(ctx context.Context, webhook string, after int64) iter.Seq2[FedEvent, error] {
	return func(yield func(FedEvent, error) bool) {
		for {
			q := query{}.number("after", after)
			f, err := fetch[Feed](ctx, c, get("/v1/webhooks/{id}/events", webhook).with(url.Values(q)))
			if err != nil {
				yield(FedEvent{}, err)
				return
			}
			for _, e := range f.Data {
				if !yield(e, nil) {
					return
				}
			}
			if len(f.Data) == 0 || f.NextAfter <= after {
				return
			}
			after = f.NextAfter
		}
	}
}
