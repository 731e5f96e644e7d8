package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // to recognise what a receiver used by mistake
	"crypto/sha1" //nolint:gosec // likewise
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// Computed is what [Verifier.ExplainComputed] found out about a signature that a receiver's own code
// computed.
type Computed struct {
	Found bool // the way to compute it was found
	Right bool // it is the signature that the request should have: the code computes it well
	// Mistakes are what the code does otherwise than it should; none where Right or not Found.
	Mistakes []Mistake
	// Formula is how the signature comes about, as HMAC-SHA256(secret, timestamp + body) in hex: who
	// does this gets what was computed, which is the proof.
	Formula string
	// Cut says that the search ended before it had tried everything, because the body is large.
	Cut bool
}

// searchBytes bounds what a search hashes, and so its time, to some seconds.
const searchBytes = 384 << 20

// ExplainComputed says how somebody's code must have computed a signature for a genuine request:
// which key, which text of the timestamp, which body, joined how, by which function. It tries
// everything that differs from the verifier's scheme in at most three ways.
func (v *Verifier) ExplainComputed(header http.Header, body []byte, computed string) Computed {
	s := &computedSearch{digests: readings(computed), left: searchBytes}
	if len(s.digests) == 0 {
		return Computed{}
	}
	s.keys = computedKeys(v.Secrets, v.Scheme)
	s.times = computedTimes(header, v.Scheme)
	s.joins = computedJoins(header, v.Scheme)
	s.bodies = computedBodies(body, v.Scheme)
	s.functions = functions()
	for most := 0; most <= maxMistakes; most++ {
		if found, ok := s.search(most, v.Scheme); ok {
			return found
		}
	}
	return Computed{Cut: s.left <= 0}
}

// part is one ingredient of a signature as somebody may have used it.
type part struct {
	text     string
	name     string // in a formula
	mistakes []Mistake
}

func right(text, name string) part { return part{text: text, name: name} }

func wrong(text, name, code, detail string) part {
	return part{text, name, []Mistake{{code, detail}}}
}

// join is how timestamp and body become a message.
type join struct {
	name     string // with T and B for the two
	message  func(timestamp, body string) string
	mistakes []Mistake
}

// function is what makes a digest of key and message.
type function struct {
	name     string
	of       string // its arguments, with K and M for the two
	digest   func(key, message string) []byte
	mistakes []Mistake
}

// reading is a computed text as a digest, if it is in some encoding.
type digestReading struct {
	digest   []byte
	encoding string
	base64   bool
	mistakes []Mistake
}

type computedSearch struct {
	digests   []digestReading
	keys      []part
	times     []part
	joins     []join
	bodies    []part
	functions []function
	left      int // bytes that may still be hashed
}

// search tries everything with exactly this many mistakes, the encoding aside.
func (s *computedSearch) search(most int, scheme Scheme) (Computed, bool) {
	for _, f := range s.functions {
		for _, j := range s.joins {
			for _, b := range s.bodies {
				for _, t := range s.times {
					others := len(f.mistakes) + len(j.mistakes) + len(b.mistakes) + len(t.mistakes)
					if others > most || others+1 < most || s.left <= 0 {
						continue
					}
					message := j.message(t.text, b.text)
					s.left -= len(message)
					k, r, ok := s.key(message, f, most-others)
					if !ok {
						continue
					}
					mistakes := together(k.mistakes, t.mistakes, j.mistakes, b.mistakes, f.mistakes, encodingMistakes(r, scheme))
					formula := strings.NewReplacer("T", t.name, "B", b.name).Replace(j.name)
					formula = f.name + "(" + strings.NewReplacer("K", k.name, "M", formula).Replace(f.of) + ") in " + r.encoding
					return Computed{Found: true, Right: len(mistakes) == 0, Mistakes: mistakes, Formula: formula}, true
				}
			}
		}
	}
	return Computed{}, false
}

// key looks for a key of so many mistakes that gives, with a message, what was computed.
func (s *computedSearch) key(message string, f function, mistakes int) (part, digestReading, bool) {
	for _, k := range s.keys {
		if len(k.mistakes) != mistakes || s.left <= 0 {
			continue
		}
		s.left -= len(message) + 256
		digest := f.digest(k.text, message)
		for _, r := range s.digests {
			if bytes.Equal(r.digest, digest) {
				return k, r, true
			}
		}
	}
	return part{}, digestReading{}, false
}

// readings are the digests that a text may stand for.
func readings(computed string) (all []digestReading) {
	text := strings.Trim(computed, " \t\r\n\"'`")
	var dressed []Mistake
	for _, prefix := range []string{"sha256=", "hmac-sha256=", "v1,", "v1=", "0x", "b'"} {
		if bare, ok := strings.CutPrefix(text, prefix); ok {
			text = strings.Trim(bare, "'\"")
			if prefix != "v1," {
				dressed = []Mistake{{"signature_prefixed", "the signature carries " + prefix + ", which the header does not have"}}
			}
			break
		}
	}
	add := func(digest []byte, encoding string, isBase64 bool, mistakes ...Mistake) {
		if len(digest) >= md5.Size && len(digest) <= sha512.Size {
			all = append(all, digestReading{digest, encoding, isBase64, together(dressed, mistakes)})
		}
	}
	if d, err := hex.DecodeString(text); err == nil {
		if text == strings.ToLower(text) {
			add(d, "hex", false)
		} else {
			add(d, "upper-case hex", false, Mistake{"signature_upper_case", "the hex digits are in upper case; the header's are in lower case, and texts are compared"})
		}
	}
	trimmed := strings.TrimRight(text, "=")
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(trimmed)
	d, err := base64.RawStdEncoding.DecodeString(standard)
	if err != nil {
		return all
	}
	switch {
	case standard != trimmed:
		add(d, "url-safe base64", true, Mistake{"signature_url_safe", "the signature is in the url-safe alphabet of base64; the header has + and /"})
	case len(text)%4 != 0:
		add(d, "base64 without padding", true, Mistake{"signature_unpadded", "the signature's base64 lacks its padding"})
	default:
		add(d, "base64", true)
	}
	if inner, err := hex.DecodeString(string(d)); err == nil {
		add(inner, "hex in base64", true, Mistake{"signature_encoded_twice", "the signature is the base64 of the hex text: it is encoded twice"})
	}
	return all
}

// encodingMistakes compares a reading's encoding with that of the scheme.
func encodingMistakes(r digestReading, scheme Scheme) []Mistake {
	wantsBase64 := scheme == Base64 || scheme == Base64Dotted || scheme == Standard
	if r.base64 == wantsBase64 || len(r.mistakes) > 0 && r.encoding == "hex in base64" {
		return r.mistakes
	}
	if wantsBase64 {
		return together(r.mistakes, []Mistake{{"signature_hex", "the signature was printed in hex; by this scheme it is base64"}})
	}
	return together(r.mistakes, []Mistake{{"signature_base64", "the signature was printed in base64; by this scheme it is hex (hexdigest, digest('hex'))"}})
}

// computedKeys are what becomes of a secret on the way to a key. Those of several secrets follow one
// another; one that did not sign is not a mistake of its own.
func computedKeys(secrets []string, scheme Scheme) (all []part) {
	seen := map[string]bool{}
	add := func(p part) {
		if !seen[p.text] {
			seen[p.text] = true
			all = append(all, p)
		}
	}
	for i, secret := range secrets {
		bare, name := strings.TrimPrefix(secret, "whsec_"), "secret"
		if i > 0 {
			name = "secret number " + strconv.Itoa(i+1)
		}
		decoded, err := base64.StdEncoding.DecodeString(bare)
		if scheme == Standard {
			if err == nil {
				add(right(string(decoded), "decoded "+name))
			}
			add(wrong(secret, name, "secret_not_decoded", "the key is the secret's text; for webhook-signature it is the decoded base64 behind whsec_"))
			add(wrong(bare, name+" without whsec_", "secret_not_decoded", "the key is the text behind whsec_; for webhook-signature it is that decoded from base64"))
		} else {
			add(right(secret, name))
			add(wrong(bare, name+" without whsec_", "secret_prefix_stripped", "the key is the secret without whsec_; it is the whole text"))
			if err == nil {
				add(wrong(string(decoded), "decoded "+name, "secret_decoded", "the key is the decoded base64; for the Atlas header it is the secret's whole text, whsec_ included"))
			}
		}
		lax, _ := base64.StdEncoding.DecodeString(strings.NewReplacer("_", "/", "-", "+").Replace(secret + strings.Repeat("=", (4-len(secret)%4)%4)))
		if len(lax) > 0 {
			add(wrong(string(lax), "base64-decoded whole "+name, "secret_decoded", "the key is the whole text taken for base64 and decoded; it is the text itself"))
		}
		hashed := sha256.Sum256([]byte(secret))
		add(wrong(secret+"\n", name+" + newline", "secret_whitespace", "the key ends in a newline, as it comes out of a file or of echo: trim it"))
		add(wrong(bare+"\n", name+" without whsec_ + newline", "secret_whitespace", "the key lacks whsec_ and ends in a newline"))
		add(wrong(" "+secret, "space + "+name, "secret_whitespace", "the key begins with a space, as behind a colon: trim it"))
		add(wrong(secret+" ", name+" + space", "secret_whitespace", "the key ends in a space: trim it"))
		add(wrong(secret+"\r\n", name+" + CR LF", "secret_whitespace", "the key ends in a line break of Windows: trim it"))
		add(wrong(secret+"\r", name+" + CR", "secret_whitespace", "the key ends in a carriage return: the file has line breaks of Windows"))
		add(wrong(`"`+secret+`"`, name+" in quotes", "secret_quoted", "the key has quotation marks around it, as a line of an .env file may"))
		add(wrong("'"+secret+"'", name+" in single quotes", "secret_quoted", "the key has quotation marks around it, as a line of an .env file may"))
		add(wrong(base64.StdEncoding.EncodeToString([]byte(secret)), "base64 of "+name, "secret_encoded", "the key is the secret encoded in base64 once more (a Kubernetes secret that was not decoded?)"))
		add(wrong(hex.EncodeToString([]byte(secret)), "hex of "+name, "secret_encoded", "the key is the secret's text in hex; it is the text itself"))
		add(wrong(string(hashed[:]), "SHA-256 of "+name, "secret_hashed", "the key is a hash of the secret; it is the secret itself"))
		add(wrong(strings.ToLower(secret), name+" in lower case", "secret_changed_case", "the key is the secret in lower case"))
		add(wrong(strings.ToUpper(secret), name+" in upper case", "secret_changed_case", "the key is the secret in upper case"))
		utf16 := make([]byte, 0, 2*len(secret))
		for i := range len(secret) {
			utf16 = append(utf16, secret[i], 0)
		}
		add(wrong(string(utf16), name+" as UTF-16", "secret_utf16", "the key is the secret in UTF-16 (Encoding.Unicode): take ASCII or UTF-8"))
	}
	for _, missing := range []string{"", "undefined", "null", "None", "nil", "<nil>"} {
		add(wrong(missing, strconv.Quote(missing), "secret_missing", "the key is "+strconv.Quote(missing)+": the variable that should hold the secret is not set where the code runs"))
	}
	return all
}

// computedTimes are what becomes of the timestamp's text.
func computedTimes(header http.Header, scheme Scheme) (all []part) {
	own, other := header.Get(wire.HeaderSignatureTimestamp), header.Get(wire.HeaderStandardTimestamp)
	if own == "" {
		own = header.Get(wire.HeaderTimestamp)
	}
	if scheme == Standard {
		own, other = other, own
	}
	all = append(all, right(own, "timestamp"))
	seen := map[string]bool{own: true}
	add := func(text, code, detail string) {
		if !seen[text] {
			seen[text] = true
			all = append(all, wrong(text, strconv.Quote(text), code, detail+": "+strconv.Quote(text)+" in place of "+strconv.Quote(own)))
		}
	}
	const number = "the timestamp was parsed to a number and printed again; use the header's text"
	const date = "the timestamp was made a date and printed again; use the header's text"
	if f, err := strconv.ParseFloat(own, 64); err == nil && f >= 0 && f < 1e12 {
		for _, text := range printedFloats(f) {
			add(text, "timestamp_reformatted", number)
		}
		ms := int64(math.Round(f * 1000))
		add(strconv.FormatInt(ms, 10), "timestamp_milliseconds", "the timestamp was turned into milliseconds")
		add(strconv.FormatInt(ms*1000, 10), "timestamp_microseconds", "the timestamp was turned into microseconds")
		at := time.UnixMilli(ms).UTC()
		for _, layout := range []string{
			"2006-01-02T15:04:05.000Z", "2006-01-02T15:04:05Z", time.RFC3339Nano, "2006-01-02T15:04:05.000000Z", "2006-01-02T15:04:05+00:00", "2006-01-02T15:04:05.000+00:00",
			"2006-01-02T15:04:05.000000+00:00", "2006-01-02 15:04:05", "2006-01-02 15:04:05.000000", "2006-01-02 15:04:05+00:00", "2006-01-02 15:04:05.000000+00:00",
			"2006-01-02T15:04:05", "2006-01-02T15:04:05.000000", "2006-01-02 15:04:05 UTC", "2006-01-02 15:04:05 +0000", http.TimeFormat, time.RFC1123Z,
		} {
			add(at.Format(layout), "timestamp_date", date)
		}
	}
	for _, text := range []string{other, header.Get(wire.HeaderTimestamp)} {
		if text != "" {
			add(text, "timestamp_other_header", "the timestamp is that of another header")
		}
	}
	for _, missing := range []string{"", "undefined", "null", "None", "NaN", "[object Object]", "Array", "['" + own + "']", `["` + own + `"]`, "[" + own + "]"} {
		add(missing, "timestamp_missing", "the timestamp is no text where the message is made: read the header (its name in lower case in many frameworks)")
	}
	add(own+"\n", "timestamp_whitespace", "the timestamp has a newline behind it")
	add(" "+own, "timestamp_whitespace", "the timestamp has a space before it")
	return all
}

// printedFloats is a timestamp as languages print a float, or an integer made of it.
func printedFloats(f float64) (all []string) {
	for decimals := range 10 {
		all = append(all, strconv.FormatFloat(f, 'f', decimals, 64))
	}
	for decimals, scale := range []float64{1, 10, 100} { // JavaScript and C# round halves up, others to even
		all = append(all, strconv.FormatFloat(math.Floor(f*scale+0.5)/scale, 'f', decimals, 64))
	}
	all = append(all, strconv.FormatFloat(math.Floor(f), 'f', 0, 64), strconv.FormatFloat(math.Ceil(f), 'f', 0, 64),
		strconv.FormatFloat(math.Floor(f), 'f', 1, 64), strconv.FormatFloat(math.Round(f), 'f', 1, 64),
		strconv.FormatFloat(float64(float32(f)), 'f', -1, 64), strconv.FormatFloat(float64(float32(f)), 'f', 1, 64),
		strconv.FormatFloat(f, 'f', -1, 64))
	for digits := 6; digits <= 17; digits++ {
		all = append(all, strconv.FormatFloat(f, 'g', digits, 64))
	}
	scientific := strconv.FormatFloat(f, 'e', -1, 64) // 1.732363200123e+09
	mantissa, exponent, _ := strings.Cut(scientific, "e+0")
	return append(all, scientific, strconv.FormatFloat(f, 'e', 6, 64), mantissa+"E"+exponent, mantissa+"E+"+exponent, mantissa+"e"+exponent, mantissa+"e+"+exponent,
		strings.Replace(strconv.FormatFloat(f, 'f', -1, 64), ".", ",", 1))
}

// computedJoins are ways to make a message of timestamp and body, the scheme's own first.
func computedJoins(header http.Header, scheme Scheme) (all []join) {
	id := header.Get(wire.HeaderStandardID)
	if id == "" {
		id = header.Get(wire.HeaderEventID)
	}
	var ownName string
	switch scheme {
	case Base64:
		ownName = "T + B"
	case Standard:
		ownName = "id + \".\" + T + \".\" + B"
	default:
		ownName = "T + \".\" + B"
	}
	add := func(name, code, detail string, message func(t, b string) string) {
		j := join{name: name, message: message}
		if name != ownName {
			j.mistakes = []Mistake{{code, detail}}
		}
		all = append(all, j)
	}
	dotted := "a dot stands between timestamp and body, which this scheme does not have"
	if scheme == Standard {
		dotted = "the message is that of the Atlas header, which has no id; webhook-signature begins with the id"
	}
	add("T + \".\" + B", "message_dotted", dotted, func(t, b string) string { return t + "." + b })
	add("T + B", "message_no_dot", "there is no dot between timestamp and body", func(t, b string) string { return t + b })
	add("id + \".\" + T + \".\" + B", "message_standard", "the message is that of Standard Webhooks, which begins with the event's id; the Atlas header signs timestamp and body",
		func(t, b string) string { return id + "." + t + "." + b })
	add("B", "message_no_timestamp", "the message is the body alone; timestamp and a dot come before it", func(_, b string) string { return b })
	add("B + \".\" + T", "message_swapped", "the body comes first; the timestamp does", func(t, b string) string { return b + "." + t })
	add("B + T", "message_swapped", "the body comes first; the timestamp does", func(t, b string) string { return b + t })
	add("id + \".\" + B", "message_no_timestamp", "the timestamp is missing in the message", func(_, b string) string { return id + "." + b })
	add("\"v1:\" + T + \":\" + B", "message_separator", "the message is that of another system (v1:timestamp:body)", func(t, b string) string { return "v1:" + t + ":" + b })
	add("\"v0:\" + T + \":\" + B", "message_separator", "the message is that of another system (v0:timestamp:body)", func(t, b string) string { return "v0:" + t + ":" + b })
	for _, separator := range []string{":", "\n", "|", "-", "_", " ", ",", ";", "\r\n", "\x00", "..", ". "} {
		add("T + "+strconv.Quote(separator)+" + B", "message_separator", "between timestamp and body stands "+strconv.Quote(separator)+"; it is a dot",
			func(t, b string) string { return t + separator + b })
	}
	return all
}

// functions are ways to make a digest, the right one first.
func functions() (all []function) {
	keyed := func(name string, h func() hash.Hash, mistakes ...Mistake) {
		all = append(all, function{name, "K, M", func(key, message string) []byte {
			mac := hmac.New(h, []byte(key))
			mac.Write([]byte(message))
			return mac.Sum(nil)
		}, mistakes})
	}
	keyed("HMAC-SHA256", sha256.New)
	other := Mistake{"function_other", "the function is another one; it is HMAC-SHA256"}
	keyed("HMAC-SHA1", sha1.New, other)
	keyed("HMAC-SHA512", sha512.New, other)
	keyed("HMAC-SHA384", sha512.New384, other)
	keyed("HMAC-MD5", md5.New, other)
	all = append(all, function{"HMAC-SHA256", "M as the key, K", func(key, message string) []byte {
		mac := hmac.New(sha256.New, []byte(message))
		mac.Write([]byte(key))
		return mac.Sum(nil)
	}, []Mistake{{"function_swapped", "key and message are swapped: the secret is the key"}}})
	plain := Mistake{"function_plain_hash", "it is a plain SHA-256 and no HMAC: use your language's HMAC with the secret as key"}
	for of, message := range map[string]func(k, m string) string{
		"M": func(_, m string) string { return m }, "K + M": func(k, m string) string { return k + m },
		"M + K": func(k, m string) string { return m + k }, "K + \".\" + M": func(k, m string) string { return k + "." + m },
	} {
		all = append(all, function{"SHA-256", of, func(key, m string) []byte {
			sum := sha256.Sum256([]byte(message(key, m)))
			return sum[:]
		}, []Mistake{plain}})
	}
	return all
}
