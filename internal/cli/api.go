package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
	"github.com/atlas-webhooks/atlas-webhooks/internal/wire"
)

// api calls a server's HTTP API on behalf of one company.
type api struct {
	config.Client
	http *http.Client
}

func newAPI(c config.Client) (*api, error) {
	if c.APIKey == "" {
		return nil, &exitError{exitAuth, fmt.Errorf("no key: give --api-key or set ATLAS_WEBHOOKS_API_KEY")}
	}
	return &api{Client: c, http: &http.Client{Timeout: 30 * time.Second}}, nil
}

// problem is an error that the API answered (RFC 9457).
type problem struct {
	Status    int    `json:"status"`
	Title     string `json:"title"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	RequestID string `json:"request_id"`
	Errors    []struct {
		Field  string `json:"field"`
		Detail string `json:"detail"`
	} `json:"errors"`
}

func (e *problem) Error() string {
	text := fmt.Sprintf("%s (%d)", e.Code, e.Status)
	if e.Code == "" {
		text = fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	for _, f := range e.Errors {
		text += fmt.Sprintf("; %s: %s", f.Field, f.Detail)
	}
	if e.RequestID != "" {
		text += " [request " + e.RequestID + "]"
	}
	return text
}

// call makes one request and decodes its answer into out, unless that is nil. A refusal is a
// *problem, with the exit code that its status means.
func (a *api) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.URL+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+a.APIKey.Reveal())
	r.Header.Set("User-Agent", wire.UserAgent(buildVersion()))
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if a.Company != "" {
		r.Header.Set("X-Atlas-Company-Id", a.Company)
	}
	answer, err := a.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxInput))
	if err != nil {
		return fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	if answer.StatusCode/100 != 2 {
		return refusal(answer.StatusCode, text)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the answer to %s %s is not what this version expects: %w", method, path, err)
	}
	return nil
}

func refusal(status int, text []byte) error {
	p := &problem{}
	// Something between here and the server may answer with no problem document at all.
	if json.Unmarshal(text, p) != nil {
		p = &problem{}
	}
	p.Status = status
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return &exitError{exitAuth, p}
	case http.StatusNotFound:
		return &exitError{exitNotFound, p}
	default:
		return p
	}
}
