package webhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/webhook"
	"github.com/atlas-webhooks/atlas-webhooks/webhook/webhooktest"
)

// slips are programs in the languages of receivers, each of which computes the signature with a
// mistake of its own. They read secret S, timestamp T and body B, and print lines: the codes that the
// search must find, a space, what was computed.
var slips = map[string]string{
	"python3": `
import sys, json, hmac, hashlib, base64, datetime
S, T, B = json.load(sys.stdin)
def say(code, key, message, digest=hashlib.sha256, how="hexdigest"):
    key = key if isinstance(key, bytes) else key.encode()
    message = message if isinstance(message, bytes) else message.encode("utf-8", "surrogatepass")
    m = hmac.new(key, message, digest)
    print(code, m.hexdigest() if how == "hexdigest" else how(m))
P = json.loads(B)
say("-", S, f"{T}.{B}")
say("secret_prefix_stripped", S[6:], f"{T}.{B}")
say("secret_decoded", base64.b64decode(S[6:]), f"{T}.{B}")
say("secret_whitespace", S + "\n", f"{T}.{B}")
say("secret_missing", "None", f"{T}.{B}")
say("message_no_dot", S, f"{T}{B}")
say("message_no_timestamp", S, B)
say("timestamp_reformatted", S, f"{int(float(T))}.{B}")
say("timestamp_reformatted", S, "%f.%s" % (float(T), B))
say("timestamp_milliseconds", S, f"{round(float(T)*1000)}.{B}")
say("timestamp_date", S, f"{datetime.datetime.fromtimestamp(float(T), datetime.timezone.utc).isoformat()}.{B}")
say("timestamp_missing", S, f"None.{B}")
say("body_reserialized", S, f"{T}.{json.dumps(P)}")
say("body_reserialized", S, f"{T}.{json.dumps(P, indent=2)}")
say("body_reserialized", S, f"{T}.{json.dumps(P, sort_keys=True)}")
say("body_reserialized", S, f"{T}.{json.dumps(P, ensure_ascii=False)}")
say("body_python_dict", S, f"{T}.{P}") if isinstance(P["data"], str) else None
say("body_python_bytes", S, f"{T}.{B.encode()}")
say("body_newline", S, f"{T}.{B}\n")
say("body_empty", S, f"{T}.")
D = json.loads(P["data"]) if isinstance(P["data"], str) else P["data"]
say("body_data_only", S, f"{T}.{json.dumps(D)}")
if isinstance(P["data"], str):
    say("body_data_only", S, f"{T}.{P['data']}")
    say("body_data_parsed", S, f"{T}.{json.dumps({'event': P['event'], 'data': D})}")
say("function_other", S, f"{T}.{B}", hashlib.sha1)
say("function_other", S, f"{T}.{B}", hashlib.sha512)
say("function_swapped", f"{T}.{B}", S)
print("function_plain_hash", hashlib.sha256((S + f"{T}.{B}").encode()).hexdigest())
say("signature_base64", S, f"{T}.{B}", how=lambda m: base64.b64encode(m.digest()).decode())
say("signature_encoded_twice", S, f"{T}.{B}", how=lambda m: base64.b64encode(m.hexdigest().encode()).decode())
say("signature_upper_case", S, f"{T}.{B}", how=lambda m: m.hexdigest().upper())
say("signature_prefixed", S, f"{T}.{B}", how=lambda m: "sha256=" + m.hexdigest())
say("secret_prefix_stripped message_no_dot", S[6:], f"{T}{B}")
say("secret_decoded timestamp_reformatted body_reserialized", base64.b64decode(S[6:]), f"{int(float(T))}.{json.dumps(P)}")
`,
	"node": `
const { createHmac } = require("node:crypto");
const [S, T, B] = JSON.parse(require("fs").readFileSync(0, "utf8"));
const say = (code, key, message, encoding = "hex") => console.log(code, createHmac("sha256", key).update(message).digest(encoding));
const P = JSON.parse(B);
const at = new Date(Number(T) * 1000);
say("-", S, T + "." + B);
say("secret_missing", "undefined", T + "." + B);
say("secret_decoded", Buffer.from(S, "base64"), T + "." + B);
say("secret_decoded", Buffer.from(S.slice(6), "base64"), T + "." + B);
say("timestamp_missing", S, undefined + "." + B);
say("timestamp_reformatted", S, Math.floor(Number(T)) + "." + B);
say("timestamp_reformatted", S, Number(T).toFixed(2) + "." + B);
say("timestamp_reformatted", S, Number(T).toExponential() + "." + B);
say("timestamp_date", S, at.toISOString() + "." + B);
say("timestamp_date", S, at.toUTCString() + "." + B);
say("body_stringified", S, T + "." + P);
say("body_missing", S, T + "." + undefined);
say("body_reserialized", S, T + "." + JSON.stringify(P, null, 2));
say("body_encoded_twice", S, T + "." + JSON.stringify(B));
say("body_url_encoded", S, T + "." + encodeURIComponent(B).replace(/[!'()*~]/g, c => "%" + c.charCodeAt(0).toString(16).toUpperCase()).replace(/%20/g, "+").replace(/%7E/g, "~"));
if (typeof P.data === "string") {
  say("body_data_parsed", S, T + "." + JSON.stringify({ event: P.event, data: JSON.parse(P.data) }));
  say("body_data_only", S, T + "." + JSON.stringify(JSON.parse(P.data)));
} else {
  say("body_reserialized", S, T + "." + JSON.stringify(P));
}
say("signature_base64", S, T + "." + B, "base64");
say("message_separator", S, T + ":" + B);
say("message_swapped", S, B + "." + T);
`,
}

// hostile is data that shows how a library prints: white space, numbers, escapes, beyond ASCII.
const hostile = `{"id": "conv_1",  "z": 1.0, "a": [1.50, -0, 12, 1e2, {}, [], null, true], "text": "Jos\u00e9 \ud83d\ude00 </b>&amp; it's \"q\" \\ /x\n\t", "m": {"b": 1, "a": "\u2028"}}`

// TestExplainComputed: what other languages really compute with a mistake is taken apart into just
// that mistake.
func TestExplainComputed(t *testing.T) {
	for _, format := range []webhook.Format{webhook.FormatString, webhook.FormatObject} {
		header, body := sign(t, webhooktest.Delivery{Data: hostile, Format: format, Time: time.UnixMilli(1732363200125)})
		input, err := json.Marshal([]string{webhooktest.Secret, header.Get("X-Atlas-Webhook-Signature-Timestamp"), string(body)})
		if err != nil {
			t.Fatal(err)
		}
		for program, script := range slips {
			flag := map[string]string{"python3": "-c", "node": "-e"}[program]
			cmd := exec.CommandContext(t.Context(), program, flag, script)
			cmd.Stdin = bytes.NewReader(input)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", program, err, out)
			}
			v := webhook.Verifier{Secrets: []string{webhooktest.Secret}}
			for line := range strings.Lines(string(out)) {
				line = strings.TrimSpace(line)
				at := strings.LastIndexByte(line, ' ')
				want, computed := strings.TrimPrefix(line[:at], "-"), line[at+1:]
				got := v.ExplainComputed(header, body, computed)
				codes := mistakeCodes(webhook.Diagnosis{Mistakes: got.Mistakes})
				if !got.Found || got.Right != (want == "") || codes != want || got.Formula == "" {
					t.Errorf("%s, %s format: %q, want %q (%+v)", program, format, codes, want, got)
				}
			}
		}
	}
}

// The control: what comes from nowhere is explained by nothing, whatever it looks like.
func TestExplainComputedFindsNothing(t *testing.T) {
	header, body := sign(t, webhooktest.Delivery{Data: hostile})
	v := webhook.Verifier{Secrets: []string{webhooktest.Secret, otherSecret}}
	for _, computed := range []string{"", "x", strings.Repeat("0", 64), "[object Promise]"} {
		if got := v.ExplainComputed(header, body, computed); got.Found || got.Cut {
			t.Errorf("%q: %+v", computed, got)
		}
	}
}

// TestExplainComputedByScheme: what is right depends on the scheme, and so what is wrong.
func TestExplainComputedByScheme(t *testing.T) {
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(webhooktest.Secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []webhook.Scheme{webhook.Hex, webhook.Base64, webhook.Base64Dotted, webhook.PythonDict, webhook.Standard} {
		header, body := sign(t, webhooktest.Delivery{Scheme: scheme})
		v := webhook.Verifier{Secrets: []string{webhooktest.Secret}, Scheme: scheme}
		signature, key, message := header.Get("X-Atlas-Webhook-Signature"), []byte(webhooktest.Secret), header.Get("X-Atlas-Webhook-Timestamp")+"."+string(body)
		if scheme == webhook.Standard {
			signature, key = header.Get("Webhook-Signature"), decoded
			message = header.Get("Webhook-Id") + "." + header.Get("Webhook-Timestamp") + "." + string(body)
		}
		if got := v.ExplainComputed(header, body, signature); !got.Right {
			t.Errorf("%s: its own signature: %+v", scheme, got)
		}
		mac := hmac.New(sha256.New, append([]byte("\""), append(key, '"')...))
		mac.Write([]byte(message))
		got := v.ExplainComputed(header, body, hex.EncodeToString(mac.Sum(nil)))
		if found := scheme != webhook.Standard; got.Found != found || got.Right || found && got.Mistakes[0].Code != "secret_quoted" {
			t.Errorf("%s: a key in quotes: %+v", scheme, got)
		}
	}
	header, body := sign(t, webhooktest.Delivery{})
	v := webhook.Verifier{Secrets: []string{webhooktest.Secret}, Scheme: webhook.Standard}
	got := v.ExplainComputed(header, body, header.Get("X-Atlas-Webhook-Signature"))
	if codes := mistakeCodes(webhook.Diagnosis{Mistakes: got.Mistakes}); codes != "secret_not_decoded timestamp_other_header message_dotted signature_hex" {
		t.Errorf("the Atlas signature for webhook-signature: %q", codes)
	}
}

// TestExplainComputedIsBounded: a large body ends the search, and the answer says so.
func TestExplainComputedIsBounded(t *testing.T) {
	header, body := sign(t, webhooktest.Delivery{Data: `"` + strings.Repeat("x", 1<<20) + `"`})
	v := webhook.Verifier{Secrets: []string{webhooktest.Secret}}
	if got := v.ExplainComputed(header, body, strings.Repeat("0", 64)); got.Found || !got.Cut {
		t.Errorf("%+v", got)
	}
}
