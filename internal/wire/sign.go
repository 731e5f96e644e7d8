package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Sign is the value of X-Atlas-Webhook-Signature: the signature of a body at a [Timestamp], by a
// scheme ("" is [hook.SchemeHex]), with the whole text of the secret as key.
//
// It fails for an unknown scheme, and for python-dict when the body is not one that the
// reference code could sign (see [PythonRepr]), as with [hook.DataObject].
func Sign(scheme hook.SignatureScheme, secret, timestamp string, body []byte) (string, error) {
	return SignKey(scheme, []byte(secret), timestamp, body)
}

// SignKey is [Sign] with the key's bytes, for those who must find out what a wrong key would give.
func SignKey(scheme hook.SignatureScheme, key []byte, timestamp string, body []byte) (string, error) {
	switch scheme {
	case hook.SchemeHex, "":
		mac := digest(key, timestamp, ".", body)
		return hex.EncodeToString(mac[:]), nil
	case hook.SchemeBase64:
		mac := digest(key, timestamp, "", body)
		return base64.StdEncoding.EncodeToString(mac[:]), nil
	case hook.SchemeBase64Dotted:
		mac := digest(key, timestamp, ".", body)
		return base64.StdEncoding.EncodeToString(mac[:]), nil
	case hook.SchemePythonDict:
		repr, err := PythonRepr(body)
		if err != nil {
			return "", fmt.Errorf("sign %s: %w", scheme, err)
		}
		mac := digest(key, timestamp, ".", repr)
		return hex.EncodeToString(mac[:]), nil
	default:
		return "", fmt.Errorf("sign: unknown scheme %q", scheme)
	}
}

const secretPrefix = "whsec_"

// StandardKey is the key of a Standard Webhooks signature: the decoded part of a secret that is
// whsec_ and the canonical base64 of 24–64 bytes. Any other secret has none (ok is false), and its
// requests go without the three webhook-* headers.
func StandardKey(secret string) (key []byte, ok bool) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return nil, false
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(key) < 24 || len(key) > 64 || base64.StdEncoding.EncodedLen(len(key)) != len(text) {
		return nil, false
	}
	return key, true
}

// SignStandard is one signature by the Standard Webhooks specification:
// "v1," + base64(HMAC-SHA256(key, id.seconds.body)). The seconds are those of [StandardSeconds].
func SignStandard(key []byte, id, seconds string, body []byte) string {
	mac := digest(key, id+"."+seconds, ".", body)
	const version = "v1,"
	var text [len(version) + 44]byte
	copy(text[:], version)
	base64.StdEncoding.Encode(text[len(version):], mac[:])
	return string(text[:])
}

// StandardSeconds is the text of webhook-timestamp that belongs to a [Timestamp]: its whole seconds.
func StandardSeconds(timestamp string) string {
	seconds, _, _ := strings.Cut(timestamp, ".")
	return seconds
}

func digest(key []byte, timestamp, separator string, message []byte) (mac [sha256.Size]byte) {
	h := hmac.New(sha256.New, key)
	var head [192]byte // an id of 128 and a timestamp fit
	h.Write(append(append(head[:0], timestamp...), separator...))
	h.Write(message)
	h.Sum(mac[:0])
	return mac
}
