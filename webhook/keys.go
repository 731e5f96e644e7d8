package webhook

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// KeySet is the set of public keys of the company whose webhooks a receiver gets, for the scheme [Ed25519]. It
// is fetched when it is needed first, kept for an hour, and fetched anew once for a key that is not in it:
// a company's next key is published a day before it is used, so receivers need not be told of one.
//
// The URL is that of the server's set with the company in it:
// https://hooks.example.com/.well-known/atlas-webhooks/jwks.json?company_id=c1. Without the company the set has
// the keys of all, and any of them could sign.
//
// It is safe for concurrent use, and may be shared by verifiers.
type KeySet struct {
	URL    string
	Client *http.Client  // nil is one with a time-out of ten seconds
	MaxAge time.Duration // how long the set is kept; 0 is an hour

	mu      sync.Mutex
	keys    map[string]ed25519.PublicKey
	fetched time.Time
	tried   time.Time // when the set was asked for last, with whatever success
}

// Limits of a key set.
const (
	keySetAge   = time.Hour
	keySetPause = 10 * time.Second // between two fetches: strangers can name any key
	keySetBytes = 8 << 20
	keySetWait  = 10 * time.Second
)

// key finds a public key.
func (s *KeySet) key(id string, now time.Time) (ed25519.PublicKey, error) {
	s.mu.Lock() // also while it is fetched: who comes meanwhile needs the same
	defer s.mu.Unlock()
	age := s.MaxAge
	if age == 0 {
		age = keySetAge
	}
	key, known := s.keys[id]
	if known && now.Sub(s.fetched) < age {
		return key, nil
	}
	if !s.tried.IsZero() && now.Sub(s.tried) < keySetPause {
		if known {
			return key, nil
		}
		return nil, refuse(KeyUnknown, "there is no public key %.80q in the set", id)
	}
	s.tried = now
	keys, err := s.fetch()
	switch {
	case err == nil:
		s.keys, s.fetched = keys, now
	case known:
		return key, nil // the set cannot be had now; what was published stays so
	default:
		return nil, &Error{Code: KeysUnavailable, Detail: "the public keys cannot be fetched", Err: err}
	}
	if key, known = s.keys[id]; !known {
		return nil, refuse(KeyUnknown, "there is no public key %.80q in the set", id)
	}
	return key, nil
}

func (s *KeySet) fetch() (map[string]ed25519.PublicKey, error) {
	ctx, cancel := context.WithTimeout(context.Background(), keySetWait)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return nil, err
	}
	client := s.Client
	if client == nil {
		client = &http.Client{Timeout: keySetWait}
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %s", answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, keySetBytes))
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []struct{ KTY, CRV, KID, X string }
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	keys := map[string]ed25519.PublicKey{}
	for _, k := range set.Keys {
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		if k.KTY == "OKP" && k.CRV == "Ed25519" && k.KID != "" && err == nil && len(x) == ed25519.PublicKeySize {
			keys[k.KID] = x
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no ed25519 key in the set")
	}
	return keys, nil
}

// verifyEd25519 checks the signatures v1a by the key that the request names.
func (v *Verifier) verifyEd25519(header http.Header, body []byte) (signedParts, error) {
	id := header.Get(wire.HeaderStandardID)
	var given [][]byte
	signatures := strings.Fields(header.Get(wire.HeaderStandardSignature))
	for _, text := range signatures {
		encoded, ok := strings.CutPrefix(text, "v1a,")
		if signature, err := base64.StdEncoding.DecodeString(encoded); ok && err == nil && len(signature) == ed25519.SignatureSize {
			given = append(given, signature)
		}
	}
	switch kid := header.Get(wire.HeaderKeyID); {
	case len(given) == 0 || len(signatures) > maxSignatures:
		return signedParts{}, refuse(SignatureMissing, "the request has no signature v1a in webhook-signature")
	case id == "":
		return signedParts{}, refuse(IDMissing, "the request has no webhook-id")
	case kid == "":
		return signedParts{}, refuse(KeyMissing, "the request has no %s", wire.HeaderKeyID)
	default:
		timestamp, at, err := readTimestamp(header, wire.HeaderStandardTimestamp)
		if err != nil {
			return signedParts{}, err
		}
		key, err := v.Keys.key(kid, v.now())
		if err != nil {
			return signedParts{}, err
		}
		message := wire.StandardMessage(id, timestamp, body)
		for _, signature := range given {
			if ed25519.Verify(key, message, signature) {
				return signedParts{timestamp, at, header.Get(wire.HeaderStandardSignature)}, nil
			}
		}
		return signedParts{}, refuse(SignatureMismatch, "the key %.80q did not give this signature for this id, timestamp and body", kid)
	}
}
