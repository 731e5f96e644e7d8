package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// variant is a key or a body as it would be without some mistakes.
type variant struct {
	value    []byte
	mistakes []Mistake
}

// claim is a signature of the request, and how it would be made, if some mistakes were made.
type claim struct {
	signature string
	sign      func(key, body []byte) (signature string, ok bool)
	mistakes  []Mistake
}

// explainedBy reports whether the signature is what key and body give.
func (c claim) explainedBy(key, body []byte) bool {
	signature, ok := c.sign(key, body)
	return ok && subtle.ConstantTimeCompare([]byte(signature), []byte(c.signature)) == 1
}

// claims lists the readings of the headers: signature's text × timestamp × scheme.
func (v *Verifier) claims(header http.Header) (all []claim) {
	if v.Scheme == Standard {
		return standardClaims(header)
	}
	for _, signature := range signatureTexts(header) {
		for _, timestamp := range timestampTexts(header) {
			for _, scheme := range v.schemes() {
				all = append(all, claim{
					signature: string(signature.value),
					sign:      func(key, body []byte) (string, bool) { return scheme.sign(key, string(timestamp.value), body) },
					mistakes:  together(signature.mistakes, timestamp.mistakes, scheme.mistakes),
				})
			}
		}
	}
	return all
}

func standardClaims(header http.Header) (all []claim) {
	ids := []variant{{value: []byte(header.Get(wire.HeaderStandardID))}}
	if id := header.Get(wire.HeaderEventID); id != string(ids[0].value) {
		ids = append(ids, variant{[]byte(id), []Mistake{{"id_changed", "webhook-id was changed: X-Atlas-Webhook-Event-Id has the one that was signed"}}})
	}
	seconds := header.Get(wire.HeaderStandardTimestamp)
	times := []variant{{value: []byte(seconds)}}
	if other := header.Get(wire.HeaderSignatureTimestamp); other != "" {
		mistake := Mistake{"timestamp_other_header", "the timestamp of webhook-signature is that of webhook-timestamp, in whole seconds"}
		times = append(times, variant{[]byte(other), []Mistake{mistake}}, variant{[]byte(wire.StandardSeconds(other)), []Mistake{mistake}})
	}
	for signature := range strings.FieldsSeq(header.Get(wire.HeaderStandardSignature)) {
		for _, id := range ids {
			for _, at := range times {
				all = append(all, claim{
					signature: signature,
					sign: func(key, body []byte) (string, bool) {
						return wire.SignStandard(key, string(id.value), string(at.value), body), true
					},
					mistakes: together(id.mistakes, at.mistakes),
				})
			}
		}
	}
	return all
}

// signatureTexts are the header's text, and what it may have been before somebody dressed it up.
func signatureTexts(header http.Header) []variant {
	text := header.Get(wire.HeaderSignature)
	all := []variant{{value: []byte(text)}}
	bare := strings.Trim(text, " \t\r\n\"'")
	for _, prefix := range []string{"sha256=", "v1,", "v1=", "hmac-sha256="} {
		bare = strings.TrimPrefix(bare, prefix)
	}
	mistake := []Mistake{{"signature_reformatted", "the signature's text was changed (prefix, quotes, white space, letter case or base64 alphabet): it is compared as it was sent"}}
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(bare)
	for _, candidate := range []string{bare, strings.ToLower(bare), standard, strings.TrimRight(standard, "=") + "="} {
		if candidate != text {
			all = append(all, variant{[]byte(candidate), mistake})
		}
	}
	return all
}

// timestampTexts are the text that Verify reads, and others that are taken for it.
func timestampTexts(header http.Header) []variant {
	first, second := header.Get(wire.HeaderSignatureTimestamp), header.Get(wire.HeaderTimestamp)
	used := first
	if len(header.Values(wire.HeaderSignatureTimestamp)) == 0 {
		used = second
	}
	all := []variant{{value: []byte(used)}}
	add := func(text, code, detail string) {
		if text != used && text != "" {
			all = append(all, variant{[]byte(text), []Mistake{{code, detail}}})
		}
	}
	add(second, "timestamp_other_header", wire.HeaderSignatureTimestamp+" was changed: "+wire.HeaderTimestamp+" has the text that was signed")
	add(header.Get(wire.HeaderStandardTimestamp), "timestamp_other_header", "the whole seconds of webhook-timestamp were signed; the Atlas header signs the text of "+wire.HeaderSignatureTimestamp)
	trimmed := strings.Trim(used, " \t\r\n\"'")
	const reformatted = "the timestamp was parsed and printed again: use the header's text as it is"
	add(trimmed, "timestamp_reformatted", reformatted)
	if f, err := strconv.ParseFloat(strings.Replace(trimmed, ",", ".", 1), 64); err == nil {
		add(strconv.FormatFloat(f, 'f', -1, 64), "timestamp_reformatted", reformatted)
		add(strconv.FormatFloat(f, 'f', 6, 64), "timestamp_reformatted", reformatted)
		add(strconv.FormatFloat(f, 'f', 0, 64), "timestamp_reformatted", reformatted)
	}
	return all
}

// reading is one way to sign.
type reading struct {
	sign     func(key []byte, timestamp string, body []byte) (string, bool)
	mistakes []Mistake
}

// schemes are the verifier's own, the others, and two that are none of Atlas's.
func (v *Verifier) schemes() (all []reading) {
	own := v.Scheme
	if own == "" {
		own = Hex
	}
	for _, scheme := range []Scheme{Hex, Base64, Base64Dotted, PythonDict} {
		r := reading{sign: func(key []byte, timestamp string, body []byte) (string, bool) {
			text, err := wire.SignKey(hook.SignatureScheme(scheme), key, timestamp, body)
			return text, err == nil
		}}
		if scheme != own {
			r.mistakes = []Mistake{{"scheme_other", "it is signed by the scheme " + string(scheme) + ", verified by " + string(own)}}
		}
		all = append(all, r)
	}
	bare := func(code, detail string, message func(timestamp string, body []byte) []byte) {
		all = append(all, reading{func(key []byte, timestamp string, body []byte) (string, bool) {
			mac := hmac.New(sha256.New, key)
			mac.Write(message(timestamp, body))
			return hex.EncodeToString(mac.Sum(nil)), true
		}, []Mistake{{code, detail}}})
	}
	bare("scheme_no_dot", "the hex signature was made without the dot between timestamp and body", func(timestamp string, body []byte) []byte {
		return append([]byte(timestamp), body...)
	})
	bare("scheme_no_timestamp", "the signature was made over the body alone; timestamp and a dot come before it", func(_ string, body []byte) []byte {
		return body
	})
	return all
}

// keys are the secrets' keys, and what others make of them.
func keys(secrets []string, standard bool) (all []variant) {
	add := func(key []byte, mistakes ...Mistake) {
		if len(key) > 0 {
			all = append(all, variant{key, mistakes})
		}
	}
	for _, given := range secrets {
		cleaned := cleanedSecrets(given)
		for _, secret := range cleaned {
			text := string(secret.value)
			bare := strings.TrimPrefix(text, "whsec_")
			decoded, _ := base64.StdEncoding.DecodeString(bare)
			if standard {
				add(decoded, together(secret.mistakes, barePrefix(text, bare))...)
				add([]byte(text), together(secret.mistakes, []Mistake{{"secret_not_decoded", "the key was the secret's text; for webhook-signature it is the decoded base64 behind whsec_"}})...)
				continue
			}
			add([]byte(text), secret.mistakes...)
			add(decoded, together(secret.mistakes, []Mistake{{"secret_decoded", "the key was the decoded base64; for the Atlas header it is the secret's whole text, whsec_ included"}})...)
			if bare != text {
				add([]byte(bare), together(secret.mistakes, []Mistake{{"secret_prefix_stripped", "the key was the secret without whsec_; it is the whole text"}})...)
			} else {
				add([]byte("whsec_"+text), together(secret.mistakes, barePrefix(text, bare))...)
			}
		}
		add([]byte(given+"\n"), Mistake{"secret_whitespace", "the signature was made with a newline behind the secret"})
	}
	return all
}

func barePrefix(text, bare string) []Mistake {
	if text != bare {
		return nil
	}
	return []Mistake{{"secret_prefix_missing", "the secret was given without whsec_, which is part of it"}}
}

// cleanedSecrets is a secret as given, and without what copying it may have added.
func cleanedSecrets(given string) []variant {
	all := []variant{{value: []byte(given)}}
	trimmed := strings.TrimSpace(given)
	if trimmed != given {
		all = append(all, variant{[]byte(trimmed), []Mistake{{"secret_whitespace", "the secret was given with white space around it, as a file's last newline"}}})
	}
	if name, value, ok := strings.Cut(trimmed, "="); ok && value != "" && strings.Trim(name, "=") != "" && strings.Trim(value, "=") != "" && !strings.HasPrefix(trimmed, "whsec_") {
		all = append(all, variant{[]byte(strings.Trim(value, "\"'` ")), []Mistake{{"secret_assignment", "the secret was given with the name of its variable, as NAME=value: give what is behind the ="}}})
	}
	if rest, ok := strings.CutPrefix(trimmed, "v1,"); ok {
		all = append(all, variant{[]byte(rest), []Mistake{{"secret_versioned", "the secret was given with v1, before it: leave that out"}}})
	}
	if standard, ok := standardForm(trimmed); ok {
		all = append(all, variant{[]byte(standard), []Mistake{{"secret_base64", "the secret was given without its padding or in the url-safe alphabet of base64: for the Atlas header it is a text, give it as it was shown"}}})
	}
	if unquoted := strings.Trim(trimmed, "\"'`"); unquoted != trimmed {
		all = append(all, variant{[]byte(unquoted), []Mistake{{"secret_quoted", "the secret was given with quotes around it"}}})
	}
	return all
}

// standardForm is a secret in the form in which it was made: padded, in the standard alphabet.
func standardForm(secret string) (string, bool) {
	text, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return "", false
	}
	text = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(text, "="))
	text += strings.Repeat("=", (4-len(text)%4)%4)
	return "whsec_" + text, "whsec_"+text != secret
}

// bodies are the body as given, and what it may have been.
func bodies(header http.Header, body []byte) []variant {
	all := []variant{{value: body}}
	add := func(candidate []byte, code, detail string) {
		for _, v := range all {
			if bytes.Equal(v.value, candidate) {
				return
			}
		}
		all = append(all, variant{candidate, []Mistake{{code, detail}}})
	}
	add(bytes.TrimRight(body, "\r\n"), "body_newline", "a newline was added behind the body")
	add(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), "body_bom", "a byte order mark was put before the body")
	add(bytes.TrimSpace(body), "body_whitespace", "white space was added around the body")
	add(append(bytes.Clone(body), '\n'), "body_newline", "the body was signed with a newline behind it, which is missing here")
	if decoded, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(body))); err == nil && len(decoded) > 0 {
		add(decoded, "body_base64", "the body is still in base64, as some gateways pass it on: decode it first")
	}
	add(bytes.ReplaceAll(body, []byte(`\\`), []byte(`\`)), "body_backslashes", "the backslashes were doubled: the body was escaped once more where it was stored or copied")
	if unquoted, ok := unquoted(body); ok {
		add(unquoted, "body_encoded_twice", "the body was printed as a text of JSON or Python, in quotes and with escapes: keep the raw bytes")
	}
	if decoded, err := url.QueryUnescape(string(body)); err == nil && bytes.HasPrefix(body, []byte("%7B")) {
		add([]byte(decoded), "body_url_encoded", "the body is URL-encoded: keep the raw bytes")
	}
	for _, restored := range restoredBodies(body) {
		add(restored, "body_reserialized", "the body was parsed and printed again: keep the raw bytes that arrived")
	}
	if data, err := wire.Escape(body); err == nil {
		const detail = "this is the data only; the whole body was signed, with its event"
		topic := header.Get(wire.HeaderTopic)
		add(wire.Body(topic, data, hook.DataString), "body_data_only", detail)
		add(wire.Body(topic, data, hook.DataObject), "body_data_only", detail)
	}
	return all
}

// unquoted is the text that a body holds which was printed as a string of JSON or as Python's bytes.
func unquoted(body []byte) ([]byte, bool) {
	text := strings.TrimSpace(string(body))
	if inner, ok := strings.CutPrefix(text, "b'"); ok && strings.HasSuffix(inner, "'") {
		return []byte(strings.NewReplacer(`\\`, `\`, `\'`, `'`).Replace(strings.TrimSuffix(inner, "'"))), true
	}
	var inner string
	if strings.HasPrefix(text, `"`) && json.Unmarshal([]byte(text), &inner) == nil {
		return []byte(inner), true
	}
	return nil, false
}

// restoredBodies are the bodies that Atlas would have sent, had it sent what this one says.
func restoredBodies(body []byte) (all [][]byte) {
	var envelope struct {
		Event string
		Data  json.RawMessage
	}
	if json.Unmarshal(bytes.TrimSpace(body), &envelope) != nil || len(envelope.Data) == 0 {
		return nil
	}
	documents := []string{string(envelope.Data)}
	var text string
	if json.Unmarshal(envelope.Data, &text) == nil {
		documents = append(documents, text)
	}
	for _, document := range documents {
		data, err := wire.Escape([]byte(document))
		if err != nil {
			continue
		}
		var compact bytes.Buffer
		_ = json.Compact(&compact, data) // Escape has found it well-formed
		for _, d := range [][]byte{data, compact.Bytes(), spaced(compact.Bytes())} {
			all = append(all, wire.Body(envelope.Event, d, hook.DataString), wire.Body(envelope.Event, d, hook.DataObject))
		}
	}
	return all
}

// spaced writes a compact document as Python's json.dumps does, with a space behind comma and colon.
func spaced(compact []byte) (out []byte) {
	inString := false
	for i := 0; i < len(compact); i++ {
		c := compact[i]
		out = append(out, c)
		switch {
		case c == '\\': // only within strings
			i++
			out = append(out, compact[i])
		case c == '"':
			inString = !inString
		case !inString && (c == ',' || c == ':'):
			out = append(out, ' ')
		}
	}
	return out
}
