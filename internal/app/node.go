package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/deliver"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// node is this process as one that makes deliveries: on the embedded store the only one, on Postgres
// one of several. A node that was declared dead is followed, in the same process, by another with an
// id and an engine of its own.
type node struct {
	nodes  *store.Nodes // nil on the embedded store
	lease  time.Duration
	self   store.Node // of the present term; the id is set by it
	log    *slog.Logger
	engine func(store.Node) *deliver.Engine
	fenced func(error) // told when a term ends so
	// settled is told when this node knows the database again after that went back, with the era that
	// it has begun; nil when another node has.
	settled func(context.Context, *store.Era)

	term    atomic.Pointer[term]
	members atomic.Pointer[store.Members] // as last seen
}

// term is the life of one node.
type term struct {
	store.Node
	engine *deliver.Engine
}

// begin makes the engine of a new term.
func (n *node) begin() {
	x := n.self
	x.ID = hook.NewID(hook.NodePrefix, time.Now())
	n.term.Store(&term{x, n.engine(x)})
}

// current is the engine that runs now.
func (n *node) current() *deliver.Engine { return n.term.Load().engine }

// run makes deliveries until ctx ends, and gives up what is under way when hard ends.
func (n *node) run(ctx, hard context.Context) error {
	if n.nodes == nil {
		return n.current().Run(ctx, hard, 0)
	}
	for {
		err := n.serve(ctx, hard)
		if !errors.Is(err, store.ErrFenced) || ctx.Err() != nil {
			return err
		}
		n.fenced(err)
		if errors.Is(err, store.ErrWentBack) && !n.settle(ctx) {
			return nil
		}
		n.begin()
	}
}

// settle waits until the database, which went back, can be used as it is now; false when ctx ends
// before.
func (n *node) settle(ctx context.Context) bool {
	for said := false; ; said = true {
		begun, err := n.nodes.Settle(ctx)
		if err == nil {
			n.settled(ctx, begun)
			return true
		}
		if !said {
			n.log.Warn("the database went back and cannot be used yet", "error", err)
		}
		select {
		case <-time.After(settleAgain):
		case <-ctx.Done():
			return false
		}
	}
}

// settleAgain is how often a database is asked that cannot be used yet.
const settleAgain = 250 * time.Millisecond

// serve is one term, which has begun.
func (n *node) serve(ctx, hard context.Context) error {
	x := n.term.Load()
	err := n.join(ctx, x.Node)
	switch {
	case err == nil:
		err = x.engine.Run(ctx, hard)
	case ctx.Err() != nil:
		err = nil // it was told to end before it had begun
	default:
		return err
	}
	if errors.Is(err, store.ErrFenced) {
		return err // it has left already
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if left := n.nodes.Leave(end, x.ID); left != nil && err == nil {
		err = left // its lease runs out by itself
	}
	return err
}

// join waits for a store that does not answer. Nodes that this machine knows to have ended are declared dead
// at once: nobody need wait for their leases.
func (n *node) join(ctx context.Context, x store.Node) error {
	for told := false; ; {
		err := n.nodes.Join(ctx, x, n.lease)
		if err == nil {
			err = n.bury(ctx)
		}
		if err == nil || errors.Is(err, store.ErrWentBack) || !hook.IsKind(err, hook.KindUnavailable) {
			return err
		}
		if !told {
			n.log.Warn("waiting for the store, to join the other nodes", "error", err)
			told = true
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *node) bury(ctx context.Context) error {
	m, err := n.nodes.Members(ctx)
	if err != nil {
		return err
	}
	for _, x := range m.Nodes {
		if !ended(x.Process, n.self.Process) {
			continue
		}
		n.log.Warn("a node has ended without leaving: its process is gone from this machine; it is declared dead", "node", x.ID, "url", x.URL)
		if err := n.nodes.BuryEnded(ctx, x); err != nil {
			return err
		}
	}
	return nil
}

// owner is where the node is reached that runs a partition; "" where that is this one, or nobody
// knows.
func (n *node) owner(p hook.Partition) string {
	m := n.members.Load()
	if m == nil || m.Owners[p] == n.term.Load().ID {
		return ""
	}
	for _, x := range m.Nodes {
		if x.ID == m.Owners[p] && !x.Expired {
			return x.URL
		}
	}
	return ""
}

// housekeeper reports whether upkeep is this node's: the owner of the first partition does it.
func (n *node) housekeeper() bool {
	if n.nodes == nil {
		return true
	}
	m := n.members.Load()
	return m != nil && m.Owners[0] == n.term.Load().ID
}

// runs reports whether a partition is this node's.
func (n *node) runs(p hook.Partition) bool {
	if n.nodes == nil {
		return true
	}
	m := n.members.Load()
	return m != nil && m.Owners[p] == n.term.Load().ID
}

// ready answers whether this node may make deliveries.
func (n *node) ready(context.Context) error {
	if n.nodes != nil && !n.current().Leased() {
		return errors.New("this node has no lease")
	}
	return nil
}

// nodes lists the processes of the installation.
func (s *Server) nodes(ctx context.Context) ([]client.Node, error) {
	progress, err := s.store.Progress(ctx)
	if err != nil {
		return nil, err
	}
	own := s.node.term.Load()
	if s.node.nodes == nil {
		x := own.Node
		x.InFlight = own.engine.InFlight()
		n := shapeNode(x, "sqlite", progress)
		if err := s.ofThisNode(ctx, &n, own); err != nil {
			return nil, err
		}
		return s.markHeld([]client.Node{n}), nil
	}
	members, err := s.node.nodes.Members(ctx)
	if err != nil {
		return nil, err
	}
	list := []client.Node{}
	for _, x := range members.Nodes {
		if x.ID == own.ID {
			x.InFlight = own.engine.InFlight()
		}
		var runs []store.Progress
		for _, p := range progress {
			if p.Node == x.ID {
				runs = append(runs, p)
			}
		}
		n := shapeNode(x, "postgres", runs)
		if x.ID == own.ID {
			if err := s.ofThisNode(ctx, &n, own); err != nil {
				return nil, err
			}
		}
		list = append(list, n)
	}
	return s.markHeld(list), nil
}

// ofThisNode adds what no other node can tell.
func (s *Server) ofThisNode(ctx context.Context, n *client.Node, own *term) error {
	n.Authorities = s.roots
	f, err := own.engine.OwnFault(ctx)
	if f != nil {
		n.OwnFault = &client.NodeFault{Reason: f.Reason, Since: hook.Now(f.Since), LastAt: hook.Now(f.LastAt)}
	}
	return err
}

func shapeNode(x store.Node, kind string, progress []store.Progress) client.Node {
	n := client.Node{
		ID: x.ID, URL: x.URL, Version: x.Version, Store: kind, StartedAt: x.StartedAt, InFlight: x.InFlight,
		Leaving: x.Leaving, Partitions: []client.NodePartition{},
	}
	if !x.LeaseUntil.IsZero() {
		n.LeaseUntil = &x.LeaseUntil
	}
	for _, p := range progress {
		n.Partitions = append(n.Partitions, client.NodePartition{
			Partition: int(p.Partition), Tail: int64(p.Head), Swept: int64(p.Swept), Lag: p.Lag,
		})
	}
	return n
}

// nodeURL is where the other nodes reach this one: as configured, else at the address that it
// listens on, else at the one from which it reaches the database.
func nodeURL(configured string, listen net.Addr, database string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	host, port, err := net.SplitHostPort(listen.String())
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if host, err = ownHost(database); err != nil {
			return "", fmt.Errorf("node_url: %w", err)
		}
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

func ownHost(database string) (string, error) {
	u, err := url.Parse(database)
	if err != nil || u.Hostname() == "" {
		return "127.0.0.1", nil // the database is on this machine, and so are all nodes
	}
	u.Host, _, _ = strings.Cut(u.Host, ",") // the first of several
	port := u.Port()
	if port == "" {
		port = "5432"
	}
	c, err := net.Dial("udp", net.JoinHostPort(u.Hostname(), port)) //nolint:noctx // sends nothing: the system only chooses an address
	if err != nil {
		return os.Hostname()
	}
	defer c.Close()
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	return host, err
}
