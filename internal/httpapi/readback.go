package httpapi

import (
	"bytes"
	"context"
	"crypto/subtle"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// ReadBack are the fields of a webhook that nobody sets. Who changes a webhook may send back what GET
// showed, as it was.
type ReadBack struct {
	ID             Document `json:"id,omitzero" readOnly:"true"`
	CompanyID      Document `json:"company_id,omitzero" readOnly:"true"`
	StatusReason   Document `json:"status_reason,omitzero" readOnly:"true"`
	Standard       Document `json:"standard_webhooks,omitzero" readOnly:"true"`
	StandardReason Document `json:"standard_webhooks_reason,omitzero" readOnly:"true"`
	CreatedAt      Document `json:"created_at,omitzero" readOnly:"true"`
	UpdatedAt      Document `json:"updated_at,omitzero" readOnly:"true"`
	SecretRotation Document `json:"secret_rotation,omitzero" readOnly:"true"`
	Health         Document `json:"health,omitzero" readOnly:"true"`
	FilterProblem  Document `json:"filter_problem,omitzero" readOnly:"true"`
	Warnings       Document `json:"warnings,omitzero" readOnly:"true"`
	Skipped        Document `json:"skipped,omitzero" readOnly:"true"`
}

// moving are read-only fields that differ from one answer to the next: whatever is sent back passes.
var moving = []string{"health", "warnings", "filter_problem", "skipped"}

// readBack refuses a change of what cannot be changed, and takes out of it what repeats itself: event
// beside events, and the secret as it is.
func (a *API) readBack(ctx context.Context, x *exchange, in *updateIn) error {
	s := &in.Body.Settings
	if s.Event != nil && len(s.Events) > 0 && *s.Event == s.Events[0] {
		s.Event = nil
	}
	given, err := members(in.Body.ReadBack)
	if err != nil || len(given) == 0 && s.SigningSecret == nil {
		return err
	}
	w, err := a.opt.Store.Webhook(ctx, x.company.Key, in.ID)
	if err != nil {
		return err
	}
	if s.SigningSecret != nil && subtle.ConstantTimeCompare([]byte(*s.SigningSecret), []byte(w.Secrets.Current)) == 1 {
		s.SigningSecret = nil
	}
	current, err := members(shapeWebhook(w, a.now()))
	if err != nil {
		return err
	}
	var wrong []hook.FieldError
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(moving, name) && !sameValue(given[name], current[name]) {
			wrong = append(wrong, hook.FieldError{Field: name, Code: "read_only_field", Detail: "cannot be set, and is not what it was: leave it out"})
		}
	}
	if wrong != nil {
		return hook.InvalidFields(wrong...)
	}
	return nil
}

func members(v any) (all map[string]jsontext.Value, err error) {
	text, err := json.Marshal(v, outgoing)
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	return all, err
}

// sameValue compares two JSON values; what is not there is null, times are compared as such.
func sameValue(a, b jsontext.Value) bool {
	for _, v := range []*jsontext.Value{&a, &b} {
		if len(*v) == 0 {
			*v = jsontext.Value("null")
		}
		if v.Canonicalize() != nil {
			return false
		}
	}
	var at, bt time.Time
	return bytes.Equal(a, b) || json.Unmarshal(a, &at) == nil && json.Unmarshal(b, &bt) == nil && at.Equal(bt)
}
