package cli

import (
	"encoding/base64"
	"testing"
)

// TestParseCaptured: the same request, as people keep it.
func TestParseCaptured(t *testing.T) {
	const body = `{"event":"customer","data":"{}"}`
	encoded := base64.StdEncoding.EncodeToString([]byte(body))
	for name, test := range map[string]struct{ text, body string }{
		"lines":             {"POST /hooks HTTP/1.1\r\nHost: a\r\nX-Atlas-Webhook-Signature: ab12\r\nX-Atlas-Webhook-Timestamp: 1732363200.5\r\n\r\n", ""},
		"curl -v":           {"> POST /hooks HTTP/1.1\n> X-Atlas-Webhook-Signature: ab12\n> X-Atlas-Webhook-Timestamp: 1732363200.5\n>", ""},
		"CGI":               {"REQUEST_METHOD=POST\nHTTP_X_ATLAS_WEBHOOK_SIGNATURE=ab12\nHTTP_X_ATLAS_WEBHOOK_TIMESTAMP=1732363200.5\nQUERY_STRING=a=b:c", ""},
		"WSGI":              {`{"HTTP_X_ATLAS_WEBHOOK_SIGNATURE": "ab12", "HTTP_X_ATLAS_WEBHOOK_TIMESTAMP": "1732363200.5", "wsgi.input": null}`, ""},
		"underscores":       {`{"x_atlas_webhook_signature": "ab12", "x_atlas_webhook_timestamp": 1732363200.5}`, ""},
		"numbers and lists": {`{"X-Atlas-Webhook-Signature": ["ab12"], "X-Atlas-Webhook-Timestamp": 1732363200.5, "X-None": null, "ok": true}`, ""},
		"a serverless function": {
			`{"version":"2.0","headers":{"x-atlas-webhook-signature":"ab12","x-atlas-webhook-timestamp":"1732363200.5"},"body":"` + encoded + `","isBase64Encoded":true}`, body,
		},
		"a serverless function, plain": {`{"headers":{"x-atlas-webhook-signature":"ab12","x-atlas-webhook-timestamp":"1732363200.5"},"body":"{\"event\":\"customer\",\"data\":\"{}\"}","isBase64Encoded":false}`, body},
		"several values":               {`{"headers":null,"multiValueHeaders":{"X-Atlas-Webhook-Signature":["ab12"],"X-Atlas-Webhook-Timestamp":["1732363200.5"]}}`, ""},
		"HAR": {`{"log":{"entries":[{"request":{"method":"POST","headers":[{"name":"X-Atlas-Webhook-Signature","value":"ab12"},{"name":"x-atlas-webhook-timestamp","value":"1732363200.5"}],
			"postData":{"mimeType":"application/json","text":"{\"event\":\"customer\",\"data\":\"{}\"}"}}}]}}`, body},
		"pairs":                  {`[["x-atlas-webhook-signature","ab12"],["x-atlas-webhook-timestamp","1732363200.5"]]`, ""},
		"Node's rawHeaders":      {`["X-Atlas-Webhook-Signature","ab12","X-Atlas-Webhook-Timestamp","1732363200.5"]`, ""},
		"a list of lines":        {`["X-Atlas-Webhook-Signature: ab12","X-Atlas-Webhook-Timestamp: 1732363200.5"]`, ""},
		"a Python dict":          {`{'Host': 'a', 'X-Atlas-Webhook-Signature': 'ab12', 'X-Atlas-Webhook-Timestamp': '1732363200.5'}`, ""},
		"Flask":                  {"EnvironHeaders([('Host', 'a'), ('X-Atlas-Webhook-Signature', 'ab12'), ('X-Atlas-Webhook-Timestamp', '1732363200.5')])", ""},
		"Starlette":              {"Headers({'host': 'a', 'x-atlas-webhook-signature': 'ab12', 'x-atlas-webhook-timestamp': '1732363200.5'})", ""},
		"Starlette, raw":         {"[(b'host', b'a'), (b'x-atlas-webhook-signature', b'ab12'), (b'x-atlas-webhook-timestamp', b'1732363200.5')]", ""},
		"aiohttp":                {"<CIMultiDictProxy('Host': 'a', 'X-Atlas-Webhook-Signature': 'ab12', 'X-Atlas-Webhook-Timestamp': '1732363200.5')>", ""},
		"console.log":            {"{\n  host: 'a',\n  'x-atlas-webhook-signature': 'ab12',\n  'x-atlas-webhook-timestamp': '1732363200.5',\n}", ""},
		"console.log of Headers": {"Headers {\n  'x-atlas-webhook-signature': 'ab12',\n  'x-atlas-webhook-timestamp': '1732363200.5'\n}", ""},
		"Ruby":                   {`{"HTTP_HOST"=>"a", "HTTP_X_ATLAS_WEBHOOK_SIGNATURE"=>"ab12", "HTTP_X_ATLAS_WEBHOOK_TIMESTAMP"=>"1732363200.5"}`, ""},
		"PHP's print_r":          {"Array\n(\n    [Host] => a\n    [X-Atlas-Webhook-Signature] => ab12\n    [X-Atlas-Webhook-Timestamp] => 1732363200.5\n)\n", ""},
		"Go":                     {"map[Content-Type:[application/json] X-Atlas-Webhook-Signature:[ab12] X-Atlas-Webhook-Timestamp:[1732363200.5]]", ""},
		"copied from Chrome":     {":authority:\na\n:method:\nPOST\nx-atlas-webhook-signature:\nab12\nx-atlas-webhook-timestamp:\n1732363200.5", ""},
		"copied from a table":    {"x-atlas-webhook-signature\tab12\nx-atlas-webhook-timestamp\t1732363200.5", ""},
		"copied as curl":         {"curl 'https://a/hooks' \\\n  -H 'X-Atlas-Webhook-Signature: ab12' \\\n  --header \"X-Atlas-Webhook-Timestamp: 1732363200.5\" --data-raw '{}'", ""},
	} {
		c, err := parseCaptured([]byte(test.text))
		if err != nil || c.header.Get("X-Atlas-Webhook-Signature") != "ab12" || c.header.Get("X-Atlas-Webhook-Timestamp") != "1732363200.5" || string(c.body) != test.body {
			t.Errorf("%s: %v, %q, %v", name, c.header, c.body, err)
		}
	}
}

func TestParseCapturedRefuses(t *testing.T) {
	for _, text := range []string{"a b", "nothing of the kind", `["a", 1]`, `[["a","b","c"]]`, `[{"a":"b"}]`, `{"headers":{"a":"b"},"body":"!","isBase64Encoded":true}`, "{'a': 'b'}"} {
		if c, err := parseCaptured([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, c.header)
		}
	}
}

// FuzzParseCaptured: whatever is pasted, it ends.
func FuzzParseCaptured(f *testing.F) {
	for _, seed := range []string{"a: b", `{"headers":{"a":["b"]}}`, "[('a', 'b')]", "curl -H 'a: b'", "a:\n", "\x00=\t"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseCaptured(data)
		if err == nil && c.header == nil {
			t.Error("no headers and no error")
		}
	})
}
