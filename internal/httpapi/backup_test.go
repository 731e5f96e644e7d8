package httpapi_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/httpapi"
)

func TestBackup(t *testing.T) {
	begun, finish := make(chan bool), make(chan bool)
	dir := t.TempDir()
	s := newServer(t, func(o *httpapi.Options) {
		o.Backup = func(context.Context) (*os.File, error) {
			begun <- true
			<-finish
			path := filepath.Join(dir, "b")
			if err := os.WriteFile(path, []byte("the backup"), 0o600); err != nil {
				return nil, err
			}
			return os.Open(path)
		}
	})
	first := make(chan *answer)
	go func() { first <- s.call("GET", "/v1/backup", "") }()
	<-begun
	s.call("GET", "/v1/backup", "").problem(409, "backup_running")
	close(finish)
	a := <-first
	if a.status != 200 || a.text != "the backup" || a.header.Get("Content-Length") != "10" || !strings.Contains(a.header.Get("Content-Type"), "sqlite") {
		t.Errorf("%d %s %v", a.status, a.text, a.header)
	}
	without := newServer(t)
	without.call("GET", "/v1/backup", "").problem(503, "engine_unavailable")
}
