package receiver

import (
	"crypto/hmac"
	"errors"
	"net/http"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// Verify checks the signatures of a request as a strict receiver would: the Atlas one by the
// scheme, and the Standard Webhooks one where the secret has a key for it. It does not look at the
// request's age: this is for trying things out, receivers use the public webhook package.
func Verify(header http.Header, body []byte, secret string, scheme hook.SignatureScheme) error {
	timestamp := header.Get(wire.HeaderSignatureTimestamp)
	if timestamp == "" || header.Get(wire.HeaderTimestamp) != timestamp {
		return errors.New("the timestamp headers are missing or differ")
	}
	want, err := wire.Sign(scheme, secret, timestamp, body)
	if err != nil {
		return err
	}
	if !hmac.Equal([]byte(want), []byte(header.Get(wire.HeaderSignature))) {
		return errors.New("the signature does not match")
	}
	key, ok := wire.StandardKey(secret)
	if !ok {
		return nil
	}
	want = wire.SignStandard(key, header.Get(wire.HeaderStandardID), header.Get(wire.HeaderStandardTimestamp), body)
	for given := range strings.FieldsSeq(header.Get(wire.HeaderStandardSignature)) {
		if hmac.Equal([]byte(want), []byte(given)) {
			return nil
		}
	}
	return errors.New("the Standard Webhooks signature does not match")
}
