package console

import "html/template"

// icons are drawn on a grid of 16, with the stroke of the text around them.
var icons = map[string]string{
	"overview":     `<path d="M2 9.5h3l2-6 3 9 2-6h2"/>`,
	"webhooks":     `<circle cx="8" cy="4" r="2"/><circle cx="3.5" cy="12" r="2"/><circle cx="12.5" cy="12" r="2"/><path d="M7 5.8 4.4 10.2M9 5.8l2.6 4.4M5.5 12h5"/>`,
	"deliveries":   `<path d="M2.5 8h9M8 4l4 4-4 4M14 3v10"/>`,
	"events":       `<path d="M8.8 1.8 3.5 9h4l-.8 5.2L12.5 7h-4z"/>`,
	"topics":       `<path d="M6 2.5 4.7 13.5M11.3 2.5 10 13.5M2.5 5.7h11.2M2.3 10.3h11.2"/>`,
	"replay":       `<path d="M3 8a5 5 0 1 0 1.6-3.7L2.5 6.2M2.5 2.8v3.4h3.4"/>`,
	"keys":         `<circle cx="5" cy="11" r="2.8"/><path d="m7 9 6.5-6.5M11 5l2 2"/>`,
	"audit":        `<path d="M4 2h8v12H4zM6.5 5.5h3M6.5 8h3M6.5 10.5h2"/>`,
	"companies":    `<path d="M2.5 13.5h11M4 13.5v-11h5v11M9 6.5h3.5v7M6 5.5h1M6 8h1M6 10.5h1"/>`,
	"system":       `<rect x="2.5" y="2.5" width="11" height="4.5" rx="1"/><rect x="2.5" y="9" width="11" height="4.5" rx="1"/><path d="M5 4.7h.01M5 11.2h.01"/>`,
	"dead-letters": `<rect x="1.5" y="3.5" width="13" height="9" rx="1.2"/><path d="m1.500 4.500 6.500 4.700L14.500 4.500M5.500 12.500l5-3"/>`,
	"plus":         `<path d="M8 3v10M3 8h10"/>`,
	"copy":         `<rect x="5.5" y="5.5" width="8" height="8" rx="1.5"/><path d="M10.5 5.5V4A1.5 1.5 0 0 0 9 2.5H4A1.5 1.5 0 0 0 2.5 4v5A1.5 1.5 0 0 0 4 10.5h1.5"/>`,
	"check":        `<path d="m3 8.5 3.2 3.2L13 4.8"/>`,
	"cross":        `<path d="m4 4 8 8M12 4l-8 8"/>`,
	"warn":         `<path d="M8 2.5 14.5 13.5h-13zM8 6.5v3.2M8 11.6h.01"/>`,
	"info":         `<circle cx="8" cy="8" r="6"/><path d="M8 7.3v3.7M8 5h.01"/>`,
	"search":       `<circle cx="7" cy="7" r="4.3"/><path d="m10.3 10.3 3.4 3.4"/>`,
	"menu":         `<path d="M2.5 4.5h11M2.5 8h11M2.5 11.5h11"/>`,
	"theme":        `<circle cx="8" cy="8" r="5.5"/><path d="M8 2.5v11a5.5 5.5 0 0 0 0-11z" fill="currentColor"/>`,
	"clock":        `<circle cx="8" cy="8" r="5.8"/><path d="M8 4.7V8l2.2 1.6"/>`,
	"out":          `<path d="M6.5 2.5h-4v11h4M10 5l3 3-3 3M13 8H6"/>`,
	"right":        `<path d="m6 3.5 4.5 4.5L6 12.5"/>`,
	"down":         `<path d="m3.5 6 4.5 4.5L12.5 6"/>`,
	"send":         `<path d="M14 2 7.5 8.5M14 2 9.8 14l-2.3-5.5L2 6.2z"/>`,
	"pause":        `<path d="M5.5 3.5v9M10.5 3.5v9"/>`,
	"play":         `<path d="M4.5 3v10l8-5z"/>`,
	"live":         `<circle cx="8" cy="8" r="2" fill="currentColor"/><path d="M4.3 11.7a5.2 5.2 0 0 1 0-7.4M11.7 4.3a5.2 5.2 0 0 1 0 7.4"/>`,
	"download":     `<path d="M8 2.5v7.5M4.8 7 8 10.2 11.2 7M3 13.5h10"/>`,
	"lock":         `<rect x="3.5" y="7" width="9" height="6.5" rx="1.2"/><path d="M5.5 7V5a2.5 2.5 0 0 1 5 0v2"/>`,
	"eye":          `<path d="M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8z"/><circle cx="8" cy="8" r="1.8"/>`,
	"keyboard":     `<rect x="1.5" y="4" width="13" height="8.5" rx="1.2"/><path d="M4 6.7h.01M6.7 6.7h.01M9.3 6.7h.01M12 6.7h.01M5 9.8h6"/>`,
	"link":         `<path d="M6.8 9.2a2.8 2.8 0 0 0 4 0l2-2a2.830 2.830 0 0 0-4-4l-.8.8M9.2 6.8a2.8 2.8 0 0 0-4 0l-2 2a2.830 2.830 0 0 0 4 4l.8-.800"/>`,
	"edit":         `<path d="M10.8 2.8 13.2 5.2 5.5 13H3v-2.5z"/>`,
	"external":     `<path d="M6.5 3.5h-4v10h10v-4M9.5 2.5h4v4M13.5 2.5 7.5 8.5"/>`,
}

// icon draws one; it says nothing to a screen reader, the text beside it does.
func icon(name string) template.HTML {
	return template.HTML(`<svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round">` + icons[name] + `</svg>`) //nolint:gosec // constants of ours
}
