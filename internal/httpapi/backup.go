package httpapi

import (
	"context"
	"io"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

const databaseFile = "application/vnd.sqlite3"

func (a *API) backupRoutes() {
	handle(a, route{
		method: http.MethodGet, path: "/v1/backup", id: "backup", tag: "Companies", need: operatorOnly,
		summary: "Back everything up", description: "A file that the command `restore` reads, made while the server goes on. It holds everything that was acknowledged before; " +
			"the answer begins when it is complete. One at a time: 409 meanwhile.",
	}, a.backup)
	a.huma.OpenAPI().Paths["/v1/backup"].Get.Responses["200"].Content = map[string]*huma.MediaType{
		databaseFile: {Schema: &huma.Schema{Type: "string", Format: "binary"}},
	}
}

func (a *API) backup(ctx context.Context, x *exchange, _ *struct{}) (*streamed, error) {
	if a.opt.Backup == nil {
		return nil, errNoEngine
	}
	if !a.backing.TryLock() {
		return nil, hook.Refuse(hook.KindConflict, "backup_running", "a backup is being made; wait for it")
	}
	defer a.backing.Unlock()
	x.lease.Release() // it is read from a file
	f, err := a.opt.Backup(ctx)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &streamed{func(hctx huma.Context) {
		defer f.Close()
		_, out := humago.Unwrap(hctx)
		out.Header().Set("Content-Type", databaseFile)
		out.Header().Set("Content-Disposition", `attachment; filename="atlas-webhooks.backup"`)
		out.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
		_, _ = io.Copy(out, f) // the client may have gone
	}}, nil
}
