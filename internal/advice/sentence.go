package advice

import (
	"fmt"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Failure is an attempt that did not deliver, and what to do about it.
type Failure struct {
	Class      hook.ErrorClass
	StatusCode int    // 0 when no status was received
	Detail     string // one line
	Advice     string
	At         time.Time
}

// FailureOf is an attempt of a webhook as a failure of its.
func FailureOf(a *hook.Attempt, w *hook.Webhook) Failure {
	return Failure{
		Class: a.ErrorClass, StatusCode: a.StatusCode, Detail: a.ErrorDetail, At: a.StartedAt,
		Advice: Of(Circumstances{Attempt: a, Endpoint: w.Endpoint, OwnHeaders: w.Headers}),
	}
}

// Standing is how a webhook fares, as far as a sentence about it goes.
type Standing struct {
	Status        hook.Status
	StatusReason  string
	Failing, Down bool
	Failures      int       // in a row
	Since         time.Time // of the first of them
	LastSuccess   time.Time
	Last          *Failure  // the last attempt that did not deliver; nil when there is none
	Refuses       time.Time // since when the endpoint answers and takes nothing; zero when that is not so
	Throttled     time.Time // until when the endpoint asked to wait; zero when it does not
	OwnFault      string    // of ours, in words, that holds it up now; "" when none does
	ParkedFull    bool      // as many deliveries wait to be retried as may
	Waiting       int       // events that wait, −1 when nobody counted them
}

// Sentence says how a webhook fares: the cause first, then what to do about it. It is never empty.
func Sentence(s *Standing) string {
	switch {
	case s.Status == hook.Inactive && s.StatusReason == hook.ReasonGone:
		return join(s.because("INACTIVE"), s.remedy(), s.waiting("they are sent when it is set ACTIVE"))
	case s.Status == hook.Inactive && s.StatusReason != "":
		return join(s.because("INACTIVE after five days without a success"), s.remedy(), "Then set it ACTIVE.", s.waiting("they are sent then"))
	case s.Status == hook.Inactive:
		return join("INACTIVE: switched off by its owner.", s.waiting("set ACTIVE, resume says whether they are sent or skipped"))
	case s.Status == hook.Paused:
		return join("PAUSED by its owner: nothing is sent.", s.waiting("they are sent when it is set ACTIVE"))
	case s.OwnFault != "":
		return "Held up by " + strings.TrimRight(s.OwnFault, ".") + ". It goes on by itself when that is over."
	case s.Down:
		return join(s.because("Down"+s.inARow()), s.remedy(),
			"It is probed; with the first success all goes on.", s.waiting(""))
	case s.Failing:
		return join(s.because("Failing"+s.inARow()), s.remedy())
	case !s.Throttled.IsZero():
		return join(s.because("Throttled by the endpoint until "+moment(s.Throttled)), s.remedy(), s.waiting(""))
	case s.ParkedFull:
		return join(s.because("As many deliveries wait to be retried as may, so newer events wait too"), s.remedy(), s.waiting(""))
	case !s.Refuses.IsZero():
		return join(s.because("Refuses everything since "+moment(s.Refuses)), s.remedy())
	case s.Last != nil && s.Last.At.After(s.LastSuccess):
		return join(s.because("The last attempt failed, at "+moment(s.Last.At)), s.remedy())
	case s.LastSuccess.IsZero():
		return join("Nothing was sent yet.", s.waiting(""))
	default:
		return "Healthy: the last success was at " + moment(s.LastSuccess) + "."
	}
}

// inARow says since when it fails, and how often it did.
func (s *Standing) inARow() string {
	text := ", " + count(s.Failures, "failure") + " in a row"
	if !s.Since.IsZero() {
		text = " since " + moment(s.Since) + text
	}
	return text
}

// because adds what the last failure was, if somebody knows.
func (s *Standing) because(what string) string {
	if s.Last != nil && s.Last.Detail != "" {
		what += ": " + strings.TrimRight(s.Last.Detail, ".")
	}
	return what + "."
}

func (s *Standing) remedy() string {
	if s.Last == nil {
		return ""
	}
	return s.Last.Advice
}

// waiting says how many events wait, and what becomes of them.
func (s *Standing) waiting(then string) string {
	if s.Waiting <= 0 {
		return ""
	}
	verb := "wait"
	if s.Waiting == 1 {
		verb = "waits"
	}
	text := count(s.Waiting, "event") + " " + verb
	if then != "" {
		text += "; " + then
	}
	return text + "."
}

func join(sentences ...string) string {
	var all []string
	for _, s := range sentences {
		if s != "" {
			all = append(all, s)
		}
	}
	return strings.Join(all, " ")
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
