package client

import (
	"context"
	"time"
)

// SigningKey is the public half of a company's pair of ed25519 keys.
type SigningKey struct {
	KID        string    `json:"kid" doc:"What X-Atlas-Webhook-Key-Id names."`
	X          string    `json:"x" doc:"The public key in base64url, as in the key set."`
	PEM        string    `json:"pem" doc:"The same as a SubjectPublicKeyInfo."`
	ActiveFrom time.Time `json:"active_from" doc:"It signs from then on, until the next one does."`
}

// SigningKeyList are a company's keys that are published.
type SigningKeyList struct {
	Data []SigningKey `json:"data"`
}

// SigningKeys lists the keys of a company that are published, newest first: in use, to be used, or used until a
// day ago.
func (c *Client) SigningKeys(ctx context.Context, company string) ([]SigningKey, error) {
	l, err := fetch[SigningKeyList](ctx, c, get("/v1/companies/{id}/signing-keys", company))
	if err != nil {
		return nil, err
	}
	return l.Data, nil
}

// RotateSigningKey publishes a company's next key, which signs from a day from now on.
func (c *Client) RotateSigningKey(ctx context.Context, company string) (*SigningKey, error) {
	return fetch[SigningKey](ctx, c, post("/v1/companies/{id}/signing-keys", nil, company).once())
}
