package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/cli"
	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

// goodKey is the only key that the fake API knows.
const goodKey = "awo_kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"

// fakeAPI answers what trigger asks, by company:
//
//	c1       two webhooks want the topic, one does not: delivered at the third look
//	fails    its only webhook's delivery fails
//	nobody   no webhooks
//	refused  422 for every event
type fakeAPI struct {
	mu    sync.Mutex
	looks map[string]int // by webhook and event
	ids   int
}

func newFakeAPI(t *testing.T) *httptest.Server {
	f := &fakeAPI{looks: map[string]int{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events", f.publish)
	mux.HandleFunc("GET /v1/webhooks", f.webhooks)
	mux.HandleFunc("GET /v1/webhooks/{id}/deliveries/{event}", f.delivery)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+goodKey {
			refuse(w, http.StatusUnauthorized, `"code":"unauthorized","detail":"no such key"`)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

func refuse(w http.ResponseWriter, status int, members string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"status":%d,"request_id":"req_1",%s}`, status, members)
}

func (f *fakeAPI) publish(w http.ResponseWriter, r *http.Request) {
	var event struct {
		Company string `json:"company_id"`
		Event   string
		ID      string
		Data    map[string]any
	}
	d := json.NewDecoder(r.Body)
	if err := d.Decode(&event); err != nil || event.Company == "refused" {
		refuse(w, http.StatusUnprocessableEntity, `"code":"invalid","detail":"no","errors":[{"field":"data","detail":"is odd"}]`)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ids++; event.ID == "" {
		event.ID = fmt.Sprintf("evt_%d", f.ids)
	}
	w.WriteHeader(http.StatusAccepted)
	// The data comes back as object_id, so that scripts can see what was published.
	data, _ := json.Marshal(event.Data)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"id": event.ID, "company_id": event.Company, "event": event.Event, "object_id": string(data),
		"accepted_at": time.Unix(1, 0).UTC(), "duplicate": event.ID == "again",
	})
}

// webhooks lists one webhook a page, so that paging is seen to work.
func (f *fakeAPI) webhooks(w http.ResponseWriter, r *http.Request) {
	all := map[string][]string{
		"c1": {
			`{"id":"wh_all","events":["*"],"status":"ACTIVE"}`, `{"id":"wh_conversation","events":["conversation.*"],"status":"ACTIVE"}`,
			`{"id":"wh_customer","events":["customer"],"status":"ACTIVE"}`, `{"id":"wh_off","events":["*"],"status":"INACTIVE"}`,
			`{"id":"wh_filtered","events":["*"],"status":"ACTIVE"}`,
		},
		"fails": {`{"id":"wh_fails","events":["*"],"status":"ACTIVE"}`},
	}[r.Header.Get("X-Atlas-Company-Id")]
	var cursor int
	_, _ = fmt.Sscan(r.URL.Query().Get("cursor"), &cursor)
	page := ""
	if cursor < len(all) {
		page = all[cursor]
	}
	fmt.Fprintf(w, `{"data":[%s],"cursor":%d,"limit":1,"total":%d}`, page, cursor, len(all))
}

func (f *fakeAPI) delivery(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	f.mu.Lock()
	f.looks[id+r.PathValue("event")]++
	look := f.looks[id+r.PathValue("event")]
	f.mu.Unlock()
	switch {
	case id == "wh_filtered":
		refuse(w, http.StatusNotFound, `"code":"not_found"`)
	case id == "wh_fails":
		fmt.Fprint(w, `{"status":"failed","reason":"status_5xx","attempts":[]}`)
	case id != "wh_all" && id != "wh_conversation":
		refuse(w, http.StatusInternalServerError, `"code":"looked_at_a_webhook_that_cannot_match"`)
	case look < 3:
		fmt.Fprint(w, `{"status":"retrying","next_attempt_at":"2026-01-02T03:04:05Z","attempts":[{}]}`)
	default:
		fmt.Fprint(w, `{"status":"delivered","last_status_code":204,"last_duration_ms":1.5,"attempts":[{},{}]}`)
	}
}

// fakeServer is a server of nothing: it says what it was opened with, makes the file running in its
// data directory, and ends when it is told to.
type fakeServer struct {
	o     cli.ServerOptions
	ready chan struct{}
}

func openFake(_ context.Context, o cli.ServerOptions) (cli.Server, error) {
	if strings.HasPrefix(o.Config.DatabaseURL.Reveal(), "postgres") {
		return nil, fmt.Errorf("open the store: postgres is not built yet")
	}
	return &fakeServer{o: o, ready: make(chan struct{})}, nil
}

func (s *fakeServer) Run(ctx context.Context) error {
	s.o.Log.Info("listening", "listen", s.o.Config.Listen, "version", s.o.Version)
	close(s.ready)
	if err := os.WriteFile(filepath.Join(s.o.Config.DataDir, "running"), nil, 0o600); err != nil {
		return err
	}
	<-ctx.Done()
	s.o.Log.Info("ended")
	return nil
}

func (s *fakeServer) Ready() <-chan struct{} { return s.ready }

func (s *fakeServer) URL() string { return "http://localhost" }

func (s *fakeServer) OperatorKey() config.Secret { return goodKey }
