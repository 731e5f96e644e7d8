package log

import (
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// The tables that an append and a record write, each column once; what is rendered from them is at the end.

var Events = sql.Table[*hook.Event]{Name: "events", Columns: []sql.Column[*hook.Event]{
	sql.Ints("offset", func(e *hook.Event) int64 { return int64(e.Offset) }),
	sql.Texts("id", func(e *hook.Event) string { return e.ID }),
	sql.Ints("company", func(e *hook.Event) int64 { return int64(e.Company) }),
	sql.Texts("topic", func(e *hook.Event) string { return e.Topic }),
	sql.Texts("object_key", func(e *hook.Event) string { return e.ObjectKey }),
	sql.Blobs("data", func(e *hook.Event) []byte { return e.Data }),
	sql.Blobs("digest", func(e *hook.Event) []byte { return e.Digest[:] }),
	sql.Times("occurred_at", func(e *hook.Event) *time.Time { return e.OccurredAt }),
	sql.Times("expires_at", func(e *hook.Event) *time.Time { return e.ExpiresAt }),
	sql.BlobsOrNull("changes", func(e *hook.Event) []byte { return e.Changes }),
	sql.Ints("accepted_at", func(e *hook.Event) int64 { return sql.Micros(e.AcceptedAt) }),
}}

var Attempts = sql.Table[*hook.Attempt]{Name: "attempts", Columns: []sql.Column[*hook.Attempt]{
	sql.Ints("webhook", func(a *hook.Attempt) int64 { return int64(a.Webhook) }),
	sql.Ints("offset", func(a *hook.Attempt) int64 { return int64(a.Offset) }),
	sql.Ints("number", func(a *hook.Attempt) int64 { return int64(a.Number) }),
	sql.Ints("sequence", func(a *hook.Attempt) int64 { return a.Sequence }),
	sql.Texts("kind", func(a *hook.Attempt) string { return string(a.Kind) }),
	sql.Flags("counted", func(a *hook.Attempt) bool { return a.Counted }),
	sql.Ints("version", func(a *hook.Attempt) int64 { return a.Version }),
	sql.Texts("timestamp_text", func(a *hook.Attempt) string { return a.TimestampText }),
	sql.Texts("format", func(a *hook.Attempt) string { return BodyForm(a) }),
	sql.Ints("replay", func(a *hook.Attempt) int64 { return a.Replay }),
	sql.Ints("started_at", func(a *hook.Attempt) int64 { return sql.Micros(a.StartedAt) }),
	sql.Ints("dns_us", func(a *hook.Attempt) int64 { return a.Phases.DNS.Microseconds() }),
	sql.Ints("connect_us", func(a *hook.Attempt) int64 { return a.Phases.Connect.Microseconds() }),
	sql.Ints("tls_us", func(a *hook.Attempt) int64 { return a.Phases.TLS.Microseconds() }),
	sql.Ints("first_byte_us", func(a *hook.Attempt) int64 { return a.Phases.FirstByte.Microseconds() }),
	sql.Ints("total_us", func(a *hook.Attempt) int64 { return a.Phases.Total.Microseconds() }),
	sql.Flags("reused", func(a *hook.Attempt) bool { return a.Reused }),
	sql.Texts("outcome", func(a *hook.Attempt) string { return string(a.Outcome) }),
	sql.Ints("status_code", func(a *hook.Attempt) int64 { return int64(a.StatusCode) }),
	sql.Texts("error_class", func(a *hook.Attempt) string { return string(a.ErrorClass) }),
	sql.ByteTexts("error_detail", func(a *hook.Attempt) string { return a.ErrorDetail }),
	sql.BlobsOrNull("answer_header", func(a *hook.Attempt) []byte { return a.AnswerHeader }),
	sql.BlobsOrNull("answer_body", func(a *hook.Attempt) []byte { return a.AnswerBody }),
}}

var Parked = sql.Table[*hook.Parked]{Name: "parked", Key: []string{"webhook", "kind", "offset"}, Columns: []sql.Column[*hook.Parked]{
	sql.Ints("webhook", func(p *hook.Parked) int64 { return int64(p.Webhook) }),
	sql.Texts("kind", func(p *hook.Parked) string { return string(p.Kind) }),
	sql.Ints("offset", func(p *hook.Parked) int64 { return int64(p.Offset) }),
	sql.Ints("partition", func(p *hook.Parked) int64 { return int64(p.Partition) }),
	sql.Ints("sequence", func(p *hook.Parked) int64 { return p.Sequence }),
	sql.Texts("object_key", func(p *hook.Parked) string { return p.ObjectKey }),
	sql.Ints("attempts", func(p *hook.Parked) int64 { return int64(p.Attempts) }),
	sql.Ints("step", func(p *hook.Parked) int64 { return int64(p.Step) }),
	sql.Times("due_at", func(p *hook.Parked) *time.Time { return p.DueAt }),
	sql.Ints("parked_at", func(p *hook.Parked) int64 { return sql.Micros(p.ParkedAt) }),
	sql.Texts("reason", func(p *hook.Parked) string { return p.Reason }),
	sql.Ints("replay", func(p *hook.Parked) int64 { return p.Replay }),
	sql.Ints("throttles", func(p *hook.Parked) int64 { return int64(p.Throttles) }),
}}

// Cursors are the columns of cursors that a move of one writes, Gates those of its gate.
var Cursors = sql.Table[*CursorMove]{Name: "cursors", Key: []string{"webhook"}, Columns: []sql.Column[*CursorMove]{
	sql.Ints("webhook", func(c *CursorMove) int64 { return int64(c.Webhook) }),
	sql.Flags("detached", func(c *CursorMove) bool { return c.Detached }),
	sql.Ints("offset", func(c *CursorMove) int64 { return int64(c.Offset) }),
	sql.Ints("sequence", func(c *CursorMove) int64 { return c.Sequence }),
	sql.Sums("delivered", func(c *CursorMove) int64 { return c.Delivered }),
	sql.Sums("failed", func(c *CursorMove) int64 { return c.Failed }),
	sql.Sums("skipped", func(c *CursorMove) int64 { return c.Skipped }),
	sql.Times("failing_since", func(c *CursorMove) *time.Time { return c.Health.FailingSince }),
	sql.Ints("failing_hours", func(c *CursorMove) int64 { return int64(c.Health.FailingHours) }),
	sql.Ints("last_failing_hour", func(c *CursorMove) int64 { return c.Health.LastFailingHour }),
	sql.Ints("consecutive_failures", func(c *CursorMove) int64 { return int64(c.Health.ConsecutiveFailures) }),
	sql.Times("last_success_at", func(c *CursorMove) *time.Time { return c.Health.LastSuccessAt }),
	sql.Times("last_failure_at", func(c *CursorMove) *time.Time { return c.Health.LastFailureAt }),
	sql.Times("probe_at", func(c *CursorMove) *time.Time { return c.Health.ProbeAt }),
	sql.Ints("probe_step", func(c *CursorMove) int64 { return int64(c.Health.ProbeStep) }),
}}

var Gates = sql.Table[GateMove]{Name: "cursors", Key: []string{"webhook"}, Columns: []sql.Column[GateMove]{
	sql.Ints("webhook", func(m GateMove) int64 { return int64(m.Webhook) }),
	sql.Times("not_before", func(m GateMove) *time.Time { return m.Gate.NotBefore }),
	sql.Ints("gate_wait_us", func(m GateMove) int64 { return m.Gate.Wait.Microseconds() }),
	sql.Texts("gate_reason", func(m GateMove) string { return m.Gate.Reason }),
	sql.Ints("gate_version", func(m GateMove) int64 { return m.Gate.EndpointVersion }),
	sql.Ints("throttles", func(m GateMove) int64 { return int64(m.Gate.Throttles) }),
}}

var Stats = sql.Table[*Stat]{Name: "stats", Key: []string{"webhook", "bucket"}, Columns: []sql.Column[*Stat]{
	sql.Ints("webhook", func(s *Stat) int64 { return int64(s.Webhook) }),
	sql.Ints("bucket", func(s *Stat) int64 { return s.Bucket }),
	sql.Ints("delivered", func(s *Stat) int64 { return s.Delivered }),
	sql.Ints("failed", func(s *Stat) int64 { return s.Failed }),
	sql.Ints("retried", func(s *Stat) int64 { return s.Retried }),
	sql.Blobs("latency", func(s *Stat) []byte { return histogram(&s.Latency) }),
	sql.Blobs("arrival", func(s *Stat) []byte { return histogram(&s.Arrival) }),
}}

var Answers = sql.Table[*Answer]{Name: "answers", Key: []string{"webhook", "slot"}, Columns: []sql.Column[*Answer]{
	sql.Ints("webhook", func(a *Answer) int64 { return int64(a.Webhook) }),
	sql.Ints("slot", func(a *Answer) int64 { return int64(a.Slot) }),
	sql.Ints("offset", func(a *Answer) int64 { return int64(a.Offset) }),
	sql.Ints("number", func(a *Answer) int64 { return int64(a.Number) }),
	sql.Blobs("header", func(a *Answer) []byte { return a.Header }),
	sql.Blobs("body", func(a *Answer) []byte { return a.Body }),
}}

func histogram(h *hook.Histogram) []byte {
	text, _ := h.AppendBinary(nil) // never fails
	return text
}

// Statements of both engines, one row at a time in the first form and all in one statement in the second.
var (
	AttemptColumns = Attempts.Names()
	CursorColumns  = Cursors.Names() + ", " + sql.Names(Gates.List()[1:])

	InsertAttemptArrays = Attempts.InsertArrays()

	parkReplaces = Parked.Or("attempts", "step", "due_at", "parked_at", "reason", "replay", "throttles")
	parkRow      = Parked.InsertRow() + parkReplaces
	ParkArrays   = Parked.InsertArrays() + parkReplaces

	// A cursor never moves back.
	moveCursorRow = Cursors.UpdateRow() +
		` AND "offset" <= ` + Cursors.Mark("offset") + ` AND sequence <= ` + Cursors.Mark("sequence")
	MoveCursorArrays = `
		WITH moved AS (
			` + Cursors.UpdateArrays() + ` AND c."offset" <= g."offset" AND c.sequence <= g.sequence
			RETURNING 1
		)
		SELECT 1 / CASE WHEN (SELECT count(*) FROM moved) = (SELECT count(*) FROM cursors WHERE webhook = ANY($1)) THEN 1 ELSE 0 END`
	moveGateRow    = Gates.UpdateRow()
	MoveGateArrays = Gates.UpdateArrays()

	addStatRow = Stats.InsertRow() + `
		ON CONFLICT (webhook, bucket) DO UPDATE SET delivered = stats.delivered + excluded.delivered, failed = stats.failed + excluded.failed,
			retried = stats.retried + excluded.retried, latency = excluded.latency, arrival = excluded.arrival`
	PutStatArrays = Stats.InsertArrays() + Stats.Or("delivered", "failed", "retried", "latency", "arrival")

	answerReplaces   = Answers.Or("offset", "number", "header", "body")
	keepAnswerRow    = Answers.InsertRow() + answerReplaces
	KeepAnswerArrays = Answers.InsertArrays() + answerReplaces
)
