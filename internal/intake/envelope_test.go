package intake

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// depthOf is how deep a text nests, read byte by byte.
func depthOf(text string) (most int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			depth++
			most = max(most, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return most
}

func TestCheckDepth(t *testing.T) {
	const limit = wire.MaxDepth + 2
	check := func(text string) (deep bool) {
		if deep = depthOf(text) > limit; deep != (checkDepth([]byte(text)) != nil) {
			t.Errorf("%d deep, refused: %v\n%s", depthOf(text), !deep, text)
		}
		return deep
	}
	open := strings.Repeat("[", limit)
	for _, text := range []string{
		"", open, open + "[", open + `"["`, open + `"\"["`, open + `"\\"[`, open + `"\\\"["`, open + `"` + strings.Repeat(`\`, 7) + `"["`,
		strings.Repeat("{}", 1000), `"` + strings.Repeat("[", 1000), open + `""[`, open + `"unfinished`, open + `"\`,
	} {
		check(text)
	}
	const alphabet = `[[[[{{]}"\a` // more opens than closes, so that some are too deep
	deep := 0
	for range 2000 {
		var text strings.Builder
		for range 500 {
			text.WriteByte(alphabet[rand.IntN(len(alphabet))])
		}
		if check(text.String()) {
			deep++
		}
	}
	if deep < 100 || deep > 1900 {
		t.Errorf("%d of 2000 texts are too deep: this test sees one side only", deep)
	}
}
