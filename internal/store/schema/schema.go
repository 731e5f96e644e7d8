// Package schema takes the steps of a schema, one after another.
package schema

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/atlas-webhooks/atlas-webhooks/internal/failpoint"
)

// Step is a step of the schema.
type Step struct {
	Version   int64      `json:"version"`
	Name      string     `json:"name"`       // of its file
	AppliedAt *time.Time `json:"applied_at"` // nil: not yet
}

// Migrate takes the steps that are missing, if apply is set, and lists all. It refuses a schema that is newer than this program.
func Migrate(ctx context.Context, p *goose.Provider, apply bool) ([]Step, error) {
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return nil, err
	}
	if have > want {
		return nil, fmt.Errorf("the schema is at version %d, this program knows %d: it was written by a newer version", have, want)
	}
	for apply && have < want {
		failpoint.Hit(failpoint.Migration)
		if _, err := p.UpByOne(ctx); errors.Is(err, goose.ErrNoNextVersion) {
			break // another node was faster
		} else if err != nil {
			return nil, err
		}
	}
	steps, err := p.Status(ctx)
	if err != nil {
		return nil, err
	}
	var list []Step
	for _, s := range steps {
		m := Step{Version: s.Source.Version, Name: filepath.Base(s.Source.Path)}
		if s.State == goose.StateApplied {
			at := s.AppliedAt.UTC()
			m.AppliedAt = &at
		}
		list = append(list, m)
	}
	return list, nil
}
