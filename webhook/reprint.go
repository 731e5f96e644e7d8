package webhook

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// computedBodies are what becomes of a body between the network and the code that signs.
func computedBodies(body []byte, scheme Scheme) (all []part) {
	raw := string(body)
	seen := map[string]bool{}
	add := func(p part) {
		if !seen[p.text] {
			seen[p.text] = true
			all = append(all, p)
		}
	}
	repr, err := wire.PythonRepr(body)
	const dict = "Python's print of the parsed body"
	switch {
	case scheme == PythonDict && err == nil:
		add(right(string(repr), dict))
		add(wrong(raw, "body", "scheme_other", "the body is the raw one; by this scheme it is "+dict))
	case err == nil:
		add(right(raw, "body"))
		add(wrong(string(repr), dict, "body_python_dict", "the body is "+dict+" (the scheme python-dict); keep the raw bytes"))
	default:
		add(right(raw, "body"))
	}
	for _, p := range disguised(raw) {
		add(p)
	}
	root, err := readTree(body)
	if err != nil {
		return all
	}
	const keep = "the body was parsed and printed again: keep the raw bytes that arrived"
	for _, p := range root.prints("body", "body_reserialized", keep) {
		add(p)
	}
	data := root.member("data")
	if data == nil {
		return all
	}
	const only = "the body is its data alone; the whole body was signed"
	if data.kind == '"' {
		add(wrong(data.text, "data", "body_data_only", only))
		inner, err := readTree([]byte(data.text))
		if err != nil {
			return all
		}
		nested := root.with("data", inner)
		for _, p := range nested.prints("body with its data parsed", "body_data_parsed", "the string in data was parsed too, and the body printed again: keep the raw bytes that arrived") {
			add(p)
		}
		data = inner
	}
	for _, p := range data.prints("data", "body_data_only", only) {
		add(p)
	}
	return all
}

// disguised are bodies that were not parsed and are not the bytes that arrived.
func disguised(raw string) []part {
	var quoted strings.Builder
	(&style{}).text(&quoted, raw)
	python := strings.ReplaceAll(raw, `\`, `\\`)
	quote := "'"
	if strings.Contains(raw, "'") && !strings.Contains(raw, `"`) {
		quote = `"`
	} else {
		python = strings.ReplaceAll(python, "'", `\'`)
	}
	return []part{
		wrong(raw+"\n", "body + newline", "body_newline", "a newline stands behind the body"),
		wrong(raw+"\r\n", "body + CR LF", "body_newline", "a line break of Windows stands behind the body"),
		wrong(strings.TrimRight(raw, "\r\n"), "body without its newline", "body_newline", "the newline behind the body was taken away"),
		wrong("\ufeff"+raw, "byte order mark + body", "body_bom", "a byte order mark stands before the body"),
		wrong(quoted.String(), "body in quotes", "body_encoded_twice", "the raw body was printed as a JSON string (JSON.stringify of a text)"),
		wrong("b"+quote+python+quote, "b'body'", "body_python_bytes", "the body is Python's print of bytes: decode it, or sign the bytes"),
		wrong(base64.StdEncoding.EncodeToString([]byte(raw)), "base64 of the body", "body_base64", "the body is still in base64, as some gateways pass it on: decode it first"),
		wrong(hex.EncodeToString([]byte(raw)), "hex of the body", "body_hex", "the body was printed in hex"),
		wrong(url.QueryEscape(raw), "URL-encoded body", "body_url_encoded", "the body was URL-encoded"),
		wrong(strings.ReplaceAll(raw, `\`, `\\`), "body with doubled backslashes", "body_backslashes", "each backslash of the body was doubled"),
		wrong(strings.ReplaceAll(raw, `\"`, `"`), "body without backslashes", "body_backslashes", "the backslashes before quotation marks were taken away"),
		wrong(strings.Map(func(r rune) rune {
			if r == ' ' || r == '\n' || r == '\t' || r == '\r' {
				return -1
			}
			return r
		}, raw), "body without white space", "body_whitespace", "all white space was taken out of the body"),
		wrong("", `""`, "body_empty", "the body is empty where the message is made: something read it before"),
		wrong("{}", `"{}"`, "body_empty", "the body is {}: something read it before, and a parser made an empty object of it"),
		wrong("[object Object]", `"[object Object]"`, "body_stringified", "the body is a parsed object turned into text by JavaScript: keep the raw bytes"),
		wrong("undefined", `"undefined"`, "body_missing", "the body is undefined where the message is made"),
		wrong("null", `"null"`, "body_missing", "the body is null where the message is made"),
		wrong("None", `"None"`, "body_missing", "the body is None where the message is made"),
		wrong("Array", `"Array"`, "body_stringified", "the body is a parsed array turned into text by PHP: keep the raw bytes (php://input)"),
	}
}

// tree is a JSON value, its members in order.
type tree struct {
	kind    byte // { [ " 0 and the first letter of true, false and null
	text    string
	names   []string
	members []*tree
}

var errTree = errors.New("not one JSON value")

func readTree(data []byte) (*tree, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	t, err := readValue(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errTree
	}
	return t, nil
}

func readValue(d *json.Decoder) (*tree, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case string:
		return &tree{kind: '"', text: v}, nil
	case json.Number:
		return &tree{kind: '0', text: v.String()}, nil
	case bool:
		return &tree{kind: 't', text: strconv.FormatBool(v)}, nil
	case json.Delim:
		t := &tree{kind: byte(v)}
		for d.More() {
			if v == '{' {
				name, err := d.Token()
				if err != nil {
					return nil, err
				}
				t.names = append(t.names, name.(string))
			}
			member, err := readValue(d)
			if err != nil {
				return nil, err
			}
			t.add(member)
		}
		_, err := d.Token()
		return t, err
	default:
		return &tree{kind: 'n', text: "null"}, nil
	}
}

// add appends a member. Of a name that stands twice the first place and the last value count, as for
// the dictionaries of most languages.
func (t *tree) add(member *tree) {
	if last := len(t.names) - 1; t.kind == '{' {
		if first := slices.Index(t.names[:last], t.names[last]); first >= 0 {
			t.names, t.members[first] = t.names[:last], member
			return
		}
	}
	t.members = append(t.members, member)
}

func (t *tree) member(name string) *tree {
	if i := slices.Index(t.names, name); i >= 0 {
		return t.members[i]
	}
	return nil
}

// with is the tree with another value of a member.
func (t *tree) with(name string, value *tree) *tree {
	other := &tree{kind: t.kind, names: t.names, members: slices.Clone(t.members)}
	other.members[slices.Index(t.names, name)] = value
	return other
}

// style is how a library prints JSON.
type style struct {
	name         string
	comma, colon string
	indent       string
	sorted       bool
	ascii        bool // escapes beyond ASCII
	slashes      bool // escapes /
	html         bool // escapes < > & as \u003c …
	numbers      numbers
}

// numbers is what becomes of a number's text.
type numbers int

const (
	kept       numbers = iota
	javaScript         // every number is a double, in its shortest text
	pythons            // integers are kept, the others are doubles and look so
)

var styles = []style{
	{name: "JSON.stringify", comma: ",", colon: ":", numbers: javaScript},
	{name: "JSON.stringify(…, null, 2)", comma: ",", colon: ": ", indent: "  ", numbers: javaScript},
	{name: "JSON.stringify(…, null, 4)", comma: ",", colon: ": ", indent: "    ", numbers: javaScript},
	{name: "Python's json.dumps", comma: ", ", colon: ": ", ascii: true, numbers: pythons},
	{name: "json.dumps with ensure_ascii=False", comma: ", ", colon: ": ", numbers: pythons},
	{name: "json.dumps with sort_keys", comma: ", ", colon: ": ", ascii: true, sorted: true, numbers: pythons},
	{name: `json.dumps with separators=(",", ":")`, comma: ",", colon: ":", ascii: true, numbers: pythons},
	{name: `json.dumps with separators=(",", ":") and sort_keys`, comma: ",", colon: ":", ascii: true, sorted: true, numbers: pythons},
	{name: "json.dumps with indent=2", comma: ",", colon: ": ", indent: "  ", ascii: true, numbers: pythons},
	{name: "json.dumps with indent=4", comma: ",", colon: ": ", indent: "    ", ascii: true, numbers: pythons},
	{name: "a compact printer that keeps numbers (Ruby, Jackson, serde)", comma: ",", colon: ":"},
	{name: "a compact printer that sorts names", comma: ",", colon: ":", sorted: true},
	{name: "Go's json.Marshal", comma: ",", colon: ":", html: true},
	{name: "Go's json.Marshal of a map", comma: ",", colon: ":", html: true, sorted: true, numbers: javaScript},
	{name: "PHP's json_encode", comma: ",", colon: ":", ascii: true, slashes: true},
	{name: "PHP's json_encode, unescaped Unicode", comma: ",", colon: ":", slashes: true},
	{name: "a printer with a space behind the colon", comma: ",", colon: ": "},
	{name: "an indented printer with sorted names", comma: ",", colon: ": ", indent: "  ", sorted: true},
}

// prints is the tree in every style.
func (t *tree) prints(what, code, detail string) (all []part) {
	for i := range styles {
		var b strings.Builder
		styles[i].print(&b, t, "\n")
		all = append(all, wrong(b.String(), what+" as "+styles[i].name+" prints it", code, detail+" (printed as by "+styles[i].name+")"))
	}
	return all
}

func (s *style) print(b *strings.Builder, t *tree, line string) {
	switch t.kind {
	case '"':
		s.text(b, t.text)
	case '0':
		b.WriteString(s.number(t.text))
	case '{', '[':
		s.container(b, t, line)
	default:
		b.WriteString(t.text)
	}
}

func (s *style) container(b *strings.Builder, t *tree, line string) {
	order := make([]int, len(t.members))
	for i := range order {
		order[i] = i
	}
	if s.sorted && t.kind == '{' {
		slices.SortStableFunc(order, func(i, j int) int { return strings.Compare(t.names[i], t.names[j]) })
	}
	inner := line + s.indent
	b.WriteByte(t.kind)
	for n, i := range order {
		if n > 0 {
			b.WriteString(s.comma)
		}
		if s.indent != "" {
			b.WriteString(inner)
		}
		if t.kind == '{' {
			s.text(b, t.names[i])
			b.WriteString(s.colon)
		}
		s.print(b, t.members[i], inner)
	}
	if s.indent != "" && len(order) > 0 {
		b.WriteString(line)
	}
	b.WriteByte(t.kind + 2) // } and ] stand two behind { and [
}

func (s *style) number(text string) string {
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case s.numbers == kept:
		return text
	case s.numbers == pythons && !strings.ContainsAny(text, ".eE"):
		if text == "-0" {
			return "0"
		}
		return text
	case err != nil && s.numbers == pythons:
		return strings.TrimPrefix(strings.Replace(strconv.FormatFloat(f, 'g', -1, 64), "Inf", "Infinity", 1), "+")
	case err != nil:
		return "null" // infinity
	case s.numbers == pythons:
		return pythonFloat(f)
	case f == 0:
		return "0" // also of -0
	}
	printed, _ := json.Marshal(f)
	return string(printed)
}

// pythonFloat is Python's repr of a float.
func pythonFloat(f float64) string {
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	text := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

func (s *style) text(b *strings.Builder, text string) {
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r == '\f':
			b.WriteString(`\f`)
		case r == '/' && s.slashes:
			b.WriteString(`\/`)
		case r < ' ' || s.html && (r == '<' || r == '>' || r == '&' || r == '\u2028' || r == '\u2029') || s.ascii && r > '~':
			s.escape(b, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
}

func (s *style) escape(b *strings.Builder, r rune) {
	units := []rune{r}
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		units = []rune{high, low}
	}
	for _, u := range units {
		text := strconv.FormatInt(int64(u), 16)
		b.WriteString(`\u` + strings.Repeat("0", 4-len(text)) + text)
	}
}
