package app

import (
	"net/http"

	"github.com/atlas-webhooks/atlas-webhooks/internal/console"
)

// console is what people see at / and below /console/. It asks the API, as anybody would.
func (s *Server) console(version string, key []byte) http.Handler {
	var settings []console.Setting
	for _, one := range s.cfg.Settings() {
		settings = append(settings, console.Setting{Name: one.Name, Value: one.Value})
	}
	return console.New(console.Options{
		API: s.routes, Key: key, PublicURL: s.cfg.PublicURL, FrameAncestors: s.cfg.ConsoleFrameAncestors, Version: version,
		Settings: settings, Log: s.log,
	})
}
