package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

func (p *Program) stats() *cobra.Command {
	window := client.Day
	cmd := &cobra.Command{
		Use: "stats [WEBHOOK]", Short: "Show what was delivered and how fast, over time", Args: cobra.MaximumNArgs(1),
		Example: example(
			"atlas-webhooks stats --company c1",
			"atlas-webhooks stats wh_01h… --window 7d --output json",
		),
	}
	oneOf(cmd, &window, "window", "up to now", client.Hour, client.Day, client.Week, client.Month)
	return p.remote(cmd, func(ctx context.Context, api *caller, args []string) error {
		var s *client.Stats
		var err error
		if len(args) > 0 {
			s, err = api.WebhookStats(ctx, args[0], window)
		} else {
			s, err = api.Stats(ctx, window)
		}
		if err != nil {
			return err
		}
		if p.output == "json" {
			return p.record(s)
		}
		type row struct {
			name string
			client.Figures
		}
		var rows []row
		for _, b := range s.Data {
			rows = append(rows, row{when(b.At), b.Figures})
		}
		rows = append(rows, row{"all", s.Total})
		return records(p, "FROM DELIVERED FAILED RETRIED P50-MS P95-MS P99-MS ACCEPT-TO-DELIVERED-P50-MS", rows, func(r row) []string {
			return []string{
				r.name, fmt.Sprint(r.Delivered), fmt.Sprint(r.Failed), fmt.Sprint(r.Retried), milliseconds(r.LatencyMS.P50), milliseconds(r.LatencyMS.P95),
				milliseconds(r.LatencyMS.P99), milliseconds(r.AcceptToDeliveredMS.P50),
			}
		})
	})
}

func milliseconds(v *float64) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf("%.3g", *v)
}

func (p *Program) notices() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "notices", Short: "Show what happened to the webhooks, newest first", Args: cobra.NoArgs,
		Example: example("atlas-webhooks notices --company c1", "atlas-webhooks notices --limit 0 --output json"),
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "how many at most; 0 for all")
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		return listing(p, "AT WEBHOOK KIND DETAIL", api.Notices(ctx), limit, func(n client.Notice) []string {
			return []string{when(n.At), n.WebhookID, n.Kind, n.Detail}
		})
	})
}
