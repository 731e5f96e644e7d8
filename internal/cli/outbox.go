package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	table "github.com/atlas-webhooks/atlas-webhooks/internal/source/outbox"
	"github.com/atlas-webhooks/atlas-webhooks/outbox"
)

func (p *Program) outbox() *cobra.Command {
	return group("outbox", "Publish in the transactions of a producer's own database", p.outboxSQL(), p.outboxCheck())
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

// checked is an object as the check shows it.
type checked struct {
	CompanyID string     `json:"company_id"`
	ObjectID  string     `json:"object_id"`
	Changed   string     `json:"changed"`
	LastEvent *string    `json:"last_event_id"`
	LastAt    *time.Time `json:"last_accepted_at"`
	State     string     `json:"state"` // "missing", or "waiting" in the outbox
}

func (p *Program) outboxCheck() *cobra.Command {
	var o table.Objects
	var database, event string
	cmd := &cobra.Command{
		Use: "check --database URL --table TABLE --id COLUMN --changed COLUMN", Args: cobra.NoArgs,
		Short: "Name the objects of a producer's table whose last change was never accepted",
		Long: "Compare a table of a producer's with what the server accepted, and name the objects whose last change never came: because nothing was published, or it was lost. " +
			"The last event of an object tells by its document, where that has the column --changed, a time or a number that grows; else by its time. " +
			"Changes that wait in the outbox are named too. It fails where a change is missing. Objects that are deleted are not in the table.",
		Example: example(
			"atlas-webhooks outbox check --database @outbox.url --table customers --id id --changed updated_at --company-column company_id --since 24h",
			"atlas-webhooks outbox check --database mariadb://shop@db/shop --table customers --id id --changed version --company c1 --event customer",
		),
	}
	flags := cmd.Flags()
	flags.StringVar(&database, "database", "", "the producer's database, as postgres://user:password@host/database or mariadb://…: text, @file or @- (standard input)")
	flags.StringVar(&o.Table, "table", "", "`table` of the objects")
	flags.StringVar(&o.ID, "id", "", "`column` of the object's id")
	flags.StringVar(&o.Changed, "changed", "", "`column` that says when, or how often, an object was changed")
	flags.StringVar(&o.Company, "company-column", "", "`column` of the company's id; all are of --company when it is left out")
	flags.StringVar(&event, "event", "", "topic whose events count; all that are about an object of this id when it is left out")
	flags.Var((*span)(&o.Since), "since", "only objects changed within this time, as 24h; --changed is a time then")
	_ = cmd.RegisterFlagCompletionFunc("event", completeTopic)
	for _, name := range []string{"database", "table", "id", "changed"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return p.remote(cmd, func(ctx context.Context, api *caller, _ []string) error {
		address, err := p.content("database", database)
		if err != nil {
			return err
		}
		list, err := readObjects(ctx, strings.TrimSpace(string(address)), o)
		if err != nil {
			return fmt.Errorf("--database: %w", err)
		}
		found, err := compared(ctx, api, list, o.Changed, event)
		if err != nil {
			return err
		}
		return p.tellChecked(found, len(list))
	})
}

func readObjects(ctx context.Context, address string, o table.Objects) ([]table.Object, error) {
	t, err := table.Open(address)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return t.Objects(ctx, o)
}

// compared asks for the last event of each object, and returns those that lack their last change.
func compared(ctx context.Context, api *caller, list []table.Object, column, event string) ([]checked, error) {
	found := make([]*checked, len(list))
	var asking errgroup.Group
	asking.SetLimit(8)
	for i := range list {
		asking.Go(func() error {
			o := &list[i]
			of := api.Client
			if o.Company != "" {
				of = api.For(o.Company)
			}
			var last *client.Event
			for e, err := range of.Events(ctx, client.EventFilter{ObjectID: o.ID, Event: event, PageSize: 1}) {
				if err != nil {
					return err
				}
				last = &e
				break
			}
			x := checked{CompanyID: o.Company, ObjectID: o.ID, Changed: o.Changed, State: "missing"}
			var known *table.Last
			if last != nil {
				x.LastEvent, x.LastAt = &last.ID, &last.AcceptedAt
				known = &table.Last{Data: last.Data, OccurredAt: last.OccurredAt, AcceptedAt: last.AcceptedAt}
			}
			came, err := o.Came(column, known)
			if err != nil || came {
				return err
			}
			if o.Waits {
				x.State = "waiting"
			}
			found[i] = &x
			return nil
		})
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	var short []checked
	for _, x := range found {
		if x != nil {
			short = append(short, *x)
		}
	}
	return short, nil
}

func (p *Program) tellChecked(found []checked, of int) error {
	missing := 0
	for _, x := range found {
		if x.State == "missing" {
			missing++
		}
	}
	err := records(p, "COMPANY OBJECT CHANGED LAST-EVENT ACCEPTED STATE", found, func(x checked) []string {
		return []string{x.CompanyID, x.ObjectID, x.Changed, show(x.LastEvent), show(x.LastAt), x.State}
	})
	if err != nil {
		return err
	}
	if of == table.MaxObjects {
		p.progress("only the %d objects that were changed last are compared", of)
	}
	p.progress("%d of %d objects are as they were accepted last, %d wait in the outbox", of-len(found), of, len(found)-missing)
	if missing > 0 {
		return fmt.Errorf("the last change of %d objects was never accepted", missing)
	}
	return nil
}
