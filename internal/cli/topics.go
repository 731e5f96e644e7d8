package cli

import (
	"bytes"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// topicRecord is a topic as the API shows it.
type topicRecord struct {
	Topic       string          `json:"topic"`
	Category    string          `json:"category"`
	Description string          `json:"description"`
	Summary     string          `json:"summary"`
	Sample      json.RawMessage `json:"sample"`
}

func (p *Program) topics() *cobra.Command {
	return &cobra.Command{
		Use:   "topics [TOPIC]",
		Short: "List the topics, or show one with its sample",
		Long:  "List the topics that events have and webhooks subscribe to, or show one of them with a sample of its data. Needs no server.",
		Args:  cobra.MaximumNArgs(1),
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
	return topicRecord{t.Name, t.Category, t.Description, t.Summary, json.RawMessage(t.Sample)}
}

// lookupTopic finds a topic by name; the error for one that does not exist names the nearest.
func lookupTopic(name string) (hook.Topic, error) {
	t, ok := hook.LookupTopic(name)
	switch nearest := hook.NearestTopic(name); {
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
