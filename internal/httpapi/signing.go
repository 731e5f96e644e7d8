package httpapi

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/client"
	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

const publicKeysPath = "/.well-known/atlas-webhooks/"

// publicKeys are the sets that were asked of the store last, by company; "" is all of them.
type publicKeys struct {
	sync.Mutex
	sets map[string]keySet
}

type keySet struct {
	set []byte
	tag string
	at  time.Time
}

// The answer to one stranger is that to the next, for so long and of so many companies.
const (
	publicKeysFor = time.Second
	publicKeySets = 1000
)

type jwk struct {
	KTY string `json:"kty"`
	CRV string `json:"crv"`
	Alg string `json:"alg"`
	Use string `json:"use"`
	KID string `json:"kid"`
	X   string `json:"x"`
}

func (a *API) signingRoutes() {
	a.mux.HandleFunc("GET "+publicKeysPath+"jwks.json", func(w http.ResponseWriter, r *http.Request) {
		set, tag, err := a.keySet(r.Context(), r.URL.Query().Get("company_id"))
		if err != nil {
			w.(*exchange).fail(err)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/jwk-set+json")
		h.Set("Cache-Control", "public, max-age=3600") // the next key is known for a day before it is used
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(set) // the client may have gone
	})
	const tag = "Signing keys"
	handle(a, route{
		method: http.MethodGet, path: "/v1/companies/{company_id}/signing-keys", id: "list-signing-keys", tag: tag, need: pathRead,
		summary: "A company's public keys", description: "Those that are published, newest first: in use, to be used, or used until a day ago.",
	}, func(ctx context.Context, x *exchange, _ *CompanyPath) (*struct{ Body client.SigningKeyList }, error) {
		list, err := a.opt.Store.PublicKeys(ctx, x.company.Key)
		if err != nil {
			return nil, err
		}
		out := &struct{ Body client.SigningKeyList }{client.SigningKeyList{Data: []client.SigningKey{}}}
		for _, k := range list {
			out.Body.Data = append(out.Body.Data, shapeSigningKey(k))
		}
		return out, nil
	})
	handle(a, route{
		method: http.MethodPost, path: "/v1/companies/{company_id}/signing-keys", id: "rotate-signing-key", tag: tag, need: pathWrite, status: http.StatusCreated, creates: true,
		summary:     "Rotate a company's signing key",
		description: "The next key is published at once and signs from a day from now on, so that receivers need not be told; a company's first one signs at once. 409 rotation_in_progress while one waits.",
	}, func(ctx context.Context, x *exchange, _ *CompanyPath) (*struct{ Body client.SigningKey }, error) {
		k, err := a.opt.Store.RotateSigningKey(ctx, x.company.Key, x.audit("signing_key.rotated", nil))
		if err != nil {
			return nil, err
		}
		return &struct{ Body client.SigningKey }{shapeSigningKey(k)}, nil
	})
}

func shapeSigningKey(k hook.SigningKey) client.SigningKey {
	der, _ := x509.MarshalPKIXPublicKey(k.Public) // of its type it never fails
	return client.SigningKey{
		KID: k.ID, X: base64.RawURLEncoding.EncodeToString(k.Public), ActiveFrom: k.From,
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	}
}

// keySet is the set of the keys of a company, or of all. A receiver asks for that of its company: by the others
// its neighbours sign.
func (a *API) keySet(ctx context.Context, company string) (set []byte, tag string, err error) {
	if company != "" && !hook.ValidCompanyID(company) {
		return renderKeys(nil)
	}
	p := &a.published
	// Strangers ask here: one question to the store at a time, and none that was asked a second ago.
	p.Lock()
	defer p.Unlock()
	now := time.Now()
	if known, ok := p.sets[company]; ok && now.Sub(known.at) < publicKeysFor {
		return known.set, known.tag, nil
	}
	list, err := a.publicKeys(ctx, company)
	if err != nil {
		return nil, "", err
	}
	if set, tag, err = renderKeys(list); err != nil {
		return nil, "", err
	}
	if p.sets == nil || len(p.sets) >= publicKeySets {
		p.sets = map[string]keySet{}
	}
	p.sets[company] = keySet{set, tag, now}
	return set, tag, nil
}

func (a *API) publicKeys(ctx context.Context, company string) ([]hook.SigningKey, error) {
	if company == "" {
		return a.opt.Store.PublicKeys(ctx, 0)
	}
	c, err := a.opt.Store.Company(ctx, company)
	if hook.IsKind(err, hook.KindNotFound) {
		return nil, nil // which companies there are is nobody's business
	}
	if err != nil {
		return nil, err
	}
	return a.opt.Store.PublicKeys(ctx, c.Key)
}

// renderKeys writes keys in the one form that the libraries of five languages read.
func renderKeys(list []hook.SigningKey) (set []byte, tag string, err error) {
	keys := make([]jwk, len(list))
	for i, k := range list {
		keys[i] = jwk{KTY: "OKP", CRV: "Ed25519", Alg: "EdDSA", Use: "sig", KID: k.ID, X: base64.RawURLEncoding.EncodeToString(k.Public)}
	}
	if set, err = json.Marshal(map[string]any{"keys": keys}); err != nil {
		return nil, "", err
	}
	return set, fmt.Sprintf(`"%x"`, sha256.Sum256(set))[:18] + `"`, nil
}
