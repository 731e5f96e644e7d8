package filter

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// TestHandsLetOthersGoFirst: with a single hand, whose company asks many dear filters, another one has its
// answer meanwhile. The control holds on to the hand, and ends first.
func TestHandsLetOthersGoFirst(t *testing.T) {
	d, err := Decode([]byte(`{"l": [` + strings.Repeat("1, ", 5000) + `1]}`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(`count(data.l, # == 2) == 1`)
	if err != nil {
		t.Fatal(err)
	}
	for _, steady := range []bool{false, true} {
		h := &Hands{busy: make(chan struct{}, 1)}
		began, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			work := pace{ctx: t.Context(), left: breather, hands: h}
			_ = work.take()
			asker := &work
			if steady {
				asker = &pace{ctx: t.Context(), left: breather}
			}
			close(began)
			for h.await.Load() == 0 { // nobody waits yet
				runtime.Gosched()
			}
			for range 100 {
				_, _, _ = p.match("conversation", d, asker)
			}
			work.give()
		}()
		<-began
		other := pace{ctx: t.Context(), left: breather, hands: h}
		if err := other.take(); err != nil {
			t.Fatal(err)
		}
		if steady {
			<-done
		} else {
			for h.await.Load() == 0 { // until it waits for the hand again
				select {
				case <-done:
					t.Fatal("it was done before another one had its turn")
				default:
					runtime.Gosched()
				}
			}
		}
		other.give()
		<-done
	}
}

// TestJudgesRefuseLateTurns: requests of one company wait for each other a second, and no longer.
func TestJudgesRefuseLateTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := NewJudges(&Cache{}, NewHands(), true)
		leave, err := j.enter(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		e := &hook.Event{Topic: "conversation", Data: []byte(`{}`)}
		began := time.Now()
		if _, err := j.Judge(t.Context(), 1, e, []string{"true"}); !errors.Is(err, errTurn) || time.Since(began) != longestTurn {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if got, err := j.Judge(t.Context(), 2, e, []string{"true"}); err != nil || !got[0].Matched {
			t.Errorf("another company: %v, %v", got, err)
		}
		leave()
		if _, err := j.Judge(t.Context(), 1, e, []string{"true"}); err != nil {
			t.Error("when its turn has come:", err)
		}
		if len(j.turns) > 0 {
			t.Error("turns of nobody are kept")
		}
	})
}

// TestDearVerdictsAreRemembered: what was dear to find out of an event of the log is not found out again,
// whoever asks; of other filters, another event, and one of no log, it is. What is remembered is bounded.
func TestDearVerdictsAreRemembered(t *testing.T) {
	var c Cache
	engine, reads := NewJudges(&c, NewHands(), false), NewJudges(&c, NewHands(), true)
	var filters []string
	for i := range 100 {
		filters = append(filters, fmt.Sprintf(`count(data.l, # == %d) == 1 or event == %q`, i, strings.Repeat("x", 1500)))
	}
	ask := func(j *Judges, offset hook.Offset, elements int, filters []string) []hook.Judged {
		t.Helper()
		e := &hook.Event{Company: 1, Offset: offset, Topic: "conversation", Data: []byte(`{"l": [` + strings.Repeat("1000, ", elements) + `7]}`)}
		judged, err := j.Judge(t.Context(), 1, e, filters)
		if err != nil {
			t.Fatal(err)
		}
		return judged
	}
	first := ask(engine, 5, 2000, filters)
	if !first[7].Matched || first[8].Matched {
		t.Fatalf("%+v", first[:9])
	}
	// Had it to be asked again, another document would be seen.
	if again := ask(reads, 5, 1, filters); !slices.Equal(again, first) {
		t.Errorf("asked again it said %+v", again[:9])
	}
	more := ask(reads, 5, 1, append([]string{"true"}, filters...))
	if !more[0].Matched || !slices.Equal(more[1:], first) {
		t.Errorf("beside another filter: %+v", more[:9])
	}
	for what, steps := range map[string]int{
		"another event":  ask(reads, 6, 1, filters)[0].Steps,
		"what was cheap": ask(reads, 6, 2, filters)[0].Steps - ask(reads, 7, 2, filters)[0].Steps + 1,
		"of no log":      ask(reads, 0, 2000, filters)[0].Steps - ask(reads, 0, 1000, filters)[0].Steps,
	} {
		if steps <= 0 || steps == first[0].Steps {
			t.Errorf("%s: %d steps", what, steps)
		}
	}
	for offset := range hook.Offset(40) {
		ask(engine, 100+offset, 500, filters)
	}
	if n := len(c.memory.events); c.memory.size > maxRemembered || n < 10 || n > 35 {
		t.Errorf("%d bytes of %d events", c.memory.size, n)
	}
	if again := ask(reads, 5, 1, filters); again[0].Steps == first[0].Steps {
		t.Error("the first event is still remembered")
	}
}

// TestDearNumbers: what computes in more than 64 bits costs as many steps as it takes time.
func TestDearNumbers(t *testing.T) {
	took := func(source string) int {
		p, err := Compile(source)
		if err != nil {
			t.Fatal(err)
		}
		d, _ := Decode(fmt.Appendf(nil, `{"l": [%s1]}`, strings.Repeat("-5, ", 100)))
		_, steps, _ := p.match("conversation", d, &pace{ctx: t.Context(), left: breather})
		return steps
	}
	if plain, big := took("count(data.l, # % 3 == 7) > 0"), took("count(data.l, # % -3 == 7) > 0"); big < plain+100*perBig {
		t.Errorf("%d steps in 64 bits, %d beyond", plain, big)
	}
}
