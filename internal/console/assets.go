package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"strings"
	"sync"
)

// Embedded from elsewhere, each with its licence beside it: htmx 2.0.11 (Zero-Clause BSD), uPlot
// 1.6.32 (MIT).
//
//go:embed assets
var assetFiles embed.FS

// asset is a file that browsers keep for good: its address changes with its content.
type asset struct {
	contentType   string
	plain, zipped []byte
	address       string
}

var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// assets are all of them by name; made when the first one is asked for.
var assets = sync.OnceValue(func() map[string]*asset {
	list, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err)
	}
	all := map[string]*asset{}
	for _, f := range list {
		contentType := contentTypes[path.Ext(f.Name())]
		if contentType == "" {
			continue // a licence
		}
		text, err := assetFiles.ReadFile("assets/" + f.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(text)
		all[f.Name()] = &asset{
			contentType: contentType, plain: text, zipped: compress(text), address: "/console/assets/" + f.Name() + "?v=" + hex.EncodeToString(sum[:6]),
		}
	}
	return all
})

func compress(text []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is valid
	_, _ = w.Write(text)                                  // into memory
	_ = w.Close()
	return b.Bytes()
}

// assetAddress is where a page finds an asset.
func assetAddress(name string) string { return assets()[name].address }

// serveAsset answers with an embedded file. They hold no secret, so compressing them tells nothing.
func serveAsset(w http.ResponseWriter, r *http.Request) {
	a := assets()[r.PathValue("name")]
	if a == nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.contentType)
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if strings.HasSuffix(a.address, "?"+r.URL.RawQuery) {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body := a.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.zipped
	}
	_, _ = w.Write(body) // who does not listen any more needs no answer
}
