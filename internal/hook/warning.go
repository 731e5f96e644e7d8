package hook

// Warning says that something was accepted and probably does not do what its owner expects.
type Warning struct {
	Field  string `json:"field"` // as the caller wrote it: "signing_secret", "headers.X_Foo"
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// Finding is something in a published document that is JSON and that some receivers cannot read.
type Finding struct {
	Code    string `json:"code"`
	Pointer string `json:"pointer"` // of the first place (RFC 6901)
	Detail  string `json:"detail"`
}
