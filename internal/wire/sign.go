package wire

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"sync"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Sign is the value of X-Atlas-Webhook-Signature: the signature of a body at a [Timestamp], by a
// scheme ("" is [hook.SchemeHex]), with the whole text of the secret as key.
//
// It fails for an unknown scheme, and for python-dict when the body is not one that the
// reference code could sign (see [PythonRepr]), as with [hook.DataObject].
func Sign(scheme hook.SignatureScheme, secret, timestamp string, body []byte) (string, error) {
	text, err := appendSignature(nil, scheme, secret, timestamp, body)
	return string(text), err
}

// SignKey is [Sign] with the key's bytes, for those who must find out what a wrong key would give.
func SignKey(scheme hook.SignatureScheme, key []byte, timestamp string, body []byte) (string, error) {
	text, err := appendSignature(nil, scheme, key, timestamp, body)
	return string(text), err
}

func appendSignature[K string | []byte](to []byte, scheme hook.SignatureScheme, key K, timestamp string, body []byte) ([]byte, error) {
	m := macs.Get().(*mac)
	defer macs.Put(m)
	switch scheme {
	case hook.SchemeHex, "":
		return hex.AppendEncode(to, digest(m, key, body, timestamp, ".")), nil
	case hook.SchemeBase64:
		return base64.StdEncoding.AppendEncode(to, digest(m, key, body, timestamp)), nil
	case hook.SchemeBase64Dotted:
		return base64.StdEncoding.AppendEncode(to, digest(m, key, body, timestamp, ".")), nil
	case hook.SchemePythonDict:
		repr, err := PythonRepr(body)
		if err != nil {
			return to, fmt.Errorf("sign %s: %w", scheme, err)
		}
		return hex.AppendEncode(to, digest(m, key, repr, timestamp, ".")), nil
	default:
		return to, fmt.Errorf("sign: unknown scheme %q", scheme)
	}
}

const secretPrefix = "whsec_"

// maxStandardKey is the most bytes that a [StandardKey] has.
const maxStandardKey = 64

// StandardKey is the key of a Standard Webhooks signature: the decoded part of a secret that is
// whsec_ and the canonical base64 of 24–64 bytes. Any other secret has none (ok is false), and its
// requests go without the three webhook-* headers.
func StandardKey(secret string) (key []byte, ok bool) { return appendStandardKey(nil, secret) }

func appendStandardKey(to []byte, secret string) (key []byte, ok bool) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok || len(text) > base64.StdEncoding.EncodedLen(maxStandardKey) {
		return nil, false
	}
	var room [88]byte // of the longest text
	key, err := base64.StdEncoding.Strict().AppendDecode(to, append(room[:0], text...))
	if err != nil || len(key) < 24 || len(key) > maxStandardKey || base64.StdEncoding.EncodedLen(len(key)) != len(text) {
		return nil, false
	}
	return key, true
}

// WhyNoStandardKey says, in words that follow "the secret", why it has no [StandardKey]; "" for one
// that has. The words do not reveal it.
func WhyNoStandardKey(secret string) string {
	if _, ok := StandardKey(secret); ok {
		return ""
	}
	if rest, ok := strings.CutPrefix(secret, "v1,"); ok && strings.HasPrefix(rest, secretPrefix) {
		return "begins with v1, before whsec_, as some libraries hand secrets over: leave that out"
	}
	text, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return "does not begin with whsec_"
	}
	usual := strings.NewReplacer("-", "+", "_", "/").Replace(text)
	key, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(usual, "="))
	switch {
	case err != nil:
		return "is not base64 behind whsec_"
	case len(key) < 24 || len(key) > maxStandardKey:
		return fmt.Sprintf("holds %d bytes in base64, where 24 to %d are needed", len(key), maxStandardKey)
	case usual != text:
		return "is in the url-safe alphabet of base64: write + for - and / for _"
	default:
		return "lacks the padding of its base64: append = until its length behind whsec_ is a multiple of four"
	}
}

// SignStandard is one signature by the Standard Webhooks specification:
// "v1," + base64(HMAC-SHA256(key, id.seconds.body)). The seconds are those of [StandardSeconds].
func SignStandard(key []byte, id, seconds string, body []byte) string {
	return string(appendStandard(nil, key, id, seconds, body))
}

func appendStandard(to, key []byte, id, seconds string, body []byte) []byte {
	m := macs.Get().(*mac)
	defer macs.Put(m)
	return base64.StdEncoding.AppendEncode(append(to, "v1,"...), digest(m, key, body, id, ".", seconds, "."))
}

// StandardSeconds is the text of webhook-timestamp that belongs to a [Timestamp]: its whole seconds.
func StandardSeconds(timestamp string) string {
	seconds, _, _ := strings.Cut(timestamp, ".")
	return seconds
}

// mac is the memory of one HMAC-SHA256 (RFC 2104), used again: crypto/hmac allocates seven objects
// for each key, and every attempt computes two.
type mac struct {
	hash  hash.Hash
	key   [sha256.BlockSize]byte
	block [sha256.BlockSize]byte
	head  []byte
	sum   [sha256.Size]byte
}

var macs = sync.Pool{New: func() any { return &mac{hash: sha256.New()} }}

// digest is the HMAC of a head's texts followed by a message. It lies in m's memory.
func digest[K string | []byte](m *mac, key K, message []byte, head ...string) []byte {
	if m.key = [sha256.BlockSize]byte{}; copy(m.key[:], key) < len(key) {
		m.key = [sha256.BlockSize]byte{}
		sum := sha256.Sum256([]byte(key)) // a key longer than a block is hashed
		copy(m.key[:], sum[:])
	}
	m.head = m.head[:0]
	for _, text := range head {
		m.head = append(m.head, text...)
	}
	m.begin(0x36)
	m.hash.Write(m.head)
	m.hash.Write(message)
	inner := m.hash.Sum(m.sum[:0])
	m.begin(0x5c)
	m.hash.Write(inner)
	return m.hash.Sum(m.sum[:0])
}

// begin hashes the key under a pad.
func (m *mac) begin(pad byte) {
	for i, c := range m.key {
		m.block[i] = c ^ pad
	}
	m.hash.Reset()
	m.hash.Write(m.block[:])
}
