package app

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
)

// TestUnusableFiltersAreTold: a start names the webhooks whose filter only another version could save.
func TestUnusableFiltersAreTold(t *testing.T) {
	db, err := store.OpenSQLite(t.Context(), store.Options{Dir: t.TempDir(), MasterKey: make([]byte, 32), MinFreeDisk: -1, UnsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	company, err := db.EnsureCompany(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := &Server{store: db, log: slog.New(slog.NewTextHandler(&log, nil))}
	var ids []string
	for i, filter := range []string{"", `data.n == 1`, `data.s matches "(a{1,500}){1,500}"`, `repeat(data.s, 9)`} {
		if i == 2 {
			if s.tellUnusable(t.Context()); log.Len() > 0 {
				t.Errorf("of filters that can be used: %s", log.String())
			}
		}
		w, err := db.CreateWebhook(t.Context(), hook.Webhook{
			Company: company.Key, Endpoint: fmt.Sprintf("https://example.com/%d", i), Topics: []string{"*"}, Filter: filter,
			Scheme: hook.SchemeHex, Format: hook.DataString, Ordering: hook.Relaxed, MaxConcurrency: 1, Timeout: time.Second,
		}, nil, store.Audit{Actor: "test", Action: "create"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, w.ID)
	}
	s.tellUnusable(t.Context())
	if told := log.String(); !strings.Contains(told, "webhooks=2") || !strings.Contains(told, ids[2]+" "+ids[3]) || strings.Contains(told, ids[1]) {
		t.Errorf("told: %s", told)
	}
}
