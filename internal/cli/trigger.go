package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/time/rate"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

type triggerFlags struct {
	set    []string
	data   string
	object string
	id     string
	count  int
	rate   string
	wait   bool
	within span // how long to wait; 0: until it is told to end
}

func (p *Program) trigger() *cobra.Command {
	var f triggerFlags
	cmd := &cobra.Command{
		Use:   "trigger TOPIC",
		Short: "Publish a topic's sample, or data of your own, and follow its deliveries",
		Long: "Publish events of a topic. Their data is the topic's sample, changed by --set, or what --data gives. " +
			"--wait follows every delivery to its end, tells why attempts fail, and fails if one of the deliveries does. " +
			"What a PAUSED or INACTIVE webhook matched is counted and not waited for.",
		Args: cobra.ExactArgs(1),
		Example: example(
			"atlas-webhooks trigger conversation.status --company c1 --set status=CLOSED --wait",
			"atlas-webhooks trigger customer.updated --company c1 --data @customer.json",
			"atlas-webhooks trigger conversation --company c1 --count 100 --rate 10/s",
		),
		ValidArgsFunction: completeTopic,
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&f.set, "set", nil, "change the data: `path=value`, as status=CLOSED or agent.id=7 (JSON where it is, else text)")
	flags.StringVar(&f.data, "data", "", "published document instead of the sample: text, @file or @- (standard input)")
	flags.StringVar(&f.object, "object-id", "", "object that the event is about (default: the data's id)")
	flags.StringVar(&f.id, "id", "", "id of the event (default: a new one); with --count its number is added")
	flags.IntVar(&f.count, "count", 1, "how many events to publish")
	flags.StringVar(&f.rate, "rate", "", "how fast to publish, as 10/s, 600/m (default: one after the other)")
	flags.BoolVar(&f.wait, "wait", false, "follow the deliveries to their end")
	flags.Var(&f.within, "timeout", "with --wait: fail after this long, as 30s (default: never)")
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		return p.runTrigger(ctx, api, args[0], f)
	})
}

func (p *Program) runTrigger(ctx context.Context, api *caller, topic string, f triggerFlags) error {
	t, err := lookupTopic(topic)
	if err != nil { // the server may have topics of the platform's own
		own, unknown := api.Topic(ctx, topic)
		if p, ok := errors.AsType[*client.Problem](unknown); ok && p.Status == http.StatusNotFound {
			return err
		}
		if unknown != nil {
			return unknown
		}
		t = hook.Topic{Name: own.Topic.Topic, Sample: string(own.Sample)}
	}
	data := []byte(t.Sample)
	if f.data != "" {
		if data, err = p.content("data", f.data); err != nil {
			return err
		}
	}
	if data, err = setAll(data, f.set); err != nil {
		return err
	}
	limit, err := parseRate(f.rate)
	switch {
	case err != nil:
		return err
	case f.count < 1:
		return usage("--count: %d is not a number of events", f.count)
	case f.within > 0 && !f.wait:
		return usage("--timeout is for --wait")
	}
	company, err := api.company(ctx)
	if err != nil {
		return err
	}
	publish := client.Publish{CompanyID: company, Event: t.Name, ObjectID: f.object, ID: f.id, Data: json.RawMessage(data)}
	return p.publishAll(ctx, api, publish, f, rate.NewLimiter(limit, 1))
}

// publishAll publishes one after the other and follows each event when all are accepted.
func (p *Program) publishAll(ctx context.Context, api *caller, publish client.Publish, f triggerFlags, pace *rate.Limiter) error {
	var all []*client.Published
	for n := range f.count {
		if err := pace.Wait(ctx); err != nil {
			return err
		}
		if f.id != "" && f.count > 1 {
			publish.ID = f.id + "-" + strconv.Itoa(n+1)
		}
		answer, err := api.PublishEvent(ctx, publish)
		if err != nil {
			return err
		}
		if err := p.accepted(answer); err != nil {
			return err
		}
		all = append(all, answer)
	}
	if !f.wait {
		return nil
	}
	if f.within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(f.within))
		defer cancel()
	}
	return p.follow(ctx, api, publish.Event, all)
}

func (p *Program) accepted(a *client.Published) error {
	if p.output == "json" {
		return p.record(a)
	}
	if a.Duplicate {
		return p.line("%s %s accepted before, at %s", a.ID, a.Event, a.AcceptedAt.Format(time.RFC3339Nano))
	}
	return p.line("%s %s accepted", a.ID, a.Event)
}

// parseRate reads "10/s", "600/m", "5/h" or "10" (a second). No text is no limit.
func parseRate(text string) (rate.Limit, error) {
	if text == "" {
		return rate.Inf, nil
	}
	number, unit, _ := strings.Cut(text, "/")
	n, err := strconv.ParseFloat(number, 64)
	per, known := map[string]float64{"": 1, "s": 1, "m": 60, "h": 3600}[unit]
	if err != nil || !known || !(n > 0 && n <= 1e6) {
		return 0, usage("--rate: %q is not a rate, as 10/s", text)
	}
	return rate.Limit(n / per), nil
}

// setAll applies --set to a document. The text is kept as it is when there is nothing to set.
func setAll(data []byte, set []string) ([]byte, error) {
	if len(set) == 0 {
		return data, nil
	}
	document, err := exactly(data)
	if err != nil {
		return nil, usage("--set: the data is not JSON: %w", err)
	}
	for _, s := range set {
		path, text, ok := strings.Cut(s, "=")
		if !ok || path == "" {
			return nil, usage("--set: %q is not path=value, as status=CLOSED", s)
		}
		value, err := exactly([]byte(text))
		if err != nil {
			value = text
		}
		if document, err = setPath(document, strings.Split(path, "."), value); err != nil {
			return nil, usage("--set %s: %w", s, err)
		}
	}
	return json.Marshal(document)
}

// exactly decodes JSON, and an id of 20 digits stays what it is.
func exactly(text []byte) (v any, err error) {
	if !json.Valid(text) {
		return nil, json.Unmarshal(text, &v)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return v, d.Decode(&v)
}

// setPath returns the document with the value at a path of names and list positions. Objects on the
// way are made where there are none.
func setPath(document any, path []string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch d := document.(type) {
	case nil:
		return setPath(map[string]any{}, path, value)
	case map[string]any:
		inner, err := setPath(d[path[0]], path[1:], value)
		d[path[0]] = inner
		return d, err
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(d) {
			return nil, fmt.Errorf("%q is no position in a list of %d", path[0], len(d))
		}
		d[i], err = setPath(d[i], path[1:], value)
		return d, err
	default:
		return nil, fmt.Errorf("%q lies within a value that is neither object nor list", path[0])
	}
}
