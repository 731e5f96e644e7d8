package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/topic"
	"github.com/atlas-webhooks/atlas-webhooks/internal/topic/receiving"
)

func (p *Program) topicsTypes() *cobra.Command {
	var language, file string
	cmd := &cobra.Command{
		Use: "types --lang LANGUAGE [TOPIC…]", Args: cobra.ArbitraryArgs, Short: "Write the types that a receiver reads documents with",
		Long: "Write types in Go, TypeScript or Python from the schemas of a server's topics, of all or of those that are named. " +
			"With --file the topics are the built-in ones and those of a topics file, and no server is needed.",
		Example: example(
			"atlas-webhooks topics types --lang ts > topics.ts",
			"atlas-webhooks topics types --lang go conversation.status customer --file docs/topics.yaml > topics/topics.go",
		),
	}
	flags := cmd.Flags()
	flags.StringVar(&language, "lang", "", "go, ts or python")
	flags.StringVar(&file, "file", "", "topics file that is read instead of asking a server")
	_ = cmd.MarkFlagRequired("lang")
	_ = cmd.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions(receiving.Languages(), cobra.ShellCompDirectiveNoFileComp))
	ask := p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		list, err := api.Topics(ctx)
		if err != nil {
			return err
		}
		var topics []hook.Topic
		for _, t := range list {
			topics = append(topics, hook.Topic{Name: t.Topic, Category: t.Category, Description: t.Description, Schema: string(t.Schema)})
		}
		return p.types(language, topics, args)
	})
	remote := ask.RunE
	ask.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(receiving.Languages(), language) {
			return usage("--lang: must be go, ts or python")
		}
		if file == "" {
			return remote(cmd, args)
		}
		own, err := topic.ReadFile(file)
		if err != nil {
			return err
		}
		return p.types(language, slices.Concat(hook.Topics(), own), args)
	}
	return ask
}

func (p *Program) types(language string, topics []hook.Topic, names []string) error {
	if len(names) > 0 {
		catalogue := hook.NewCatalogue(slices.DeleteFunc(slices.Clone(topics), func(t hook.Topic) bool {
			_, builtIn := hook.LookupTopic(t.Name)
			return builtIn
		}))
		topics = nil
		for _, name := range names {
			t, ok := catalogue.Lookup(name)
			if near := catalogue.Nearest(name); !ok && near != "" {
				return notFound("there is no topic %q; did you mean %s?", name, near)
			} else if !ok {
				return notFound("there is no topic %q", name)
			}
			topics = append(topics, t)
		}
	}
	code, err := receiving.Types(language, topics)
	if err != nil {
		return err
	}
	return p.line("%s", strings.TrimSuffix(string(code), "\n"))
}
