package client

import (
	"context"
	"iter"
	"net/url"
	"time"
)

// Source is where events come from besides the API, as the node that answers reads it.
type Source struct {
	Name        string     `json:"name"`
	Kind        string     `json:"kind" doc:"As kafka, nats or rabbitmq."`
	Where       string     `json:"where" doc:"What is read, and from which server."`
	State       string     `json:"state" enum:"starting,running,holding,failing,standby,stopped" doc:"holding: what was received waits, because nothing is accepted now. failing: nothing can be received. standby: another node reads it."`
	Reason      *string    `json:"reason" doc:"Why it holds or fails."`
	Since       time.Time  `json:"since" doc:"When it came into this state."`
	LagSeconds  *float64   `json:"lag_seconds" doc:"How long the oldest message waits that is not accepted; null: not known."`
	LagMessages *int64     `json:"lag_messages" doc:"How many messages are not accepted; null: not known."`
	Received    int64      `json:"received" doc:"Messages, since the node was started; so are the other counts."`
	Accepted    int64      `json:"accepted" doc:"Events."`
	Duplicates  int64      `json:"duplicates" doc:"Events that were there already."`
	SetAside    int64      `json:"set_aside" doc:"Messages that became dead letters."`
	Unnamed     int64      `json:"unnamed" doc:"Messages without an id: where the source sends one again, its event is doubled."`
	Expired     int64      `json:"expired" doc:"Messages that the source let go of before they were received: they are lost."`
	DeadLetters int64      `json:"dead_letters" doc:"That there are now."`
	LastEventAt *time.Time `json:"last_event_at" doc:"When a message was last taken in."`
}

// Sources lists where events come from besides the API. It needs an operator key.
func (c *Client) Sources(ctx context.Context) iter.Seq2[Source, error] {
	return list[Source](ctx, c, get("/v1/sources"))
}

// DeadLetter is a message of a source that cannot be accepted as it is.
type DeadLetter struct {
	ID          string     `json:"id"`
	Source      string     `json:"source"`
	Message     string     `json:"message" doc:"Where it stood in its source."`
	At          time.Time  `json:"at" doc:"When it was set aside."`
	WrittenAt   *time.Time `json:"written_at" doc:"When its producer wrote it; null: the source does not tell."`
	Code        string     `json:"code" doc:"Why it was refused last, as an error of the API has it."`
	Reason      string     `json:"reason"`
	Retries     int        `json:"retries" doc:"In vain."`
	Size        int64      `json:"size" doc:"In bytes."`
	Truncated   bool       `json:"truncated" doc:"It is larger than any event, and only a part of it is kept: it cannot be retried."`
	EventID     string     `json:"event_id" doc:"Of the event that it becomes, where it names none itself."`
	ContentType string     `json:"content_type"`
}

// DeadLetterDetail is a dead letter with what was sent.
type DeadLetterDetail struct {
	DeadLetter
	Attributes map[string]string `json:"attributes" doc:"Of a CloudEvent in binary mode; empty for any other message."`
	Body       string            `json:"body" doc:"What is no UTF-8 is replaced, and only the first 256 KiB are shown."`
}

// DeadLetterRetried is what became of a dead letter that was retried: it is gone.
type DeadLetterRetried struct {
	Data []Published `json:"data" doc:"The events that it became: one, or of a change any number."`
}

// DeadLetters lists the messages that sources could not have accepted, newest first, of one source or, where
// it is empty, of all. It needs an operator key.
func (c *Client) DeadLetters(ctx context.Context, source string) iter.Seq2[DeadLetter, error] {
	return list[DeadLetter](ctx, c, get("/v1/dead-letters").with(url.Values(query{}.text("source", source))))
}

// DeadLetter returns one with what was sent. It needs an operator key.
func (c *Client) DeadLetter(ctx context.Context, id string) (*DeadLetterDetail, error) {
	return fetch[DeadLetterDetail](ctx, c, get("/v1/dead-letters/{id}", id))
}

// RetryDeadLetter has a dead letter accepted after all, under the id that it would have had at first. One that
// is refused again stays, with the new reason. It needs an operator key.
func (c *Client) RetryDeadLetter(ctx context.Context, id string) (*DeadLetterRetried, error) {
	return fetch[DeadLetterRetried](ctx, c, post("/v1/dead-letters/{id}/retry", nil, id))
}

// DiscardDeadLetter deletes a dead letter. It needs an operator key.
func (c *Client) DiscardDeadLetter(ctx context.Context, id string) error {
	return c.do(ctx, remove("/v1/dead-letters/{id}", id), nil)
}
