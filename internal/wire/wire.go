// Package wire is the contract: the bytes and headers that a receiver gets, and what it verifies.
//
// A published JSON document is read once by [Parse], which checks it and rewrites everything
// outside ASCII as \u escapes; from then on its text never changes. [Body] puts it into the
// envelope {"event":…,"data":…}, either as a JSON string that holds the document (the
// documentation's shape) or as the document itself. Each attempt has a fresh [Timestamp] and a
// [Request] of headers, whose signature [Sign] makes by the subscription's scheme:
//
//	hex            hex(HMAC-SHA256(secret, T + "." + B))      the default
//	base64         base64(HMAC-SHA256(secret, T + B))
//	base64-dotted  base64(HMAC-SHA256(secret, T + "." + B))
//	python-dict    hex(HMAC-SHA256(secret, T + "." + repr))   repr = Python's print of the parsed body
//
// The key is the ASCII text of the whole secret, whsec_ included. T is the timestamp's text and B
// the body's bytes. The same request is signed a second time by the Standard Webhooks
// specification, whose key is the decoded part of a whsec_ secret ([StandardKey]).
//
// Three properties make this robust against receivers that do not keep the raw body, and each is a
// test that runs the other language: the body is pure ASCII; parsing and printing it compactly in
// JavaScript or Python gives it back byte for byte; the timestamp's text survives being parsed to a
// double and printed.
//
// testdata/reference.py is the documentation's own verifier, for tests that run it on requests
// which were really sent. How to call it is written at its top.
package wire

// Names of the headers, as net/http canonicalises them.
const (
	HeaderSignature          = "X-Atlas-Webhook-Signature"
	HeaderSignatureTimestamp = "X-Atlas-Webhook-Signature-Timestamp" // the first revision's name
	HeaderTimestamp          = "X-Atlas-Webhook-Timestamp"           // the later revisions' name, same text
	HeaderEventID            = "X-Atlas-Webhook-Event-Id"
	HeaderSubscriptionID     = "X-Atlas-Webhook-Subscription-Id"
	HeaderTopic              = "X-Atlas-Webhook-Topic"
	HeaderObjectID           = "X-Atlas-Webhook-Object-Id" // percent-encoded, see [Request].Object
	HeaderAttempt            = "X-Atlas-Webhook-Attempt"
	HeaderSequence           = "X-Atlas-Webhook-Sequence"
	HeaderTest               = "X-Atlas-Webhook-Test"
	HeaderReplay             = "X-Atlas-Webhook-Replay"
	HeaderStandardID         = "Webhook-Id"             // signed by HeaderStandardSignature
	HeaderStandardTimestamp  = "Webhook-Timestamp"      // whole seconds
	HeaderStandardSignature  = "Webhook-Signature"      // space-separated during a rotation
	HeaderKeyID              = "X-Atlas-Webhook-Key-Id" // of the public key that verifies v1a and Signature
	HeaderContentDigest      = "Content-Digest"
	HeaderSignatureInput     = "Signature-Input" // of RFC 9421, as the next
	HeaderMessageSignature   = "Signature"
	HeaderTraceparent        = "Traceparent"
	HeaderContentType        = "Content-Type"
	HeaderUserAgent          = "User-Agent"
)

// ContentType is that of every body.
const ContentType = "application/json"

// MaxDepth is how deep a published document may nest: a scalar has depth 0, [] has depth 1.
const MaxDepth = 64
