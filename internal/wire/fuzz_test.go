package wire_test

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// FuzzEscape compares with the standard library's parser, which agrees with ours except that it
// lets invalid UTF-8 pass and knows no depth.
func FuzzEscape(f *testing.F) {
	for _, topic := range hook.Topics() {
		f.Add([]byte(topic.Sample))
	}
	for _, seed := range []string{
		"", " [ ] ", `"\ud83d\u0000"`, "\xef\xbb\xbf{}", "\"\xff\"", `{"id":1,"id":"é"}`, `-0.0e+10`, `"{\"a\":1}"`, strings.Repeat("[", 65),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		doc, err := wire.Parse(data)
		if !bytes.Equal(data, before) {
			t.Fatal("the input was changed")
		}
		valid := json.Valid(data) && utf8.Valid(data) && depth(data) <= wire.MaxDepth
		if (err == nil) != valid {
			t.Fatalf("Parse says %v, the standard library %v", err, valid)
		}
		if err != nil {
			return
		}
		for _, c := range doc.Text {
			if c >= 0x7f || c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
				t.Fatalf("byte %#x in %q", c, doc.Text)
			}
		}
		if want := escapedByHand(data); string(doc.Text) != want {
			t.Fatalf("escaped\n got %s\nwant %s", doc.Text, want)
		}
		again, err := wire.Escape(doc.Text)
		if err != nil || !bytes.Equal(again, doc.Text) {
			t.Fatalf("escaped again: %s, %v", again, err)
		}
		doc.Encoded()
		if id, ok := doc.ID(); ok != wantsID(data) {
			t.Fatalf("ID = %q, %v", id, ok)
		}
	})
}

// depth is the nesting of a well-formed document.
func depth(document []byte) (deepest int) {
	now, inString := 0, false
	for i := 0; i < len(document); i++ {
		switch c := document[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == '[' || c == '{'):
			now++
			deepest = max(deepest, now)
		case !inString && (c == ']' || c == '}'):
			now--
		}
	}
	return deepest
}

// escapedByHand does the same work as Parse in the plainest way.
func escapedByHand(document []byte) string {
	var out strings.Builder
	for _, r := range strings.Trim(string(document), " \t\r\n") {
		if r < 0x7f {
			out.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteToASCII(string(r))
		switch text := quoted[1 : len(quoted)-1]; {
		case r == 0x7f:
			out.WriteString(`\u007f`)
		case r > 0xffff:
			high, low := 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff
			out.WriteString(`\u` + strconv.FormatInt(int64(high), 16) + `\u` + strconv.FormatInt(int64(low), 16))
		default:
			out.WriteString(strings.Replace(text, `\x`, `\u00`, 1))
		}
	}
	return out.String()
}

// wantsID says by the standard library whether a document has a top-level id of a kind that counts.
func wantsID(document []byte) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(document, &members) != nil {
		return false
	}
	id := strings.TrimPrefix(string(members["id"]), "-")
	return strings.HasPrefix(id, `"`) || id != "" && strings.Trim(id, "0123456789") == ""
}

// FuzzParseTimestamp wants that what is accepted is a plain decimal number, close to what it says.
func FuzzParseTimestamp(f *testing.F) {
	for _, seed := range []string{
		"1732363200.123457", "1732363200.5", "1732363200", "1732363200.1234570", "0.0", "", ".", "1.", ".5", "1e9", "NaN", "-1", "+1",
		"1732363200,5", " 1", "1 ", "0x10", "1_000", "١", "999999999999999.999999999999999", "9999999999999999",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := wire.ParseTimestamp(text)
		whole, fraction, point := strings.Cut(text, ".")
		digits := func(s string) bool { return s != "" && len(s) <= 15 && strings.Trim(s, "0123456789") == "" }
		if want := digits(whole) && (!point || digits(fraction)); ok != want {
			t.Fatalf("ParseTimestamp(%q) is %v", text, ok)
		}
		if !ok {
			return
		}
		seconds, err := strconv.ParseInt(whole, 10, 64)
		if err != nil || got.Unix() != seconds {
			t.Fatalf("ParseTimestamp(%q) = %v", text, got)
		}
		f, _ := strconv.ParseFloat("0."+fraction+"0", 64)
		if diff := time.Duration(f*1e9) - time.Duration(got.Nanosecond()); diff < -1 || diff > 1 {
			t.Fatalf("ParseTimestamp(%q) = %v, off by %v", text, got, diff)
		}
	})
}
