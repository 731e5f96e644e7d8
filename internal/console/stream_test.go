package console_test

import (
	"io"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/app/apptest"
)

// The console's live stream ends with the session that opened it; the client's time-out is what says that
// it did not.
func TestStreamEndsWithSession(t *testing.T) {
	s := apptest.Start(t)
	p := signedIn(t, s, s.Key)
	answer, err := p.client.Do(p.request("GET", "/console/stream", nil))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatal(got)
	}
	p.post("/console/sign-out", nil).status(200)
	if _, err := io.ReadAll(answer.Body); err != nil {
		t.Errorf("it does not end: %v", err)
	}
}
