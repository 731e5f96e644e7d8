package store_test

import (
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/storetest"
)

// TestSQLite runs the suite without waiting for the disk; what fsync promises is not its subject.
func TestSQLite(t *testing.T) {
	storetest.Run(t, func(opt store.Options) (*store.Store, error) {
		opt.UnsafeNoSync = true
		return store.OpenSQLite(t.Context(), opt)
	})
}
