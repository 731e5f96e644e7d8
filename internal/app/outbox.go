package app

import (
	"fmt"
	"slices"

	"github.com/atlas-webhooks/atlas-webhooks/internal/source"
	"github.com/atlas-webhooks/atlas-webhooks/internal/source/outbox"
)

// outboxes are the sources that outbox_url names.
func (s *Server) outboxes() (list []source.Definition, err error) {
	names := map[string]int{}
	for _, u := range s.cfg.OutboxURL {
		name := outbox.NameOf(u.Reveal(), names[outbox.NameOf(u.Reveal(), 0)])
		names[outbox.NameOf(u.Reveal(), 0)]++
		d, err := outbox.Definition(outbox.Options{Name: name, URL: u.Reveal(), Share: s.node.share})
		if err != nil {
			return nil, fmt.Errorf("outbox_url: %s: %w", u, err)
		}
		list = append(list, d)
	}
	return list, nil
}

// outboxKind is an outbox as an entry of sources_file.
func (s *Server) outboxKind(decode func(into any) error) (source.Definition, error) {
	var entry struct {
		source.Common `yaml:",inline"`

		URL string `yaml:"url"`
	}
	if err := decode(&entry); err != nil {
		return source.Definition{}, err
	}
	d, err := outbox.Definition(outbox.Options{Name: entry.Name, URL: entry.URL, Company: entry.Company, Share: s.node.share})
	if err != nil {
		return d, fmt.Errorf("url: %w", err)
	}
	return d, nil
}

// share is which partitions of outboxes this node reads: those that live divide them. Where two have not yet seen the
// same nodes, some are read twice, which costs time alone, or not for a moment.
func (n *node) share() []int {
	if n.nodes == nil {
		return outbox.All()
	}
	m := n.members.Load()
	if m == nil {
		return nil
	}
	var live []string
	for _, x := range m.Nodes {
		if !x.Expired && !x.Leaving {
			live = append(live, x.ID)
		}
	}
	slices.Sort(live)
	i := slices.Index(live, n.term.Load().ID)
	if i < 0 {
		return nil
	}
	return outbox.Share(i, len(live))
}
