package cli

import (
	"context"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) conservation() *cobra.Command {
	var deep bool
	cmd := &cobra.Command{
		Use: "conservation", Short: "Check that every matched event is accounted for", Args: cobra.NoArgs,
		Long: "Check for each webhook that matched = delivered + failed + skipped + parked + pending. It fails if one is not balanced. " +
			"--deep counts anew from the log, which is slow.",
		Example: example("atlas-webhooks conservation --company c1", "atlas-webhooks conservation --company c1 --deep --output json"),
	}
	cmd.Flags().BoolVar(&deep, "deep", false, "count anew from the log")
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		wrong := 0
		const heading = "WEBHOOK MATCHED DELIVERED FAILED SKIPPED PARKED PENDING BALANCED"
		err := listing(p, heading, counting(api.CheckConservation(ctx, deep), &wrong), 0, func(b client.Balance) []string {
			return []string{
				b.WebhookID, fmt.Sprint(b.Matched), fmt.Sprint(b.Delivered), fmt.Sprint(b.Failed), fmt.Sprint(b.Skipped), fmt.Sprint(b.Parked),
				fmt.Sprint(b.Pending), fmt.Sprint(b.Balanced),
			}
		})
		if err == nil && wrong > 0 {
			err = fmt.Errorf("%d webhooks are not balanced", wrong)
		}
		return err
	})
}

// counting passes balances on and counts those that are wrong.
func counting(list iter.Seq2[client.Balance, error], wrong *int) iter.Seq2[client.Balance, error] {
	return func(yield func(client.Balance, error) bool) {
		for b, err := range list {
			if err == nil && !b.Balanced {
				*wrong++
			}
			if !yield(b, err) {
				return
			}
		}
	}
}
