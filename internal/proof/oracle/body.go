package oracle

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// Body is the body that an event must have on its way to a webhook, by the words of the contract
// ("The request", Body).
func Body(topic, data string, object bool) string {
	text := ascii(data)
	if !object {
		text = quoted(text)
	}
	return `{"event":"` + topic + `","data":` + text + `}`
}

// ascii writes what lies outside U+0000–U+007E as \uXXXX, with surrogate pairs where needed.
func ascii(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r < 0x7f:
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// quoted is a JSON string of a text: five characters are escaped, and nothing else.
func quoted(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\t", `\t`, "\n", `\n`, "\r", `\r`).Replace(text) + `"`
}
