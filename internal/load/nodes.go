package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync/atomic"
	"time"
)

// node is one of an installation, and the last offset of each partition that it delivers.
type node struct {
	url   string
	tails map[int]int64
}

func (b *bench) nodes(ctx context.Context) (list []node, err error) {
	answer, err := b.call(ctx, http.MethodGet, "/v1/nodes", "", nil)
	if err != nil {
		return nil, err
	}
	var page struct {
		Data []struct {
			URL        string `json:"url"`
			Partitions []struct {
				Partition int   `json:"partition"`
				Tail      int64 `json:"tail"`
			} `json:"partitions"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &page); err != nil {
		return nil, err
	}
	for _, x := range page.Data {
		n := node{x.URL, map[int]int64{}}
		for _, p := range x.Partitions {
			n.tails[p.Partition] = p.Tail
		}
		list = append(list, n)
	}
	return list, nil
}

// settle waits until the nodes have shared the partitions.
func (b *bench) settle(ctx context.Context) error {
	if len(b.opt.Servers) == 1 {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the nodes do not share the partitions"))
	defer cancel()
	for {
		nodes, err := b.nodes(ctx)
		if err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		all, least := 0, 1<<30
		for _, n := range nodes {
			all, least = all+len(n.tails), min(least, len(n.tails))
		}
		if len(nodes) == len(b.opt.Servers) && all > 0 && least >= all/len(nodes) {
			return nil
		}
		if !pause(ctx, 100*time.Millisecond) {
			return context.Cause(ctx)
		}
	}
}

// server is where a run publishes: at the node that delivers for its first company, or at another one.
// Which one that is, an event shows.
func (b *bench) server(ctx context.Context, n *run, other bool) (url string, err error) {
	if len(b.opt.Servers) == 1 {
		return b.opt.Servers[0].URL, nil
	}
	before, err := b.nodes(ctx)
	if err != nil {
		return "", err
	}
	var refused atomic.Int64
	p := publisher{bench: b, run: n, server: b.opt.Servers[0].URL, batch: 1, refused: &refused}
	if _, err := p.send(ctx, n.published.Add(1)-1); err != nil {
		return "", err
	}
	after, err := b.nodes(ctx)
	if err != nil {
		return "", err
	}
	tails := map[int]int64{}
	for _, x := range before {
		maps.Copy(tails, x.tails)
	}
	for _, x := range after {
		for partition, tail := range x.tails {
			if tail <= tails[partition] {
				continue
			}
			for _, s := range b.opt.Servers {
				if (s.URL != x.url) == other {
					return s.URL, nil
				}
			}
		}
	}
	return "", fmt.Errorf("no node at %v delivers for %s", b.opt.Servers, n.companies[0].id)
}
