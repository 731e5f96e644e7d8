package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Node is one process that serves the store.
type Node struct {
	ID        string // random, made at each start
	URL       string // where the other nodes reach it
	Version   string
	StartedAt time.Time
	InFlight  int  // attempts under way or not yet recorded, at its last renewal
	Leaving   bool // it hands its partitions over and takes none
	// Process is which process it is, for others on the same machine; "" where none can tell.
	Process string
	// LeaseUntil is when its lease runs out, on the database's clock; Expired says that it has.
	LeaseUntil time.Time
	Expired    bool
}

// Members is who is there, and who owns what: one snapshot.
type Members struct {
	Nodes  []Node                    // those that are not dead, by id
	Owners map[hook.Partition]string // "" and ids of dead nodes: nobody
}

// Owned is a partition as its owner must know it.
type Owned struct {
	Partition     hook.Partition
	ConfigVersion int64
	Head          hook.Offset // offset of its last event
}

// deadKept is how long the row of a dead node is kept, for those who look.
const deadKept = 24 * time.Hour

// Nodes is where the processes that share a Postgres say that they live, and what they own. Leases
// are on the database's clock, and renewed on connections that wait for nobody else's. One order of
// locks: nodes, then owners, then all the rest.
type Nodes struct {
	e    *Engine
	pool *pgxpool.Pool
}

// Nodes are those of the engine's database.
func (e *Engine) Nodes() *Nodes { return &Nodes{e, e.few} }

// Join enters a new node; [era.ErrWentBack] where the database is not the one that this process knows.
func (n *Nodes) Join(ctx context.Context, x Node, lease time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	k, err := n.e.at()
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	beat, _ := n.e.present.beats.next(x.ID)
	tag, err := n.pool.Exec(ctx, `
		INSERT INTO nodes (id, url, version, started_at, lease_until, in_flight, leaving, dead, process, beat, beat_at)
		SELECT $1, $2, $3, $4, clock_timestamp() + $5::interval, 0, false, false, $9, $6, `+sqlNow+`
		WHERE (SELECT max(number) FROM eras) = $7 AND EXISTS (`+sameEra+`)
		ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until WHERE NOT nodes.dead`,
		x.ID, x.URL, x.Version, sql.Micros(x.StartedAt), lease, beat, k.era.Number, k.row, x.Process)
	if err != nil {
		return fmt.Errorf("join: %w", n.e.mapError(err))
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("join: %w", n.e.noticed(k, "its rows are not those that this node knows"))
	}
	n.e.present.beats.confirm(x.ID, beat, true)
	return nil
}

const (
	sqlNow = `(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
	// sameEra finds the row of the era that lasts as long as nobody has written it anew.
	sameEra = `SELECT 1 FROM eras WHERE number = $7 AND xmin::text = $8`
)

// Renew extends a node's lease from now and returns who else is there; [log.ErrFenced] to one that is
// dead, [era.ErrWentBack] where the last renewal is not found.
func (n *Nodes) Renew(ctx context.Context, x Node, lease time.Duration) (m Members, err error) {
	n.e.present.renewing.Lock() // what one writes, the next must find
	defer n.e.present.renewing.Unlock()
	k, err := n.e.at()
	if err != nil {
		return Members{}, err
	}
	renewed, dead := false, false
	found := "" // when it was not renewed
	beat, find := n.e.present.beats.next(x.ID)
	var b pgx.Batch
	b.Queue(`
		UPDATE nodes SET lease_until = clock_timestamp() + $2::interval, in_flight = $3, leaving = leaving OR $4, beat = $5, beat_at = `+sqlNow+`
		WHERE id = $1 AND NOT dead AND beat = ANY($6::text[])
		RETURNING true`, x.ID, lease, x.InFlight, x.Leaving, beat, find).QueryRow(func(r pgx.Row) error {
		err := r.Scan(&renewed)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	b.Queue(`SELECT coalesce((SELECT beat FROM nodes WHERE id = $1), ''), coalesce((SELECT dead FROM nodes WHERE id = $1), false)`, x.ID).
		QueryRow(func(r pgx.Row) error { return r.Scan(&found, &dead) })
	m.queue(&b)
	safe := true
	b.Queue(safeServer).QueryRow(func(r pgx.Row) error { return r.Scan(&safe) })
	if err := n.pool.SendBatch(ctx, &b).Close(); err != nil {
		return Members{}, fmt.Errorf("renew the lease: %w", n.e.mapError(err))
	}
	if !safe {
		n.e.pool.Reset() // the sessions that follow are refused, and say why
	}
	switch {
	case renewed:
		n.e.present.beats.confirm(x.ID, beat, false)
		return m, nil
	case dead || found == "" && n.e.present.beats.outlived(x.ID):
		return Members{}, log.ErrFenced
	}
	return Members{}, n.e.noticed(k, "what this node wrote last when it renewed its lease is not there")
}

// Members reads who is there, and who owns what.
func (n *Nodes) Members(ctx context.Context) (m Members, err error) {
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	var b pgx.Batch
	m.queue(&b)
	if err := n.pool.SendBatch(ctx, &b).Close(); err != nil {
		return Members{}, fmt.Errorf("read the nodes: %w", n.e.mapError(err))
	}
	return m, nil
}

func (m *Members) queue(b *pgx.Batch) {
	m.Owners = map[hook.Partition]string{}
	b.Queue(`
		SELECT id, url, version, started_at, lease_until, lease_until < clock_timestamp(), in_flight, leaving, process
		FROM nodes WHERE NOT dead ORDER BY id`).Query(func(r pgx.Rows) error {
		for r.Next() {
			var x Node
			var started int64
			if err := r.Scan(&x.ID, &x.URL, &x.Version, &started, &x.LeaseUntil, &x.Expired, &x.InFlight, &x.Leaving, &x.Process); err != nil {
				return err
			}
			x.StartedAt = sql.FromMicros(started)
			m.Nodes = append(m.Nodes, x)
		}
		return r.Err()
	})
	b.Queue(`SELECT partition, node_id FROM owners`).Query(func(r pgx.Rows) error {
		for r.Next() {
			var p hook.Partition
			var id string
			if err := r.Scan(&p, &id); err != nil {
				return err
			}
			m.Owners[p] = id
		}
		return r.Err()
	})
}

// Bury declares a node dead, for ever, if its lease has run out. It waits for a record of that node
// that is being committed; none follows it.
func (n *Nodes) Bury(ctx context.Context, id string) error {
	err := n.e.again(ctx, func(ctx context.Context) error {
		var b pgx.Batch
		b.Queue(`UPDATE nodes SET dead = true WHERE id = $1 AND lease_until < clock_timestamp()`, id)
		b.Queue(`DELETE FROM nodes WHERE dead AND lease_until < clock_timestamp() - $1::interval`, deadKept)
		return n.pool.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return fmt.Errorf("declare a node dead: %w", n.e.mapError(err))
	}
	return nil
}

// BuryEnded declares a node dead, for ever, although its lease lasts. It is for one whose process is known
// to be gone: what it sent to the database before may still be committed, and is waited for.
func (n *Nodes) BuryEnded(ctx context.Context, x Node) error {
	err := n.e.again(ctx, func(ctx context.Context) error {
		_, err := n.pool.Exec(ctx, `UPDATE nodes SET dead = true WHERE id = $1 AND process = $2`, x.ID, x.Process)
		return err
	})
	if err != nil {
		return fmt.Errorf("declare a node dead: %w", n.e.mapError(err))
	}
	return nil
}

// Take makes a node the owner of those of the partitions that nobody alive owns. Their rows are locked
// first: an update that waits for a row looks at the new one, but at no other tables again.
func (n *Nodes) Take(ctx context.Context, me string, partitions []hook.Partition) (taken []hook.Partition, err error) {
	ids := make([]int64, len(partitions))
	for i, p := range partitions {
		ids[i] = int64(p)
	}
	err = n.fenced(ctx, me, func(t pgx.Tx) error {
		if _, err := t.Exec(ctx, `SELECT FROM owners WHERE partition = ANY($1::bigint[]) ORDER BY partition FOR NO KEY UPDATE`, ids); err != nil {
			return err
		}
		rows, err := t.Query(ctx, `
			UPDATE owners o SET node_id = $1 WHERE partition = ANY($2::bigint[])
				AND NOT EXISTS (SELECT 1 FROM nodes n WHERE n.id = o.node_id AND NOT n.dead)
			RETURNING partition`, me, ids)
		if err != nil {
			return err
		}
		taken, err = pgx.CollectRows(rows, pgx.RowTo[hook.Partition])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("take partitions: %w", err)
	}
	return taken, nil
}

// Give hands a partition of a node's over to another, after its last record of it.
func (n *Nodes) Give(ctx context.Context, me, to string, p hook.Partition) error {
	err := n.fenced(ctx, me, func(t pgx.Tx) error {
		_, err := t.Exec(ctx, `UPDATE owners SET node_id = $1 WHERE partition = $2 AND node_id = $3`, to, int64(p), me)
		return err
	})
	if err != nil {
		return fmt.Errorf("hand partition %d over: %w", p, err)
	}
	return nil
}

// fenced runs fn while the node cannot be declared dead.
func (n *Nodes) fenced(ctx context.Context, me string, fn func(pgx.Tx) error) error {
	err := n.e.again(ctx, func(ctx context.Context) error {
		return pgx.BeginTxFunc(ctx, n.pool, readCommitted, func(t pgx.Tx) error {
			tag, err := t.Exec(ctx, `SELECT FROM nodes WHERE id = $1 AND NOT dead FOR KEY SHARE`, me)
			if err == nil && tag.RowsAffected() == 0 {
				err = log.ErrFenced
			}
			if err != nil {
				return err
			}
			return fn(t)
		})
	})
	return n.e.mapError(err)
}

// Owned reads what a node owns, how far the log of each partition is, and the version of its
// configuration: the question that an owner asks all the time.
func (n *Nodes) Owned(ctx context.Context, me string) (list []Owned, err error) {
	if _, err := n.e.at(); err != nil {
		return nil, err
	}
	rows, err := n.pool.Query(ctx, `
		SELECT o.partition, o.config_version,
			coalesce((SELECT e."offset" FROM events e WHERE e.partition = o.partition ORDER BY e."offset" DESC LIMIT 1), p.base_offset)
		FROM owners o JOIN partitions p ON p.id = o.partition WHERE o.node_id = $1`, me)
	if err == nil {
		list, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Owned])
	}
	if err != nil {
		return nil, fmt.Errorf("read what this node owns: %w", n.e.mapError(err))
	}
	return list, nil
}

// Leave ends a node: what it still owns is anybody's. It is for one that has made its last record.
func (n *Nodes) Leave(ctx context.Context, me string) error {
	if _, err := n.pool.Exec(ctx, `UPDATE nodes SET dead = true WHERE id = $1`, me); err != nil {
		return fmt.Errorf("leave: %w", n.e.mapError(err))
	}
	n.e.present.beats.end(me)
	return nil
}
