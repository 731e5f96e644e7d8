package store

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/log"
	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// Company is a tenant. Its key, id and partition never change.
type Company struct {
	Key           hook.CompanyKey
	ID            string
	Partition     hook.Partition
	Scheme        hook.SignatureScheme // of webhooks created without one; "" = the server's default
	Format        hook.DataFormat      // likewise
	AllowNetworks []string             // CIDRs that its endpoints may lie in although they are private
	MaxWebhooks   int                  // 0 = no limit
	Validate      hook.Validation      // of its events; "" = what the topic says
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// companyFacts are what never changes of a company.
type companyFacts struct {
	key       hook.CompanyKey
	partition hook.Partition
}

// companiesCached bounds the cache of immutable facts; it is emptied when it is full.
const companiesCached = 100_000

// EnsureCompany returns a company's key, id and partition, and nothing else of it: that is what
// never changes and is therefore held in memory. Its first mention creates it. The partition is
// chosen then, by a stable hash of the id, and written down, so that it can be moved later.
func (s *Store) EnsureCompany(ctx context.Context, id string) (*Company, error) {
	s.companies.Lock()
	f, known := s.companies.byID[id]
	s.companies.Unlock()
	if known {
		return &Company{Key: f.key, ID: id, Partition: f.partition}, nil
	}
	c, err := s.Company(ctx, id)
	if hook.IsKind(err, hook.KindNotFound) {
		c, err = s.createCompany(ctx, id)
	}
	if err != nil {
		return nil, err
	}
	return s.cacheCompany(c), nil
}

func (s *Store) cacheCompany(c *Company) *Company {
	s.companies.Lock()
	defer s.companies.Unlock()
	if s.companies.byID == nil || len(s.companies.byID) >= companiesCached {
		s.companies.byID = map[string]companyFacts{}
	}
	s.companies.byID[c.ID] = companyFacts{c.Key, c.Partition}
	return &Company{Key: c.Key, ID: c.ID, Partition: c.Partition}
}

// PartitionOf is where a company is put at its first mention: a stable hash of its id.
func PartitionOf(id string, partitions int) hook.Partition {
	h := fnv.New64a()
	h.Write([]byte(id))
	return hook.Partition(h.Sum64() % uint64(partitions))
}

func (s *Store) createCompany(ctx context.Context, id string) (c *Company, err error) {
	partition := PartitionOf(id, s.Partitions())
	err = s.write(ctx, func(q sql.Tx) error {
		c, err = companyWhere(ctx, q, `id = $1`, id)
		if !hook.IsKind(err, hook.KindNotFound) {
			return err // somebody else's mention was first
		}
		key, err := sql.NextKey(ctx, q, "company_key")
		if err != nil {
			return err
		}
		now := sql.Micros(s.now())
		if _, err := q.Exec(ctx, `INSERT INTO companies (key, id, partition, created_at, updated_at) VALUES ($1, $2, $3, $4, $4)`,
			key, id, int64(partition), now); err != nil {
			return err
		}
		c, err = companyWhere(ctx, q, `id = $1`, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create company: %w", err)
	}
	return c, nil
}

// Company reads a company; [hook.NotFound] when it was never mentioned.
func (s *Store) Company(ctx context.Context, id string) (c *Company, err error) {
	err = s.read(ctx, func(q sql.Tx) error {
		c, err = companyWhere(ctx, q, `id = $1`, id)
		return err
	})
	return c, err
}

// CompanyByKey reads a company by its key.
func (s *Store) CompanyByKey(ctx context.Context, key hook.CompanyKey) (c *Company, err error) {
	err = s.look(ctx, func(q sql.Tx) error {
		c, err = companyWhere(ctx, q, `key = $1`, int64(key))
		return err
	})
	return c, err
}

// Companies lists companies, the newest first; the ids of pages are company ids.
func (s *Store) Companies(ctx context.Context, p Page) (list []*Company, more string, err error) {
	err = s.look(ctx, func(q sql.Tx) error {
		list = list[:0]
		before := int64(1) << 62
		if p.Before != "" {
			c, err := companyWhere(ctx, q, `id = $1`, p.Before)
			if err != nil {
				return err
			}
			before = int64(c.Key)
		}
		return sql.Each(ctx, q, `SELECT `+companyColumns+` FROM companies WHERE key < $1 ORDER BY key DESC LIMIT $2`,
			[]any{before, int64(p.Limit + 1)}, func(r sql.Rows) error {
				c, err := scanCompany(r)
				list = append(list, c)
				return err
			})
	})
	if err != nil {
		return nil, "", fmt.Errorf("list companies: %w", err)
	}
	list, more = next(p, list, func(c *Company) string { return c.ID })
	return list, more, nil
}

// UpdateCompany applies a change to a company's settings, which it loads in the transaction.
// Change may run more than once.
func (s *Store) UpdateCompany(ctx context.Context, id string, change func(*Company) error, a Audit) (c *Company, err error) {
	err = s.write(ctx, func(q sql.Tx) error {
		if c, err = companyWhere(ctx, q, `id = $1`, id); err != nil {
			return err
		}
		validate := c.Validate
		if err := change(c); err != nil {
			return err
		}
		if c.Validate != validate { // which all nodes learn as they learn of topics
			if _, err := sql.NextKey(ctx, q, "topics"); err != nil {
				return err
			}
		}
		now := hook.Now(s.now())
		c.UpdatedAt = now
		if _, err := q.Exec(ctx, `
			UPDATE companies SET signature_scheme = $1, data_format = $2, allow_networks = $3, max_webhooks = $4, updated_at = $5, validate = $6 WHERE key = $7`,
			string(c.Scheme), string(c.Format), strings.Join(c.AllowNetworks, ","), int64(c.MaxWebhooks), sql.Micros(now), string(c.Validate), int64(c.Key)); err != nil {
			return err
		}
		// What its endpoints may reach is in force for the next attempt of each of its webhooks.
		version, err := log.CountChange(ctx, q, c.Partition)
		if err != nil {
			return err
		}
		if _, err := q.Exec(ctx, `UPDATE webhooks SET changed = $1 WHERE company = $2 AND deleted_at IS NULL`, version, int64(c.Key)); err != nil {
			return err
		}
		return writeAudit(ctx, q, c.Key, c.ID, a, now)
	})
	if err != nil {
		return nil, fmt.Errorf("update company: %w", err)
	}
	return c, s.ReadTopics(context.WithoutCancel(ctx))
}

const companyColumns = `key, id, partition, signature_scheme, data_format, allow_networks, max_webhooks, validate, created_at, updated_at`

func companyWhere(ctx context.Context, q sql.Tx, condition string, arg any) (c *Company, err error) {
	err = sql.Each(ctx, q, `SELECT `+companyColumns+` FROM companies WHERE `+condition, []any{arg}, func(r sql.Rows) error {
		c, err = scanCompany(r)
		return err
	})
	if err == nil && c == nil {
		err = hook.NotFound("company")
	}
	return c, err
}

func scanCompany(r sql.Rows) (*Company, error) {
	c := &Company{}
	var networks string
	var created, updated int64
	if err := r.Scan(&c.Key, &c.ID, &c.Partition, &c.Scheme, &c.Format, &networks, &c.MaxWebhooks, &c.Validate, &created, &updated); err != nil {
		return nil, errors.Join(errors.New("scan company"), err)
	}
	c.AllowNetworks = splitNetworks(networks)
	c.CreatedAt, c.UpdatedAt = sql.FromMicros(created), sql.FromMicros(updated)
	return c, nil
}
