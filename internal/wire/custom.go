package wire

import (
	"fmt"
	"strings"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Limits of a subscription's own headers. The bytes are those of all names and values.
const (
	MaxHeaders     = 32
	MaxHeaderBytes = 4 << 10
)

// reserved holds the names, in lower case, that a subscription cannot set: they are ours, the
// transport's, or they would make a request pass for one that came from elsewhere (a proxy, a
// cloud's metadata client), name another resource or method, or answer for who the client is.
// Idempotency keys make Go's transport repeat a POST by itself. One that ends in "-" stands for all
// names that begin so. A name's "_" counts as "-": receivers behind CGI and its heirs see no difference.
var reserved = []string{
	"x-atlas-", "webhook-", "host", "content-", "user-agent", "connection", "keep-alive", "proxy-",
	"te", "trailer", "transfer-encoding", "upgrade", "expect", "accept-encoding", "idempotency-key",
	"x-idempotency-key", "forwarded", "x-forwarded-", "metadata-flavor", "x-aws-ec2-metadata-",
	"traceparent", "via", "x-real-ip", "true-client-ip", "x-client-ip", "client-ip", "cf-connecting-ip", "x-cluster-client-ip",
	"x-original-", "x-rewrite-url", "x-http-method", "x-http-method-override", "x-method-override",
	"metadata", "x-google-metadata-request",
}

// ValidateHeaders says what is wrong with a subscription's own headers; nothing is if it returns
// none. Each error's field is headers.<name as given>, or headers for a limit on all.
func ValidateHeaders(custom []hook.Header) []hook.FieldError {
	var refused []hook.FieldError
	refuse := func(field, code, detail string) {
		refused = append(refused, hook.FieldError{Field: field, Code: code, Detail: detail})
	}
	if len(custom) > MaxHeaders {
		refuse("headers", "too_many_headers", fmt.Sprintf("at most %d headers, these are %d", MaxHeaders, len(custom)))
	}
	size := 0
	seen := make(map[string]bool, len(custom))
	for _, h := range custom {
		size += len(h.Name) + len(h.Value)
		field, name := "headers."+h.Name, strings.ToLower(h.Name)
		if !isToken(h.Name) {
			refuse(field, "invalid_header_name", "a header's name is one or more of A-Z a-z 0-9 ! # $ % & ' * + - . ^ _ ` | ~")
		} else if rule := reservedBy(strings.ReplaceAll(name, "_", "-")); rule != "" {
			refuse(field, "reserved_header", "a subscription cannot set "+rule)
		} else if seen[name] {
			refuse(field, "duplicate_header", "the name is there twice; upper and lower case are the same")
		}
		seen[name] = true
		if !isValue(h.Value) {
			refuse(field, "invalid_header_value", "a header's value is visible ASCII, with spaces only inside")
		}
	}
	if size > MaxHeaderBytes {
		refuse("headers", "headers_too_large", fmt.Sprintf("names and values are at most %d bytes in all, these are %d", MaxHeaderBytes, size))
	}
	return refused
}

// reservedBy is the rule that refuses a lower-case name, as X-Atlas-* would be written; "" for none.
func reservedBy(name string) string {
	for _, r := range reserved {
		if name == r {
			return r
		}
		if strings.HasSuffix(r, "-") && strings.HasPrefix(name, r) {
			return r + "*"
		}
	}
	return ""
}

// isToken is RFC 9110 section 5.6.2.
func isToken(name string) bool {
	for i := range len(name) {
		c := name[i]
		alphanumeric := c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9'
		if !alphanumeric && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return name != ""
}

func isValue(value string) bool {
	for i := range len(value) {
		if value[i] < 0x20 || value[i] > 0x7e {
			return false
		}
	}
	return value != "" && value[0] != ' ' && value[len(value)-1] != ' '
}
