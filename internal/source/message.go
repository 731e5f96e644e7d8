package source

import (
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// EventID is the id of an event whose message is called name by its broker, or stands at a place: the name
// where it can be an id, else one made of it; of the place where there is no name.
func EventID(name, place string) string {
	switch {
	case name == "":
		return hook.DerivedID(hook.EventPrefix, place)
	case hook.ValidEventID(name):
		return name
	}
	return hook.DerivedID(hook.EventPrefix, "named\n"+name)
}

// Describe tells a message what its headers say of its form: the content type, and the attributes of a
// CloudEvent in binary mode, whose names begin with one of the prefixes.
func (m *Message) Describe(contentType string, headers map[string]string, prefixes ...string) {
	m.ContentType = contentType
	attributes := map[string]string{}
	for name, value := range headers {
		for _, prefix := range prefixes {
			if len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix) {
				attributes[strings.ToLower(name[len(prefix):])] = value
			}
		}
	}
	if attributes["specversion"] == "" {
		return
	}
	if contentType != "" {
		attributes["datacontenttype"] = contentType
	}
	m.Attributes = attributes
}
