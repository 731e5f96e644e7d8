package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// StreamEvent is one attempt in the live stream.
type StreamEvent struct {
	WebhookID   string    `json:"webhook_id"`
	EventID     string    `json:"event_id"`
	Event       string    `json:"event"`
	ObjectID    *string   `json:"object_id"`
	Sequence    *int64    `json:"sequence"`
	Number      int       `json:"number"`
	Kind        Kind      `json:"kind"`
	StartedAt   time.Time `json:"started_at"`
	Outcome     Outcome   `json:"outcome"`
	StatusCode  *int      `json:"status_code"`
	ErrorClass  *string   `json:"error_class"`
	ErrorDetail *string   `json:"error_detail"`
	Advice      *string   `json:"advice" doc:"What to do about it; null where it delivered."`
	TotalMS     float64   `json:"total_ms"`
}

// ErrGap says that a stream missed attempts: [Client.Deliveries] has them. The stream goes on.
var ErrGap = errors.New("client: the stream missed attempts")

// StreamAttempts watches attempts as they finish, of one webhook or, with "", of all. Once connected it
// connects again by itself, however long that takes, and goes on where it was; it ends with ctx, or
// with an answer that another try does not change. All errors but [ErrGap] are its last element.
func (c *Client) StreamAttempts(ctx context.Context, webhook string) iter.Seq2[StreamEvent, error] {
	return func(yield func(StreamEvent, error) bool) {
		s := stream{header: http.Header{}, yield: yield}
		connected := false
		for n := 0; ; n++ {
			k := get("/v1/stream").with(url.Values(query{}.text("webhook_id", webhook)))
			k.header = s.header
			answer, err := c.open(ctx, k)
			if err != nil && connected && ctx.Err() == nil && judge(err).passing {
				_ = c.pause(ctx, min(backoff(n), longestAway)) // open says whether ctx ended
				continue
			}
			if err != nil {
				yield(StreamEvent{}, err)
				return
			}
			connected = true
			got, err := s.read(answer.Body)
			answer.Body.Close()
			switch {
			case errors.Is(err, errStopped):
				return
			case ctx.Err() != nil:
				yield(StreamEvent{}, ctx.Err())
				return
			case got:
				n = 0
			}
			if c.pause(ctx, backoff(n)) != nil {
				yield(StreamEvent{}, ctx.Err())
				return
			}
		}
	}
}

// longestAway is how long a stream waits at most before it tries to connect again.
const longestAway = 5 * time.Second

var errStopped = errors.New("the reader stopped")

// stream is the state of a stream over its connections.
type stream struct {
	header http.Header // with the id of the last event
	yield  func(StreamEvent, error) bool
}

// maxEvent bounds a line of the stream.
const maxEvent = 1 << 20

// read reads events until the connection ends (HTML, server-sent events, section 9.2.6). got says
// that there was one.
func (s *stream) read(body io.Reader) (got bool, err error) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxEvent)
	var name, id, data string
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			data += value
		case "":
			if lines.Text() != "" {
				continue // a comment: the server is alive
			}
			if id != "" {
				s.header.Set("Last-Event-ID", id)
			}
			if name != "" {
				got = true
				if err := s.event(name, data); err != nil {
					return got, err
				}
			}
			name, id, data = "", "", ""
		}
	}
	return got, lines.Err()
}

// event passes one event on. Names that this version does not know are left out.
func (s *stream) event(name, data string) error {
	var e StreamEvent
	var err error
	switch name {
	case "gap":
		err = ErrGap
	case "attempt":
		if json.Unmarshal([]byte(data), &e) != nil {
			return fmt.Errorf("an attempt in the stream cannot be read")
		}
	default:
		return nil
	}
	if !s.yield(e, err) {
		return errStopped
	}
	return nil
}
