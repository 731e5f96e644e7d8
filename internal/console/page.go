package console

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
)

//go:embed templates
var templateFiles embed.FS

// page is what every page shows around its content.
type page struct {
	Title string
	Nav   string // which entry of the navigation it belongs to
	Wide  bool   // uses the whole width
}

// shown is what a template gets.
type shown struct {
	page
	Who      httpapi.Principal
	Company  string
	Link     bool // the session began with a link
	Theme    string
	Zone     string // how times are shown: utc or local
	Version  string
	Root     string    // path before all addresses
	Now      time.Time // by the server's clock, which browsers need not have
	Expires  time.Time // of the session
	Messages []string
	D        any // the page's own
}

// templates has for each page the layout with the page's content in it; what several pages use
// (parts-*.html) is in all of them.
var templates = sync.OnceValue(func() map[string]*template.Template {
	files, err := fs.Sub(templateFiles, "templates")
	if err != nil {
		panic(err)
	}
	base := template.Must(template.New("layout").Funcs(functions).ParseFS(files, "layout.html", "parts-*.html"))
	names, err := fs.Glob(files, "*.html")
	if err != nil {
		panic(err)
	}
	all := map[string]*template.Template{"": base}
	for _, name := range names {
		if name != "layout.html" && !strings.HasPrefix(name, "parts-") {
			all[strings.TrimSuffix(name, ".html")] = template.Must(template.Must(base.Clone()).ParseFS(files, name))
		}
	}
	return all
})

// show renders a whole page.
func (v *visit) show(name string, p page, data any) error {
	s := v.shown(p, data)
	return v.c.write(v.w, templates()[name], "layout", s)
}

// shownPart renders one template of a page, for htmx.
func (v *visit) shownPart(name, part string, data any) error {
	return v.c.write(v.w, templates()[name], part, v.shown(page{}, data))
}

// part renders a template that all pages have, with nothing around its data.
func (v *visit) part(name string, data any) error {
	return v.c.write(v.w, templates()[""], name, data)
}

func (v *visit) shown(p page, data any) shown {
	return shown{
		page: p, Who: v.who, Company: v.session.Company, Link: v.session.Link, Theme: preference(v.r, themeCookie, "light", "dark"),
		Zone: preference(v.r, zoneCookie, "utc", "local"), Root: v.c.root, Version: v.c.opt.Version, Now: v.c.opt.Now(), Expires: time.Unix(v.session.Expires, 0).UTC(), D: data,
	}
}

// showOutside renders a page for somebody who is not signed in.
func (c *Console) showOutside(w http.ResponseWriter, r *http.Request, status int, name, title string, data any) {
	s := shown{page: page{Title: title}, Theme: preference(r, themeCookie, "light", "dark"), Root: c.root, Version: c.opt.Version, Now: c.opt.Now(), D: data}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if err := c.write(w, templates()[name], "outside", s); err != nil {
		c.opt.Log.Error("render", "error", err)
	}
}

// links are addresses of ours in a page. What others wrote has no quotation marks of its own there.
var links = regexp.MustCompile(`\b(href|src|action|hx-get|hx-post|data-script|data-look)="/(console/|docs")`)

// write renders into memory first: an error must not end in the middle of a page. Below a path of a
// proxy the addresses in it begin with that path.
func (c *Console) write(w http.ResponseWriter, t *template.Template, name string, data any) error {
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	page := b.Bytes()
	if c.root != "" {
		page = links.ReplaceAll(page, []byte(`$1="`+c.root+`/$2`))
	}
	_, err := w.Write(page)
	if err != nil {
		return nil //nolint:nilerr // the client has gone
	}
	return nil
}

// Cookies that the page's own script writes: how somebody likes the console to look.
const (
	themeCookie = "atlas_theme"
	zoneCookie  = "atlas_zone"
)

// preference is a cookie's value if it is one of those allowed.
func preference(r *http.Request, name string, allowed ...string) string {
	if cookie, err := r.Cookie(name); err == nil {
		for _, a := range allowed {
			if cookie.Value == a {
				return a
			}
		}
	}
	return ""
}
