package hook

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"sync"
	"time"
)

// Prefixes of our ids.
const (
	EventPrefix      = "evt"
	WebhookPrefix    = "wh"
	KeyPrefix        = "key"
	ReplayPrefix     = "rpl"
	LinkPrefix       = "lnk"
	NodePrefix       = "node"
	AuditPrefix      = "aud"
	NoticePrefix     = "ntc"
	TestPrefix       = "tst"
	ChangePrefix     = "chg"
	DeadPrefix       = "dlt"
	SigningKeyPrefix = "sig"
)

var ids struct {
	sync.Mutex
	last uint64 // milliseconds << 12 | counter, as in the first 60 payload bits of the last id
}

// NewID returns prefix_ and a UUIDv7 in TypeID's base 32 text (26 characters, RFC 9562 section
// 5.7). Ids of one process are strictly increasing; text order is time order.
func NewID(prefix string, now time.Time) string {
	var u [16]byte
	rand.Read(u[8:])
	tick := uint64(now.UnixMilli()) << 12
	ids.Lock()
	tick = max(tick, ids.last+1)
	ids.last = tick
	ids.Unlock()
	binary.BigEndian.PutUint64(u[:8], tick>>12<<16|7<<12|tick&0xfff)
	u[8] = u[8]&0x3f | 0x80
	return prefix + "_" + base32(u)
}

// DerivedID is an id of the same form that is made of a text: the same for the same text, another one for
// another (UUIDv8, RFC 9562 section 5.8).
func DerivedID(prefix, text string) string {
	sum := sha256.Sum256([]byte(text))
	u := [16]byte(sum[:16])
	u[6], u[8] = u[6]&0x0f|8<<4, u[8]&0x3f|0x80
	return prefix + "_" + base32(u)
}

const crockford = "0123456789abcdefghjkmnpqrstvwxyz"

// base32 writes 128 bits as 26 characters, most significant first (the first holds three bits).
func base32(u [16]byte) string {
	hi, lo := binary.BigEndian.Uint64(u[:8]), binary.BigEndian.Uint64(u[8:])
	var text [26]byte
	for i := 25; i >= 0; i-- {
		text[i] = crockford[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	return string(text[:])
}

// NewSecret returns a signing secret: whsec_ and the base64 of 24 random bytes, drawn until it has
// neither "+" nor "/" (it takes three draws on average, and costs one bit of 192). 24 bytes need no
// padding. So it is the same text in both alphabets of base64, and survives a URL, a shell and a
// double click.
func NewSecret() string {
	for {
		var b [24]byte
		rand.Read(b[:])
		if text := base64.StdEncoding.EncodeToString(b[:]); !strings.ContainsAny(text, "+/") {
			return "whsec_" + text
		}
	}
}

// ValidCompanyID, ValidEventID, ValidObjectID and ValidSecret say whether a text given by somebody
// else may serve; the API's errors name the rule.
func ValidCompanyID(s string) bool { return isID(s, 64) }

// ValidEventID reports whether s is 1–128 of A-Z a-z 0-9 _ : - (ids travel in headers and signed text).
func ValidEventID(s string) bool { return isID(s, 128) }

// ValidObjectID reports whether s is 1–256 printable ASCII characters.
func ValidObjectID(s string) bool { return len(s) >= 1 && len(s) <= 256 && within(s, ' ', '~') }

// ValidSecret reports whether s is 16–256 characters of U+0021–U+007E.
func ValidSecret(s string) bool { return len(s) >= 16 && len(s) <= 256 && within(s, '!', '~') }

// isID reports whether s is 1–most of A-Z a-z 0-9 _ : -. It runs for every event that is published.
func isID(s string, most int) bool {
	for i := range len(s) {
		c := s[i]
		alphanumeric := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !alphanumeric && c != '_' && c != ':' && c != '-' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= most
}

// within reports whether all bytes of s lie between two characters.
func within(s string, first, last byte) bool {
	for i := range len(s) {
		if s[i] < first || s[i] > last {
			return false
		}
	}
	return true
}
