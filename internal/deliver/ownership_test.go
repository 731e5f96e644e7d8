package deliver

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// cluster is nodes that follow share, with a store that lets one take only what nobody alive owns.
type cluster struct {
	store.Members
	dead map[string]bool
}

func (c *cluster) alive() (ids []string) {
	for _, x := range c.Nodes {
		if !x.Expired {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// round lets every node that lives act once on what it sees, and counts the moves.
func (c *cluster) round() (moves int) {
	for _, me := range c.alive() {
		s := share(me, c.Members)
		for _, p := range s.take {
			if owner := c.Owners[p]; owner == "" || c.dead[owner] {
				c.Owners[p] = me
			}
		}
		for _, g := range s.give {
			if c.Owners[g.partition] == me {
				c.Owners[g.partition] = g.to
				moves++
			}
		}
	}
	return moves
}

func TestShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := cluster{Members: store.Members{Owners: map[hook.Partition]string{}}, dead: map[string]bool{}}
		n := rapid.IntRange(1, 64).Draw(t, "partitions")
		for p := range n {
			c.Owners[hook.Partition(p)] = ""
		}
		for step := range rapid.IntRange(1, 8).Draw(t, "steps") {
			switch kind := rapid.IntRange(0, 2).Draw(t, "change"); {
			case kind == 0 || len(c.Nodes) == 0:
				c.Nodes = append(c.Nodes, store.Node{ID: fmt.Sprintf("n%d", step)})
			case kind == 1:
				i := rapid.IntRange(0, len(c.Nodes)-1).Draw(t, "dies")
				c.dead[c.Nodes[i].ID] = true
				c.Nodes = slices.Delete(c.Nodes, i, i+1)
			case kind == 2:
				c.Nodes[rapid.IntRange(0, len(c.Nodes)-1).Draw(t, "leaves")].Leaving = true
			}
			var stay []string
			for _, x := range c.Nodes {
				if !x.Leaving {
					stay = append(stay, x.ID)
				}
			}
			c.round()
			if again := c.round(); again != 0 {
				t.Fatalf("%d partitions moved although nothing had changed", again)
			}
			if len(stay) == 0 {
				continue // nobody takes what is there
			}
			count := map[string]int{}
			for _, owner := range c.Owners {
				count[owner]++
			}
			for owner := range count {
				if !slices.Contains(stay, owner) {
					t.Fatalf("%q owns partitions; %v stay", owner, stay)
				}
			}
			for _, id := range stay {
				if count[id] < n/len(stay) || count[id] > (n+len(stay)-1)/len(stay) {
					t.Fatalf("%d of %d partitions at one of %d nodes: %v", count[id], n, len(stay), count)
				}
			}
		}
	})
}

// TestShareIsSticky: as few partitions move as an even spread needs.
func TestShareIsSticky(t *testing.T) {
	c := cluster{Members: store.Members{Owners: map[hook.Partition]string{}, Nodes: []store.Node{{ID: "a"}, {ID: "b"}, {ID: "c"}}}, dead: map[string]bool{}}
	for p := range hook.Partition(64) {
		c.Owners[p] = ""
	}
	c.round()
	c.Nodes = append(c.Nodes, store.Node{ID: "d"})
	if moves := c.round(); moves != 16 {
		t.Errorf("a fourth node moved %d of 64 partitions", moves)
	}
	c.dead["d"], c.Nodes = true, c.Nodes[:3]
	if moves := c.round(); moves != 0 {
		t.Errorf("%d partitions of the living moved when a node died", moves)
	}
}

// TestShareExpired: a node whose lease has run out is nobody's to give to, and what it owns is not
// taken before it was declared dead.
func TestShareExpired(t *testing.T) {
	m := store.Members{
		Nodes:  []store.Node{{ID: "a"}, {ID: "b", Expired: true}},
		Owners: map[hook.Partition]string{0: "a", 1: "b", 2: ""},
	}
	s := share("a", m)
	if len(s.give) != 0 || !slices.Equal(s.take, []hook.Partition{1, 2}) {
		t.Errorf("%+v", s) // the store refuses 1 while b is not dead
	}
}
