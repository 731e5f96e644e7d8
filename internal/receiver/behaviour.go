package receiver

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

var discard = log.New(io.Discard, "", 0)

// Behaviour is what happens to a request. The zero value answers 200.
type Behaviour struct {
	Name  string // see [Names]; "" = ok
	Count int    // how many requests it is for; 0 = all
	// Status, Delay and Value belong to the names that mention them.
	Status int
	Delay  time.Duration
	Value  string
}

// answers are the behaviours that net/http can give; raw (see raw.go) are those that take over the
// connection, connections (see connection.go) those that need no request.
var answers = map[string]struct{ usage, does string }{
	"ok":          {"ok", "answers 200"},
	"fail":        {"fail STATUS[:COUNT]", "answers the status, for the first COUNT requests"},
	"status":      {"status STATUS[:COUNT]", "the same"},
	"slow":        {"slow DURATION[:COUNT]", "answers 200 after a while"},
	"retry-after": {"retry-after VALUE[:COUNT]", "answers 429 with Retry-After (seconds or a date)"},
	"redirect":    {"redirect STATUS LOCATION", "answers with a redirect"},
	"hang":        {"hang[:COUNT]", "reads the request and never answers"},
}

// Names lists all behaviours as they are written, for help texts.
func Names() []string {
	var names []string
	for _, a := range answers {
		names = append(names, a.usage)
	}
	names = slices.AppendSeq(names, maps.Keys(raw))
	names = slices.AppendSeq(names, maps.Keys(connections))
	slices.Sort(names)
	return names
}

// Parse reads a behaviour: its name, an argument where it needs one, and how many requests it is
// for, as "fail 503:3", "slow 10s", "garbage", "reset:1".
func Parse(text string) (Behaviour, error) {
	name, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	rest = strings.TrimSpace(rest)
	var b Behaviour
	var err error
	if name == "redirect" {
		status, location, _ := strings.Cut(rest, " ")
		b = Behaviour{Name: name, Value: strings.TrimSpace(location)}
		b.Status, err = strconv.Atoi(status)
		if err != nil || b.Value == "" {
			return b, fmt.Errorf("%q: write redirect STATUS LOCATION", text)
		}
		return b, nil
	}
	counted := &rest
	if rest == "" {
		counted = &name
	}
	b.Count = cutCount(counted)
	b.Name = name
	switch name {
	case "fail", "status":
		if b.Status, err = strconv.Atoi(rest); err != nil || b.Status < 200 || b.Status > 599 {
			return b, fmt.Errorf("%q: the status must be 200–599", text)
		}
	case "slow":
		if b.Delay, err = time.ParseDuration(rest); err != nil || b.Delay < 0 {
			return b, fmt.Errorf("%q: write a duration, as 10s", text)
		}
	case "retry-after":
		b.Value = rest
	default:
		if answers[name].usage == "" && raw[name] == nil && connections[name] == nil || rest != "" {
			return b, fmt.Errorf("%q: unknown behaviour; there are %s", text, strings.Join(Names(), ", "))
		}
	}
	return b, nil
}

// cutCount takes a trailing :COUNT off. A date in Retry-After has colons, too, but ends in GMT.
func cutCount(s *string) int {
	i := strings.LastIndexByte(*s, ':')
	if i < 0 {
		return 0
	}
	n, err := strconv.Atoi((*s)[i+1:])
	if err != nil || n < 1 {
		return 0
	}
	*s = (*s)[:i]
	return n
}

func (b Behaviour) String() string {
	switch b.Name {
	case "", "ok":
		return "200"
	case "fail", "status":
		return strconv.Itoa(b.Status)
	case "slow":
		return "200 after " + b.Delay.String()
	}
	return b.Name
}

// answer does to one request what the behaviour says.
func (b Behaviour) answer(w http.ResponseWriter, req *http.Request) {
	if f := raw[b.Name]; f != nil {
		takeOver(w, req, f)
		return
	}
	switch b.Name {
	case "fail", "status":
		w.WriteHeader(b.Status)
	case "retry-after":
		w.Header().Set("Retry-After", b.Value)
		w.WriteHeader(http.StatusTooManyRequests)
	case "redirect":
		w.Header().Set("Location", b.Value)
		w.WriteHeader(b.Status)
	case "slow":
		t := time.NewTimer(b.Delay)
		defer t.Stop()
		select {
		case <-t.C:
			w.WriteHeader(http.StatusOK)
		case <-req.Context().Done():
		}
	case "hang":
		<-req.Context().Done()
	default:
		w.WriteHeader(http.StatusOK)
	}
}

// script deals the behaviours out.
type script struct {
	mu    sync.Mutex
	steps []Behaviour
}

func newScript(steps []Behaviour) *script { return &script{steps: slices.Clone(steps)} }

func (s *script) next() Behaviour {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) == 0 {
		return Behaviour{}
	}
	b := s.steps[0]
	if b.Count == 1 {
		s.steps = s.steps[1:]
	} else if b.Count > 1 {
		s.steps[0].Count--
	}
	return b
}

// connection returns the behaviour that needs no request, if the script holds one.
func (s *script) connection() func(context.Context, net.Conn, *tls.Config) {
	for _, b := range s.steps {
		if f := connections[b.Name]; f != nil {
			return f
		}
	}
	return nil
}
