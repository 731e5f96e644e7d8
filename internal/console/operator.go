package console

import (
	"cmp"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// companyRow is a company and what it did in the last 24 hours.
type companyRow struct {
	client.Company
	Stats client.Stats
}

// Volume is how many attempts there were.
func (c companyRow) Volume() int64 {
	t := c.Stats.Total
	return t.Delivered + t.Failed + t.Retried
}

type companyPage struct {
	Rows    []companyRow
	Current string
	Q       string
	More    bool // there are more than were looked at
	Base    string
}

// lookedAtCompanies bounds how many companies an operator's page asks about.
const lookedAtCompanies = 200

func (c *Console) operatorRoutes(mux *http.ServeMux) {
	c.page(mux, "GET /console/companies", func(v *visit) error {
		if !v.who.Operator {
			return errNoPage
		}
		p := &companyPage{Current: v.session.Company, Q: v.query("q"), Base: v.base()}
		var list client.List[client.Company]
		if err := v.get("/v1/companies", url.Values{"limit": {"200"}}, &list); err != nil {
			return err
		}
		p.More = list.NextCursor != nil
		for _, company := range list.Data[:min(len(list.Data), lookedAtCompanies)] {
			if strings.Contains(strings.ToLower(company.ID), strings.ToLower(p.Q)) {
				p.Rows = append(p.Rows, companyRow{Company: company})
			}
		}
		if err := v.volumes(p.Rows); err != nil {
			return err
		}
		return v.show("companies", page{Title: "Companies", Nav: "companies"}, p)
	})
	c.deadLetterRoutes(mux)
	c.page(mux, "GET /console/system", func(v *visit) error {
		if !v.who.Operator {
			return errNoPage
		}
		return v.showSystem()
	})
}

// volumes asks for each company's figures and puts the busiest first.
func (v *visit) volumes(rows []companyRow) error {
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for i := range rows {
		asking := *v
		asking.session.Company = rows[i].ID
		group.Go(func() error { return asking.get("/v1/stats", url.Values{"window": {"24h"}}, &rows[i].Stats) })
	}
	err := group.Wait()
	slices.SortStableFunc(rows, func(a, b companyRow) int { return cmp.Compare(b.Volume(), a.Volume()) })
	return err
}

// system is the page about the server itself.
type system struct {
	Version    string
	Go         string
	Ready      bool
	Goroutines int
	Heap       int64
	Settings   []Setting
	HeldSince  *time.Time // deliveries are held back until an operator lets them go
	Nodes      []nodeRow  // none where this one makes no deliveries
	InFlight   int
	Sources    []sourceRow
	Eras       []client.Era // that began because the store went back, the newest first
}

// nodeRow is a node, and how far it is.
type nodeRow struct {
	client.Node
	Late bool // its lease ran out
}

// Lag is how many events the partition that is furthest behind is behind.
func (n nodeRow) Lag() (lag int64) {
	for _, p := range n.Partitions {
		lag = max(lag, p.Lag)
	}
	return lag
}

// sourceRow is a source, and how far behind it is.
type sourceRow struct{ client.Source }

// Behind is for how long the oldest message waits.
func (s sourceRow) Behind() string {
	if s.LagSeconds == nil {
		return "unknown"
	}
	return time.Duration(*s.LagSeconds * float64(time.Second)).Round(time.Second).String()
}

func (v *visit) showSystem() error {
	s := system{Version: v.c.opt.Version, Go: runtime.Version(), Goroutines: runtime.NumGoroutine(), Settings: v.c.opt.Settings}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s.Heap = int64(min(memory.HeapAlloc, 1<<62))
	s.Ready = v.get("/readyz", nil, nil) == nil
	var nodes client.List[client.Node]
	if err := v.get("/v1/nodes", nil, &nodes); err != nil && problemOf(err).Status != http.StatusServiceUnavailable {
		return err
	}
	for _, n := range nodes.Data {
		s.Nodes = append(s.Nodes, nodeRow{n, n.LeaseUntil != nil && n.LeaseUntil.Before(v.c.opt.Now())})
		s.InFlight += n.InFlight
		s.HeldSince = cmp.Or(s.HeldSince, n.HeldSince)
	}
	var sources client.List[client.Source]
	if err := v.get("/v1/sources", nil, &sources); err != nil {
		return err
	}
	for _, x := range sources.Data {
		s.Sources = append(s.Sources, sourceRow{x})
	}
	var eras client.List[client.Era]
	if err := v.get("/v1/eras", url.Values{"limit": {"20"}}, &eras); err != nil {
		return err
	}
	s.Eras = slices.DeleteFunc(eras.Data, func(e client.Era) bool { return e.Cause == "" })
	return v.show("system", page{Title: "System", Nav: "system"}, s)
}
