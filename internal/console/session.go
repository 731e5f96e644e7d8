package console

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// session is what the browser keeps, sealed: it can neither read nor change it.
type session struct {
	Key     string `json:"k"`           // with which the API is asked: a session of its own
	Company string `json:"c"`           // that an operator looks at; "" for none yet
	Expires int64  `json:"e"`           // where it is not used; in seconds since 1970, as what follows
	Ends    int64  `json:"m,omitempty"` // however much it is used
	Framed  bool   `json:"f,omitempty"`
	Link    bool   `json:"l,omitempty"` // it began with a link
}

const (
	cookieName = "atlas_console"
)

var errNoSession = errors.New("nobody is signed in")

// newSeal derives the key of the sessions, which is used for nothing else.
func newSeal(key []byte) cipher.AEAD {
	derived, err := hkdf.Key(sha256.New, key, nil, "atlas webhooks console session", 32)
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func (c *Console) readSession(r *http.Request) (s session, err error) {
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return s, errNoSession
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil {
		return s, errNoSession
	}
	text, err := c.seal.Open(nil, nil, sealed, []byte(cookieName))
	if err != nil || json.Unmarshal(text, &s) != nil || c.opt.Now().Unix() >= s.Expires {
		return session{}, errNoSession
	}
	return s, nil
}

// writeSession gives the browser a session, until s.Expires. In a frame of another site a cookie is
// only kept if it says so, and then for this site alone (Partitioned).
func (c *Console) writeSession(w http.ResponseWriter, r *http.Request, s session) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	cookie := &http.Cookie{
		Name: cookieName, Value: base64.RawURLEncoding.EncodeToString(c.seal.Seal(nil, nil, text, []byte(cookieName))), Path: c.root + "/console/",
		MaxAge: int(s.Expires - c.opt.Now().Unix()), HttpOnly: true, Secure: c.secure(r), SameSite: http.SameSiteLaxMode,
	}
	if s.Framed {
		cookie.SameSite, cookie.Secure, cookie.Partitioned = http.SameSiteNoneMode, true, true
	}
	http.SetCookie(w, cookie)
	return nil
}

// unusedFor is how long a session lasts in which nobody looks at a page.
const unusedFor = time.Hour

// unused is when a session ends that is not used from now on.
func (c *Console) unused(ends time.Time) int64 {
	return min(c.opt.Now().Add(unusedFor).Unix(), ends.Unix())
}

// prolong lets the session of a visit go on, once half of its time is over. What a page asks by itself
// is no use of it.
func (c *Console) prolong(v *visit) error {
	until := c.unused(time.Unix(v.session.Ends, 0))
	used := v.r.URL.Path != "/console/figures" && v.r.URL.Path != "/console/stream"
	due := until-v.session.Expires >= int64(unusedFor.Seconds())/2 || until == v.session.Ends && until > v.session.Expires
	if !used || !due {
		return nil
	}
	v.session.Expires = until
	return c.writeSession(v.w, v.r, v.session)
}

// secure reports whether people reach the console by https, here or at a proxy before it.
func (c *Console) secure(r *http.Request) bool {
	return r.TLS != nil || strings.HasPrefix(c.opt.PublicURL, "https://")
}

func (c *Console) sessionRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /console/sign-in", func(w http.ResponseWriter, r *http.Request) {
		c.showSignIn(w, r, http.StatusOK, signIn{Next: r.URL.Query().Get("next")})
	})
	mux.HandleFunc("POST /console/sign-in", c.signIn)
	mux.HandleFunc("GET /console/enter", func(w http.ResponseWriter, r *http.Request) {
		// A link ends at this page, which posts the token: programs that only look at links do not
		// use it up, and no address that is logged holds it.
		w.Header().Set("Referrer-Policy", "no-referrer")
		c.showOutside(w, r, http.StatusOK, "enter", "Opening the console", nil)
	})
	mux.HandleFunc("POST /console/enter", c.enter)
	mux.HandleFunc("POST /console/sign-out", c.signOut)
	c.page(mux, "POST /console/company", func(v *visit) error {
		if !v.who.Operator {
			return errNoPage
		}
		v.session.Company = v.form("company")
		// The company exists from its first mention; one that cannot exist is refused here.
		if err := v.get("/v1/webhooks", url.Values{"limit": {"1"}}, nil); err != nil {
			return err
		}
		if err := c.writeSession(v.w, v.r, v.session); err != nil {
			return err
		}
		return v.redirect("/console/")
	})
}

// signIn is the page on which one signs in.
type signIn struct {
	Next  string // where to go afterwards
	Error string
}

func (c *Console) showSignIn(w http.ResponseWriter, r *http.Request, status int, s signIn) {
	c.showOutside(w, r, status, "sign-in", "Sign in", s)
}

// askToSignIn answers a request by nobody, or by somebody whose key or session has ended.
func (c *Console) askToSignIn(w http.ResponseWriter, r *http.Request, err error) {
	if p := problemOf(err); !errors.Is(err, errNoSession) && p.Status != http.StatusUnauthorized {
		c.showOutside(w, r, p.Status, "outside-error", "Something is wrong", p)
		return
	}
	to := "/console/sign-in"
	if r.Method == http.MethodGet && r.Header.Get("HX-Request") == "" && r.URL.Path != "/console/" {
		to += "?next=" + url.QueryEscape(r.URL.RequestURI())
	}
	if r.Header.Get("HX-Request") == "true" {
		w.Header().Set("HX-Redirect", c.root+"/console/sign-in")
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	c.redirect(w, r, to, http.StatusSeeOther)
}

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	key := strings.TrimSpace(r.PostFormValue("key"))
	s := signIn{Next: r.PostFormValue("next")}
	key, who, expires, err := c.opt.API.SignIn(r, key)
	if err != nil {
		p := problemOf(err)
		s.Error = p.Detail
		if p.Status == http.StatusUnauthorized {
			s.Error = "This key is not known, has expired or was revoked."
		}
		c.showSignIn(w, r, p.Status, s)
		return
	}
	c.endSession(r)
	begun := session{Key: key, Company: who.CompanyID, Expires: c.unused(expires), Ends: expires.Unix(), Framed: c.framed(r)}
	if err := c.writeSession(w, r, begun); err != nil {
		c.showOutside(w, r, http.StatusInternalServerError, "outside-error", "Something is wrong", problemOf(err))
		return
	}
	c.redirect(w, r, safeNext(s.Next), http.StatusSeeOther)
}

// framed reports whether the page that posted says that it is shown in a frame, where that is
// allowed.
func (c *Console) framed(r *http.Request) bool {
	return len(c.opt.FrameAncestors) > 0 && r.PostFormValue("framed") == "true"
}

// safeNext is a page of ours, whatever was asked for.
func safeNext(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(next, "/console/") || strings.ContainsAny(next, "\\\r\n") {
		return "/console/"
	}
	return next
}

// enter exchanges the token of a console link, once.
func (c *Console) enter(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	token := r.PostFormValue("token")
	if other, err := c.replaces(r, token); err == nil && other != nil && r.PostFormValue("replace") != "true" {
		c.showOutside(w, r, http.StatusOK, "enter-other", "Another company", other)
		return
	}
	key, expires, err := c.opt.API.Enter(r, token)
	if err != nil {
		p := problemOf(err)
		c.showOutside(w, r, p.Status, "outside-error", "This link does not work", p)
		return
	}
	c.endSession(r)
	begun := session{Key: key, Expires: c.unused(expires), Ends: expires.Unix(), Framed: c.framed(r), Link: true}
	if err := c.writeSession(w, r, begun); err != nil {
		c.showOutside(w, r, http.StatusInternalServerError, "outside-error", "Something is wrong", problemOf(err))
		return
	}
	c.redirect(w, r, "/console/", http.StatusSeeOther)
}

// otherCompany is what somebody is asked who is signed in and opens a link for another company: a link
// that others sent must not make them work for others unawares.
type otherCompany struct {
	Now, Link string // companies; Now is "" for an operator
	Token     string
	Framed    bool
}

// replaces is what there is to ask before a link takes the place of a session; nil: nothing.
func (c *Console) replaces(r *http.Request, token string) (*otherCompany, error) {
	s, err := c.readSession(r)
	if err != nil {
		return nil, err
	}
	who, err := c.opt.API.Identify(r, s.Key)
	if err != nil {
		return nil, err // it is over
	}
	company, err := c.opt.API.LinkCompany(r, token)
	if err != nil || company == who.CompanyID {
		return nil, err
	}
	return &otherCompany{Now: who.CompanyID, Link: company, Token: token, Framed: c.framed(r)}, nil
}

// endSession ends the session that a browser has, if it has one, for every copy of its cookie. It is
// over within the hour where the store cannot do it now.
func (c *Console) endSession(r *http.Request) {
	s, err := c.readSession(r)
	if err != nil {
		return
	}
	if err := c.opt.API.SignOut(r.Context(), s.Key); err != nil {
		c.opt.Log.Warn("end a session of the console", "error", err)
	}
}

func (c *Console) signOut(w http.ResponseWriter, r *http.Request) {
	c.endSession(r)
	for _, framed := range []bool{false, true} {
		cookie := &http.Cookie{Name: cookieName, Path: c.root + "/console/", MaxAge: -1, HttpOnly: true, Secure: c.secure(r), SameSite: http.SameSiteLaxMode}
		if framed {
			cookie.SameSite, cookie.Secure, cookie.Partitioned = http.SameSiteNoneMode, true, true
		}
		http.SetCookie(w, cookie)
	}
	c.redirect(w, r, "/console/sign-in", http.StatusSeeOther)
}
