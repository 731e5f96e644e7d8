package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// captured is a request as somebody kept it.
type captured struct {
	header http.Header
	body   []byte // nil where only headers were kept
}

// parseCaptured reads the headers of a request as people have them at hand: lines "Name: value" (with
// or without a request line, copied from curl -v, from a browser, or as the variables of CGI and
// WSGI); a curl command; JSON of any shape that pairs names with values, also the event of a
// serverless function or a HAR, which have the body as well; an object printed by Python, JavaScript,
// Ruby, PHP or Go.
func parseCaptured(data []byte) (captured, error) {
	data = bytes.TrimSpace(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")))
	c := captured{header: http.Header{}}
	var value any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if (bytes.HasPrefix(data, []byte("{")) || bytes.HasPrefix(data, []byte("["))) && d.Decode(&value) == nil && !d.More() {
		return c, c.fromJSON(value)
	}
	if c.fromCurl(string(data)); len(c.header) > 0 {
		return c, nil
	}
	err := c.fromLines(string(data))
	if err == nil {
		return c, nil
	}
	c.header = http.Header{}
	if c.fromPrinted(string(data)) {
		return c, nil
	}
	return c, err
}

// add keeps a header under the name that it had on the wire.
func (c *captured) add(name, value string) {
	name = strings.TrimSpace(name)
	dashed := strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(name), "http_"), "_", "-")
	for _, ours := range []string{"x-atlas-", "webhook-", "content-length", "content-type"} {
		if strings.HasPrefix(dashed, ours) {
			name = dashed
		}
	}
	if name != "" && !strings.HasPrefix(name, ":") { // HTTP/2's own begin with a colon
		c.header.Add(name, strings.TrimSpace(value))
	}
}

// fromJSON takes what pairs names with values.
func (c *captured) fromJSON(value any) error {
	switch v := value.(type) {
	case map[string]any:
		return c.fromObject(v)
	case []any:
		return c.fromList(v)
	}
	return errors.New("neither an object nor a list of headers")
}

func (c *captured) fromObject(object map[string]any) error {
	if log, ok := object["log"].(map[string]any); ok { // HAR
		if entries, _ := log["entries"].([]any); len(entries) > 0 {
			return c.fromJSON(entries[0])
		}
	}
	for _, within := range []string{"request", "http"} {
		if request, ok := object[within].(map[string]any); ok && object["headers"] == nil {
			return c.fromJSON(request)
		}
	}
	for _, name := range []string{"headers", "multiValueHeaders"} {
		switch headers := object[name].(type) {
		case map[string]any, []any:
			if err := c.takeBody(object); err != nil {
				return err
			}
			return c.fromJSON(headers)
		}
	}
	for name, value := range object {
		for _, text := range texts(value) {
			c.add(name, text)
		}
	}
	return nil
}

// takeBody keeps the body of a serverless function's event, or of a HAR.
func (c *captured) takeBody(event map[string]any) error {
	text, ok := event["body"].(string)
	if post, _ := event["postData"].(map[string]any); !ok && post != nil {
		text, ok = post["text"].(string)
	}
	if !ok {
		return nil
	}
	c.body = []byte(text)
	if encoded, _ := event["isBase64Encoded"].(bool); encoded {
		var err error
		if c.body, err = base64.StdEncoding.DecodeString(text); err != nil {
			return fmt.Errorf("isBase64Encoded is true, and the body is not base64: %w", err)
		}
	}
	return nil
}

// fromList takes [name, value] pairs, {name, value} objects, lines, or names and values in turn.
func (c *captured) fromList(list []any) error {
	var flat []string
	for i, item := range list {
		switch v := item.(type) {
		case []any:
			if len(v) != 2 {
				return fmt.Errorf("item %d of the list is not a pair", i)
			}
			c.add(strings.Join(texts(v[0]), ""), strings.Join(texts(v[1]), ", "))
		case map[string]any:
			name, named := firstOf(v, "name", "Name", "key", "Key")
			value, _ := firstOf(v, "value", "Value")
			if !named {
				return fmt.Errorf("item %d of the list has no name", i)
			}
			c.add(name, value)
		case string:
			flat = append(flat, v)
		default:
			return fmt.Errorf("item %d of the list is not a header", i)
		}
	}
	if len(flat) > 0 && strings.Contains(flat[0], ":") {
		return c.fromLines(strings.Join(flat, "\n"))
	}
	for i := 0; i+1 < len(flat); i += 2 {
		c.add(flat[i], flat[i+1])
	}
	return nil
}

func firstOf(object map[string]any, names ...string) (string, bool) {
	for _, name := range names {
		if value, ok := object[name]; ok {
			return strings.Join(texts(value), ", "), true
		}
	}
	return "", false
}

// texts are the values of a header in JSON: numbers as they are written, nothing for null.
func texts(value any) (all []string) {
	switch v := value.(type) {
	case nil:
		return nil
	case string:
		return []string{v}
	case []any:
		for _, item := range v {
			all = append(all, texts(item)...)
		}
		return all
	default:
		return []string{fmt.Sprint(v)}
	}
}

var curlHeader = regexp.MustCompile(`(?:^|\s)(?:-H|--header)[ =]?\$?(?:'([^']*)'|"((?:[^"\\]|\\.)*)")`)

// fromCurl takes the -H of a command, as browsers export it.
func (c *captured) fromCurl(text string) {
	if !strings.HasPrefix(text, "curl ") {
		return
	}
	for _, m := range curlHeader.FindAllStringSubmatch(text, -1) {
		if name, value, ok := strings.Cut(m[1]+strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[2]), ":"); ok {
			c.add(name, value)
		}
	}
}

// fromLines takes a header a line: Name: value, NAME=value, Name TAB value, or the value on the line
// behind Name:.
func (c *captured) fromLines(text string) error {
	waiting := "" // a name whose value is on the next line
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimRight(line, "\r\n"), "> "))
		if waiting != "" {
			c.add(waiting, line)
			waiting = ""
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, ":"), ":")
		for _, separator := range []string{"\t", "="} {
			if before, after, cut := strings.Cut(line, separator); cut && (!ok || len(before) < len(name)) {
				name, value, ok = before, after, true
			}
		}
		switch {
		case line == "" || !ok && strings.Contains(line, " HTTP/"), strings.HasPrefix(line, ":"):
		case !ok || strings.ContainsAny(strings.TrimSpace(name), " \t\"'{}[]()"):
			return fmt.Errorf("line %d is not a header, as Name: value", n)
		case value == "" && strings.HasSuffix(line, ":"):
			waiting = name
		default:
			c.add(name, value)
		}
	}
	return nil
}

// printedPair is a name and a value within an object that some language printed.
var printedPair = regexp.MustCompile(`b?["'\[]?([A-Za-z][\w-]*)["'\]]?\s*(?::|=>|,|=)\s*(?:\[?\s*b?"((?:[^"\\]|\\.)*)"|\[?\s*b?'((?:[^'\\]|\\.)*)'|\[([^\]"']*)\]|([^\s,'"\[\]{}()<>]+))`)

// fromPrinted takes the pairs of such an object. It is so only if one of ours is among them.
func (c *captured) fromPrinted(text string) bool {
	for _, m := range printedPair.FindAllStringSubmatch(text, -1) {
		c.add(m[1], m[2]+m[3]+m[4]+m[5])
	}
	return c.header.Get("X-Atlas-Webhook-Signature") != "" || c.header.Get("Webhook-Signature") != ""
}
