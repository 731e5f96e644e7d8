package cli

import (
	"github.com/spf13/cobra"

	"github.com/atlas-webhooks/atlas-webhooks/outbox"
)

func (p *Program) outbox() *cobra.Command {
	return group("outbox", "Publish in the transactions of a producer's own database", p.outboxSQL())
}

func (p *Program) outboxSQL() *cobra.Command {
	var kind string
	var w outbox.Watched
	notify := true
	cmd := &cobra.Command{
		Use: "sql --kind postgres|mariadb [--table TABLE --object TYPE --company-column COLUMN --id COLUMN]", Args: cobra.NoArgs,
		Short: "Print the statements that make an outbox, or the triggers of a table",
		Long: "Print the statements that make the table which producers write events into, and the functions that do so; with --table those that make triggers, " +
			"which write the changes of a table of the producer's. Needs no server and no database. docs/outbox.md has more.",
		Example: example(
			"atlas-webhooks outbox sql --kind postgres | psql shop",
			"atlas-webhooks outbox sql --kind postgres --table customers --object customer --company-column company_id --id id | psql shop",
			"atlas-webhooks outbox sql --kind mariadb --table customers --object customer --company-column company_id --id id --columns id,name,tags | mariadb shop",
		),
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := outbox.Dialect(kind)
			if kind == "mysql" {
				d = outbox.MariaDB
			}
			if d != outbox.Postgres && d != outbox.MariaDB {
				return usage("--kind: %q is neither postgres nor mariadb", kind)
			}
			if w.Table == "" {
				for _, name := range []string{"object", "company-column", "id", "columns"} {
					if cmd.Flags().Changed(name) {
						return usage("--%s is about a --table", name)
					}
				}
				return p.line("%s", outbox.Schema(d, notify))
			}
			statements, err := outbox.Watch(d, w)
			if err != nil {
				return usage("%w", err)
			}
			return p.line("%s", statements)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&kind, "kind", "", "kind of the database: postgres, or mariadb, which is MySQL's too")
	flags.BoolVar(&notify, "notify", true, "on Postgres, wake the relay at each commit; transactions that notify commit one after the other")
	flags.StringVar(&w.Table, "table", "", "`table` whose changes are written by triggers")
	flags.StringVar(&w.ObjectType, "object", "", "what its rows are: conversation, customer, customer_note or account")
	flags.StringVar(&w.Company, "company-column", "", "`column` of the company's id, or an id in single quotes for all rows")
	flags.StringVar(&w.ID, "id", "", "`column` of the object's id")
	flags.StringSliceVar(&w.Columns, "columns", nil, "what the document has, each the name of a column or name=column; on Postgres all when left out")
	_ = cmd.MarkFlagRequired("kind")
	return cmd
}
