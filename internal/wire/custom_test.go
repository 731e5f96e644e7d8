package wire_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

func TestValidateHeadersByName(t *testing.T) {
	for _, name := range []string{
		"Authorization", "X-Api-Key", "Cookie", "X-Team", "x", "!#$%&'*+-.^_`|~09azAZ",
		// Near to what is refused.
		"X-Atlas", "X-Atlass-Id", "Webhook", "Webhooks-Id", "Contents", "Hosts", "Tea", "Proxy", "X-Forwarded", "Trailers", "Accept", "Tracestate", "X-Original", "Vias", "X_Tenant", "X-Metadata",
	} {
		if refused := wire.ValidateHeaders([]hook.Header{{Name: name, Value: "v"}}); refused != nil {
			t.Errorf("%s: %v", name, refused)
		}
	}
	for code, names := range map[string][]string{
		"reserved_header": {
			"X-Atlas-Webhook-Signature", "x-atlas-", "X-ATLAS-ANYTHING", "webhook-id", "Webhook-Signature", "Host", "Content-Type", "content-length",
			"Content-Encoding", "User-Agent", "Connection", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "TE", "Trailer",
			"Transfer-Encoding", "Upgrade", "Expect", "Accept-Encoding", "Idempotency-Key", "X-Idempotency-Key", "Forwarded",
			"X-Forwarded-For", "X-Forwarded-Host", "Metadata-Flavor", "X-aws-ec2-metadata-token", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds",
			"traceparent", "Via", "X-Real-IP", "True-Client-IP", "X-Client-IP", "CF-Connecting-IP", "X-Cluster-Client-Ip", "X-Original-URL",
			"X-Original-Host", "X-Rewrite-URL", "X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "Metadata",
			// Receivers behind CGI and its heirs cannot tell _ from -.
			"X_Forwarded_For", "X_Atlas_Webhook_Signature", "webhook_id", "Content_Length", "Transfer_Encoding", "X-Real_IP", "Metadata_Flavor",
		},
		"invalid_header_name": {"", " ", "a b", "a:", ":path", "a\r\nb", "é", "a\x00", "a(b)", "a/b", "a=b", `"a"`, "{a}", "a,b", "a@b", "\x7f"},
	} {
		for _, name := range names {
			refused := wire.ValidateHeaders([]hook.Header{{Name: name, Value: "v"}})
			if len(refused) != 1 || refused[0].Code != code || refused[0].Field != "headers."+name || refused[0].Detail == "" {
				t.Errorf("%q: %+v, want %s", name, refused, code)
			}
		}
	}
}

func TestValidateHeadersByValue(t *testing.T) {
	for _, value := range []string{"v", "a b", "a  b", "~!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}"} {
		if refused := wire.ValidateHeaders([]hook.Header{{Name: "X-A", Value: value}}); refused != nil {
			t.Errorf("%q: %v", value, refused)
		}
	}
	for _, value := range []string{"", " ", " s3kret", "s3kret ", "s3\tkret", "s3\r\nX-B: kret", "s3\nkret", "s3kret\x00", "s3krét", "s3kret\x7f"} {
		refused := wire.ValidateHeaders([]hook.Header{{Name: "X-A", Value: value}})
		if len(refused) != 1 || refused[0].Code != "invalid_header_value" || refused[0].Field != "headers.X-A" {
			t.Errorf("%q: %+v", value, refused)
		}
		if strings.Contains(refused[0].Detail, "s3") {
			t.Errorf("the error repeats the value, which is a secret: %q", refused[0].Detail)
		}
	}
}

func TestValidateHeadersLimits(t *testing.T) {
	many := make([]hook.Header, wire.MaxHeaders+1)
	for i := range many {
		many[i] = hook.Header{Name: fmt.Sprintf("X-%d", i), Value: "v"}
	}
	wantCodes(t, "32", wire.ValidateHeaders(many[1:]))
	wantCodes(t, "33", wire.ValidateHeaders(many), "too_many_headers")

	full := strings.Repeat("v", wire.MaxHeaderBytes-len("X-A")-len("X-B")-1)
	wantCodes(t, "4 KiB", wire.ValidateHeaders([]hook.Header{{Name: "X-A", Value: full}, {Name: "X-B", Value: "v"}}))
	wantCodes(t, "a byte more", wire.ValidateHeaders([]hook.Header{{Name: "X-A", Value: full}, {Name: "X-B", Value: "vv"}}), "headers_too_large")

	wantCodes(t, "none", wire.ValidateHeaders(nil))
	wantCodes(t, "twice", wire.ValidateHeaders([]hook.Header{{Name: "X-A", Value: "1"}, {Name: "x-a", Value: "2"}}), "duplicate_header")
	wantCodes(t, "all that is wrong", wire.ValidateHeaders([]hook.Header{
		{Name: "Host", Value: "a\n"}, {Name: "X-A", Value: "v"}, {Name: "a b", Value: ""},
	}), "reserved_header", "invalid_header_value", "invalid_header_name", "invalid_header_value")
}

func wantCodes(t *testing.T, name string, refused []hook.FieldError, want ...string) {
	t.Helper()
	var got []string
	for _, r := range refused {
		got = append(got, r.Code)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%s: %q, want %q", name, got, want)
	}
}
