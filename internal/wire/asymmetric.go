package wire

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
)

// SignEd25519 is one asymmetric signature by the Standard Webhooks specification:
// "v1a," + base64(ed25519(key, id.seconds.body)).
func SignEd25519(key ed25519.PrivateKey, id, seconds string, body []byte) string {
	return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(key, StandardMessage(id, seconds, body)))
}

// StandardMessage is what a signature by the Standard Webhooks specification covers.
func StandardMessage(id, seconds string, body []byte) []byte {
	message := make([]byte, 0, len(id)+len(seconds)+2+len(body))
	return append(append(append(append(append(message, id...), '.'), seconds...), '.'), body...)
}

// messageAge is how long before now a message says that it was signed: a clock that runs three seconds
// behind refuses it otherwise.
const messageAge = 5

// message appends a signature of the message by RFC 9421, in the one form that libraries of five languages
// agree on.
func (h *lines) message(r *Request) {
	digest := sha256.Sum256(r.Body)
	values := []struct{ name, value string }{
		{"@method", "POST"},
		{"@authority", authority(r.URL)},
		{"@path", path(r.URL)},
		{"content-digest", "sha-256=:" + base64.StdEncoding.EncodeToString(digest[:]) + ":"},
		{"content-type", ContentType},
		{"webhook-id", r.EventID},
		{"webhook-timestamp", StandardSeconds(r.Timestamp)},
	}
	h.ours(HeaderContentDigest, values[3].value)
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		values = append(values[:3:3], append([]struct{ name, value string }{{"@query", "?" + r.URL.RawQuery}}, values[3:]...)...)
	}
	seconds, _ := strconv.ParseInt(StandardSeconds(r.Timestamp), 10, 64)
	var base, names strings.Builder
	for i, v := range values {
		base.WriteString(`"` + v.name + `": ` + v.value + "\n")
		if i > 0 {
			names.WriteByte(' ')
		}
		names.WriteString(`"` + v.name + `"`)
	}
	input := "(" + names.String() + ");created=" + strconv.FormatInt(seconds-messageAge, 10) + `;alg="ed25519";keyid="` + r.Key.ID + `"`
	base.WriteString(`"@signature-params": ` + input)
	h.ours(HeaderSignatureInput, "sig1="+input)
	h.ours(HeaderMessageSignature, "sig1=:"+base64.StdEncoding.EncodeToString(ed25519.Sign(r.Key.Private, []byte(base.String())))+":")
}

// authority is the host as it is signed: in small letters, without the port that its scheme implies.
func authority(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if port := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]; port != "" {
		host = strings.TrimSuffix(host, port)
	}
	return host
}

func path(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}
