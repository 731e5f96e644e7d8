package cli

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// argument is one argument of a command, as its usage line names it.
type argument struct {
	name           string
	optional, many bool
}

// argumentsOf reads a usage line, as "retry WEBHOOK EVENT…" or "create WEBHOOK --from TIME".
func argumentsOf(use string) (list []argument) {
	words := strings.Fields(use)[1:]
	for i := 0; i < len(words); i++ {
		if strings.HasPrefix(words[i], "-") {
			i++ // a flag and its value
			continue
		}
		name := strings.Trim(words[i], "[]")
		list = append(list, argument{
			name: strings.TrimSuffix(name, "…"), optional: strings.HasPrefix(words[i], "["), many: strings.HasSuffix(name, "…"),
		})
	}
	return list
}

// named makes a command say which of its arguments is missing, or which is one too many.
func named(cmd *cobra.Command) {
	check, want := cmd.Args, argumentsOf(cmd.Use)
	if check == nil {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil {
			return nil
		}
		var missing []string
		for i := len(args); i < len(want) && !want[i].optional; i++ {
			missing = append(missing, want[i].name)
		}
		switch {
		case len(missing) > 0:
			return usage("missing %s: %s", strings.Join(missing, " and "), cmd.UseLine())
		case len(args) > len(want):
			return usage("%q is one argument too many: %s", args[len(want)], cmd.UseLine())
		}
		return err
	}
}

// misspelt adds to the error of an unknown flag what was probably meant.
func misspelt(cmd *cobra.Command, err error) error {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return err
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	if near := hook.Nearest(unknown.GetSpecifiedName(), known); near != "" {
		return fmt.Errorf("%w; did you mean --%s?", err, near)
	}
	return err
}

// word is a flag that takes one of a few words, in capitals or not.
type word[T ~string] struct {
	value *T
	words []T
}

func (w word[T]) String() string {
	if w.value == nil {
		return ""
	}
	return string(*w.value)
}

func (w word[T]) Type() string { return "word" }

func (w word[T]) Set(text string) error {
	for _, one := range w.words {
		if strings.EqualFold(string(one), text) {
			*w.value = one
			return nil
		}
	}
	return fmt.Errorf("is none of %s", w.list())
}

func (w word[T]) list() string {
	var all []string
	for _, one := range w.words {
		all = append(all, string(one))
	}
	return strings.Join(all, ", ")
}

// oneOf adds a flag that takes one of a few words, and their completion.
func oneOf[T ~string](cmd *cobra.Command, value *T, name, text string, words ...T) {
	w := word[T]{value, words}
	cmd.Flags().Var(w, name, text+": "+w.list())
	_ = cmd.RegisterFlagCompletionFunc(name, func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return strings.Split(w.list(), ", "), cobra.ShellCompDirectiveNoFileComp
	})
}

// span is a flag that takes a length of time: as Go writes it, and in days too ("7d", "1d12h").
type span time.Duration

// String leaves nothing as nothing, so that help names no default.
func (s *span) String() string {
	if *s == 0 {
		return ""
	}
	text := time.Duration(*s).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-len("0s")]
		}
	}
	return text
}

func (s *span) Type() string { return "duration" }

func (s *span) Set(text string) error {
	d, err := parseSpan(text)
	*s = span(d)
	return err
}

// parseSpan reads a length of time. A day is 24 hours.
func parseSpan(text string) (time.Duration, error) {
	var days time.Duration
	if number, rest, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is no length of time, as 90m, 24h or 7d", text)
		}
		if days, text = time.Duration(n)*24*time.Hour, rest; text == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no length of time, as 90m, 24h or 7d", text)
	}
	return days + d, nil
}

// completionTime is how long a shell waits at most for ids from the server.
const completionTime = 2 * time.Second

// complete offers what an argument of that name can be. Ids come from the server, with what tells
// them apart for a person.
func (p *Program) complete(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	want := argumentsOf(cmd.Use)
	if len(want) == 0 || len(args) >= len(want) && !want[len(want)-1].many {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	name := want[min(len(args), len(want)-1)].name
	switch name {
	case "FILE":
		return nil, cobra.ShellCompDirectiveDefault
	case "DIRECTORY":
		return nil, cobra.ShellCompDirectiveFilterDirs
	case "TOPIC":
		return completeTopic(cmd, nil, "")
	}
	c, err := config.LoadClient(cmd.Flags())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	api, err := newCaller(c)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Root().Context()), completionTime)
	defer cancel()
	var all []cobra.Completion
	for one, err := range ids(ctx, api, name, args) {
		if err != nil || len(all) == pageSize(0) {
			break
		}
		if !slices.Contains(args, strings.SplitN(one, "\t", 2)[0]) {
			all = append(all, one)
		}
	}
	return all, cobra.ShellCompDirectiveNoFileComp
}

// ids lists what an argument can be, each with a description. args are those before it.
func ids(ctx context.Context, api *caller, name string, args []string) iter.Seq2[cobra.Completion, error] {
	describe := cobra.CompletionWithDesc
	switch {
	case name == "WEBHOOK":
		return each(api.Webhooks(ctx, client.WebhookFilter{PageSize: hook.MaxLimit}), func(w client.Webhook) cobra.Completion {
			return describe(w.ID, string(w.Status)+" "+w.Endpoint)
		})
	case name == "EVENT" && len(args) > 0:
		return each(api.Deliveries(ctx, args[0], client.DeliveryFilter{}), func(d client.Delivery) cobra.Completion {
			return describe(d.EventID, string(d.Status)+" "+d.Event)
		})
	case name == "EVENT":
		return each(api.Events(ctx, client.EventFilter{}), func(e client.Event) cobra.Completion { return describe(e.ID, e.Event) })
	case name == "REPLAY" && len(args) > 0:
		return each(api.Replays(ctx, args[0]), func(r client.Replay) cobra.Completion { return describe(r.ID, string(r.Status)) })
	}
	company, err := api.company(ctx)
	switch {
	case err != nil:
	case name == "KEY":
		return each(api.Keys(ctx, company), func(k client.Key) cobra.Completion { return describe(k.ID, string(k.Scope)+" "+k.Name) })
	case name == "LINK":
		return each(api.ConsoleLinks(ctx, company), func(l client.ConsoleLink) cobra.Completion { return describe(l.ID, "until "+when(l.ExpiresAt)) })
	}
	return func(func(cobra.Completion, error) bool) {}
}

// each turns a list's items into something else.
func each[T, R any](list iter.Seq2[T, error], turn func(T) R) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		for item, err := range list {
			if !yield(turn(item), err) {
				return
			}
		}
	}
}
