package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) replays() *cobra.Command {
	return group("replays", "Send a stretch of the past again", p.replaysCreate(), p.replaysList(), p.replaysGet(), p.replaysCancel())
}

func (p *Program) replaysCreate() *cobra.Command {
	var r client.ReplayCreate
	var from, to string
	r.Only, r.Rules = client.All, client.RulesThen
	var dryRun, wait bool
	cmd := &cobra.Command{
		Use: "create WEBHOOK --from TIME", Short: "Send again what a webhook has passed since a moment", Args: cobra.ExactArgs(1),
		Example: example(
			"atlas-webhooks replays create wh_01h… --from 6h --only undelivered --dry-run",
			"atlas-webhooks replays create wh_01h… --from 24h --only undelivered --rules current",
			"atlas-webhooks replays create wh_01h… --from 2026-01-02T15:00:00Z --to 2026-01-02T18:00:00Z --rate 50 --wait",
		),
	}
	flags := cmd.Flags()
	flags.StringVar(&from, "from", "", "events accepted at or after: a time, or how long ago (6h, 7d)")
	flags.StringVar(&to, "to", "", "events accepted before (default: now)")
	oneOf(cmd, &r.Only, "only", "what of it (undelivered is failed, skipped, retrying and held)", client.All, client.OnlyFailed, client.OnlyUndelivered)
	oneOf(cmd, &r.Rules, "rules", "which rule decides what the webhook wanted: that of the event's time, or today's, also for what never matched", client.RulesThen, client.RulesCurrent)
	flags.StringVar(&r.Event, "event", "", "only events of this topic")
	flags.Float64Var(&r.RatePerSecond, "rate", 0, "deliveries per second (default: the webhook's own rate)")
	flags.BoolVar(&dryRun, "dry-run", false, "only count what would be sent")
	flags.BoolVar(&wait, "wait", false, "show the progress until it is done")
	_ = cmd.MarkFlagRequired("from")
	_ = cmd.RegisterFlagCompletionFunc("event", completeTopic)
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) (err error) {
		if r.From, err = moment("from", from); err != nil {
			return err
		}
		if to != "" {
			end, err := moment("to", to)
			if err != nil {
				return err
			}
			r.To = &end
		}
		if dryRun {
			extent, err := api.MeasureReplay(ctx, args[0], r)
			if err != nil {
				return err
			}
			atLeast := ""
			if !extent.Exact {
				atLeast = "at least "
			}
			return p.thing(extent, field{"events", atLeast + fmt.Sprint(extent.Count)}, field{"bytes of data", atLeast + fmt.Sprint(extent.Bytes)})
		}
		replay, err := api.CreateReplay(ctx, args[0], r)
		if err == nil && wait {
			replay, err = p.watch(ctx, api, replay)
		}
		if err != nil {
			return err
		}
		return p.replay(replay)
	})
}

// watch shows how far a replay is until it has an end.
func (p *Program) watch(ctx context.Context, api *caller, r *client.Replay) (*client.Replay, error) {
	for wait := firstPoll; r.Status == client.ReplayRunning; wait = min(2*wait, lastPoll) {
		if err := pause(ctx, wait); err != nil {
			return nil, err
		}
		var err error
		if r, err = api.Replay(ctx, r.WebhookID, r.ID); err != nil {
			return nil, err
		}
		p.progress("%3.0f %%  %d begun, %d delivered, %d failed", 100*r.Progress, r.Started, r.Delivered, r.Failed)
	}
	return r, nil
}

func (p *Program) replay(r *client.Replay) error {
	return p.thing(
		r, field{"id", r.ID}, field{"status", fmt.Sprintf("%s, %.0f %% looked at", r.Status, 100*r.Progress)},
		field{"covers", fmt.Sprintf("%s by the rules %s, from %s to %s", r.Only, r.Rules, when(r.From), orElse(show(r.To), "its creation"))},
		field{"deliveries", fmt.Sprintf("%d begun, %d delivered, %d failed", r.Started, r.Delivered, r.Failed)},
	)
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func (p *Program) replaysList() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "list WEBHOOK", Short: "List a webhook's replays, newest first", Args: cobra.ExactArgs(1),
		Example: example("atlas-webhooks replays list wh_01h…", "atlas-webhooks replays list wh_01h… --output json"),
	}, func(ctx context.Context, api *caller, args []string) error {
		return listing(p, "ID STATUS FROM ONLY BEGUN DELIVERED FAILED", api.Replays(ctx, args[0]), 0, func(r client.Replay) []string {
			return []string{r.ID, string(r.Status), when(r.From), string(r.Only), fmt.Sprint(r.Started), fmt.Sprint(r.Delivered), fmt.Sprint(r.Failed)}
		})
	})
}

func (p *Program) replaysGet() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "get WEBHOOK REPLAY", Short: "Show how far a replay is", Args: cobra.ExactArgs(2),
		Example: example("atlas-webhooks replays get wh_01h… rpl_01h…", "atlas-webhooks replays get wh_01h… rpl_01h… --output json"),
	}, func(ctx context.Context, api *caller, args []string) error {
		r, err := api.Replay(ctx, args[0], args[1])
		if err != nil {
			return err
		}
		return p.replay(r)
	})
}

func (p *Program) replaysCancel() *cobra.Command {
	return p.remote(&cobra.Command{
		Use: "cancel WEBHOOK REPLAY", Short: "End a replay; attempts in flight end, what waits is forgotten", Args: cobra.ExactArgs(2),
		Example: example("atlas-webhooks replays cancel wh_01h… rpl_01h…", "atlas-webhooks replays cancel wh_01h… rpl_01h… --company c1"),
	}, func(ctx context.Context, api *caller, args []string) error {
		if err := api.CancelReplay(ctx, args[0], args[1]); err != nil {
			return err
		}
		p.progress("cancelled %s", args[1])
		return nil
	})
}
