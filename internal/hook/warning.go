package hook

// Warning says that something was accepted and probably does not do what its owner expects.
type Warning struct {
	Field  string `json:"field"` // as the caller wrote it: "signing_secret", "headers.X_Foo"
	Code   string `json:"code"`
	Detail string `json:"detail"`
}
