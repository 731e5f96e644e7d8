package cli

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// topicRecord is a topic as the API shows it.
type topicRecord struct {
	Topic       string          `json:"topic"`
	Category    string          `json:"category"`
	Description string          `json:"description"`
	Summary     string          `json:"summary"`
	Sample      json.RawMessage `json:"sample"`
	Schema      json.RawMessage `json:"schema,omitempty"`
}

func (p *Program) topics() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topics [TOPIC]",
		Short: "List the topics, or show one with its sample",
		Long: "List the built-in topics that events have and webhooks subscribe to, or show one of them with a sample of its data. Needs no server. " +
			"A server may have topics of the platform's own besides: 'topics list' asks it.",
		Args: cobra.MaximumNArgs(1),
		Example: example(
			"atlas-webhooks topics",
			"atlas-webhooks topics conversation.status --output json",
		),
		ValidArgsFunction: completeTopic,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				return p.topic(args[0])
			}
			var list []topicRecord
			for _, t := range hook.Topics() {
				list = append(list, record(t))
			}
			return records(p, "TOPIC CATEGORY DESCRIPTION", list, func(t topicRecord) []string {
				return []string{t.Topic, t.Category, t.Description}
			})
		},
	}
	cmd.AddCommand(p.topicsList(), p.topicsPut(), p.topicsDelete(), p.topicsTypes())
	return cmd
}

func (p *Program) topicsList() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "list", Short: "List the topics that a server has, those of the platform's own too", Args: cobra.NoArgs,
		Example: example("atlas-webhooks topics list", "atlas-webhooks topics list --output json"),
	}, func(ctx context.Context, api *caller, _ []string) error {
		list, err := api.Topics(ctx)
		if err != nil {
			return err
		}
		return records(p, "TOPIC CATEGORY SINCE DESCRIPTION", list, func(t client.Topic) []string {
			return []string{t.Topic, t.Category, t.Since, t.Description}
		})
	})
}

func (p *Program) topicsPut() *cobra.Command {
	var t client.TopicPut
	var sample, schema string
	var rule client.TopicRule
	cmd := &cobra.Command{
		Use: "put TOPIC --category CATEGORY --description TEXT", Short: "Add a topic of the platform's own, or change it", Args: cobra.ExactArgs(1),
		Example: example(
			"atlas-webhooks topics put conversation.created --category CONVERSATION --description 'conversation created'",
			"atlas-webhooks topics put order.shipped --category ORDER --description 'order shipped' --sample @order.json --schema @order.schema.json",
		),
	}
	flags := cmd.Flags()
	flags.StringVar(&t.Category, "category", "", "what its events are about, as CONVERSATION; it cannot be changed later")
	flags.StringVar(&t.Description, "description", "", "what happened")
	flags.StringVar(&t.Summary, "summary", "", "when it is sent")
	flags.StringVar(&t.Since, "since", "", "since when, or since which revision, it is sent")
	flags.BoolVar(&t.Deprecated, "deprecated", false, "say that nobody should subscribe to it any more")
	flags.StringVar(&sample, "sample", "", "document as it might be published: text, @file or @- (standard input)")
	flags.StringVar(&schema, "schema", "", "JSON Schema of its documents: text, @file or @-")
	flags.StringVar(&rule.ObjectType, "derive-from", "", "type of the objects whose changes mean an event, as order")
	flags.StringSliceVar(&rule.Paths, "derive-path", nil, "JSON pointer to what must have changed, as /status; several times, or any change")
	flags.StringVar(&t.Validate, "validate", "", "what becomes of documents that the schema forbids: off, warn or reject")
	for _, name := range []string{"category", "description"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		for _, doc := range []struct {
			flag, value string
			to          *json.RawMessage
		}{{"sample", sample, &t.Sample}, {"schema", schema, &t.Schema}} {
			if doc.value == "" {
				continue
			}
			text, err := p.content(doc.flag, doc.value)
			if err != nil {
				return err
			}
			if !json.Valid(text) {
				return usage("--%s: is no JSON document", doc.flag)
			}
			*doc.to = text
		}
		if rule.ObjectType != "" || rule.Paths != nil {
			t.Derive = &rule
		}
		put, err := api.PutTopic(ctx, args[0], t)
		if err != nil {
			return err
		}
		return p.thing(put, field{"topic", put.Topic.Topic}, field{"category", put.Category}, field{"description", put.Description})
	})
}

func (p *Program) topicsDelete() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "delete TOPIC", Short: "Delete a topic of the platform's own that no webhook names", Args: cobra.ExactArgs(1),
		Example: example("atlas-webhooks topics delete order.shipped", "atlas-webhooks topics delete order.shipped --quiet"),
	}, func(ctx context.Context, api *caller, args []string) error {
		if err := api.DeleteTopic(ctx, args[0]); err != nil {
			return err
		}
		p.progress("deleted %s: its events stay", args[0])
		return nil
	})
}

func (p *Program) topic(name string) error {
	t, err := lookupTopic(name)
	if err != nil {
		return err
	}
	if p.output == "json" {
		return p.record(record(t))
	}
	var sample bytes.Buffer
	if err := json.Indent(&sample, []byte(t.Sample), "", "  "); err != nil {
		return err
	}
	return p.line("%s  %s\n%s.\n%s\n\n%s", t.Name, t.Category, t.Description, t.Summary, sample.String())
}

func record(t hook.Topic) topicRecord {
	return topicRecord{t.Name, t.Category, t.Description, t.Summary, json.RawMessage(t.Sample), json.RawMessage(t.Schema)}
}

// lookupTopic finds a topic by name; the error for one that does not exist names the nearest.
func lookupTopic(name string) (hook.Topic, error) {
	t, ok := hook.LookupTopic(name)
	switch nearest := hook.NewCatalogue(nil).Nearest(name); {
	case ok:
		return t, nil
	case nearest != "":
		return t, notFound("there is no topic %q; did you mean %s?", name, nearest)
	default:
		return t, notFound("there is no topic %q; 'atlas-webhooks topics' lists them", name)
	}
}

func completeTopic(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []cobra.Completion
	for _, t := range hook.Topics() {
		names = append(names, cobra.CompletionWithDesc(t.Name, t.Description))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
