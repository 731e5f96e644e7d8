package outbox_test

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"

	"github.com/atlas-webhooks/atlas-webhooks/outbox"
)

// A conversation is closed, and the event says so, or neither.
func ExamplePublish() {
	closeConversation := func(ctx context.Context, conn *pgx.Conn, id int) error {
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `UPDATE conversations SET status = 'closed' WHERE id = $1`, id); err != nil {
				return err
			}
			return outbox.Publish(ctx, tx, outbox.Event{
				CompanyID: "c1", Event: "conversation.status", Data: map[string]any{"id": id, "status": "closed"},
			})
		})
	}
	_ = closeConversation
}

// The same on MariaDB.
func ExamplePublishSQL() {
	closeConversation := func(ctx context.Context, db *sql.DB, id int) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.ExecContext(ctx, `UPDATE conversations SET status = 'closed' WHERE id = ?`, id); err != nil {
			return err
		}
		err = outbox.PublishSQL(ctx, tx, outbox.MariaDB, outbox.Event{
			CompanyID: "c1", Event: "conversation.status", Data: map[string]any{"id": id, "status": "closed"},
		})
		if err != nil {
			return err
		}
		return tx.Commit()
	}
	_ = closeConversation
}
