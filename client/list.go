package client

import (
	"context"
	"iter"
	"maps"
	"net/url"
	"strconv"
	"time"
)

// List is a page of a list, newest first.
type List[T any] struct {
	Data       []T     `json:"data"`
	Limit      int     `json:"limit"`
	Cursor     *string `json:"cursor" doc:"The cursor that was given; null on the first page."`
	NextCursor *string `json:"next_cursor" doc:"The cursor of the next page; null at the end. A page may be shorter than its limit and have a next one."`
}

// list reads page after page of a list.
func list[T any](ctx context.Context, c *Client, k call) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		k := k.with(copied(k.query))
		for {
			p, err := fetch[List[T]](ctx, c, k)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range p.Data {
				if !yield(item, nil) {
					return
				}
			}
			if p.NextCursor == nil {
				return
			}
			k.query.Set("cursor", *p.NextCursor)
		}
	}
}

// copied copies a query, so that a list can be read twice.
func copied(query url.Values) url.Values {
	own := url.Values{}
	maps.Copy(own, query)
	return own
}

// query collects parameters; what is left at its zero value is not sent.
type query url.Values

func (q query) text(name, value string) query {
	if value != "" {
		q[name] = []string{value}
	}
	return q
}

func (q query) number(name string, value int64) query {
	if value != 0 {
		q[name] = []string{strconv.FormatInt(value, 10)}
	}
	return q
}

func (q query) time(name string, value time.Time) query {
	if !value.IsZero() {
		q[name] = []string{value.UTC().Format(time.RFC3339Nano)}
	}
	return q
}

func (q query) flag(name string, value bool) query {
	if value {
		q[name] = []string{"true"}
	}
	return q
}
