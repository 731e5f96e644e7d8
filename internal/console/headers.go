package console

import (
	"net/http"
	"strings"
)

// policy allows what is embedded here and nothing else: no script or style in the page itself, no
// evaluation of text, nothing from another origin, no frame but by the named origins.
func policy(ancestors []string) string {
	frames := "'none'"
	if len(ancestors) > 0 {
		frames = "'self' " + strings.Join(ancestors, " ")
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors " + frames
}

func (c *Console) setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", c.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), clipboard-write=(self)")
	if len(c.opt.FrameAncestors) == 0 {
		h.Set("X-Frame-Options", "DENY")
	}
}

// refuseCrossOrigin answers a form that another site's page sent.
func (c *Console) refuseCrossOrigin(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "This was sent by a page of another site, and was not done.", http.StatusForbidden)
}
