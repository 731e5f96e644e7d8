package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/webhook/webhooktest"
)

// hexOf signs any body by the default scheme, written down here a second time so that tests do
// not ask the code under test what is right. It returns signature and timestamp.
func hexOf(t testing.TB, now time.Time, body string) (signature, timestamp string) {
	t.Helper()
	timestamp = fmt.Sprintf("%d.5", now.Unix())
	mac := hmac.New(sha256.New, []byte(webhooktest.Secret))
	fmt.Fprintf(mac, "%s.%s", timestamp, body)
	return hex.EncodeToString(mac.Sum(nil)), timestamp
}
