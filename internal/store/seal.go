package store

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/atlas-webhooks/atlas-webhooks/internal/store/sql"
)

// newSeal is AES-256-GCM with random nonces under the master key.
func newSeal(key []byte) (cipher.AEAD, error) {
	if len(key) != 32 {
		return nil, fmt.Errorf("the master key has %d bytes, need 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// seal encrypts a secret for one field of one row; it opens nowhere else. The first byte names the
// form, for the day when there is a second one.
func (s *Store) seal(plain []byte, row, field string) []byte {
	return s.aead.Seal([]byte{1}, nil, plain, []byte(row+"\x00"+field))
}

func (s *Store) unseal(sealed []byte, row, field string) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != 1 {
		return nil, fmt.Errorf("%s of %s is not sealed in a form that this program knows", field, row)
	}
	plain, err := s.aead.Open(nil, nil, sealed[1:], []byte(row+"\x00"+field))
	if err != nil {
		return nil, fmt.Errorf("%s of %s does not open with this master key", field, row)
	}
	return plain, nil
}

// checkOpened refuses a store that must not be used.
func (s *Store) checkOpened(ctx context.Context, opt Options) error {
	if err := s.checkSeal(ctx, opt.MasterKey); err != nil || opt.Unfinished {
		return err
	}
	if err := s.ReadTopics(ctx); err != nil {
		return err
	}
	return s.checkWhole(ctx)
}

// MetaCopy is the name of what a store's meta holds while a copy into it is not finished.
const MetaCopy = "copy"

// checkWhole refuses a store that a copy into was not finished.
func (s *Store) checkWhole(ctx context.Context) error {
	var n int64
	err := s.read(ctx, func(q sql.Tx) error {
		return sql.One(ctx, q, `SELECT count(*) FROM meta WHERE name = $1`, []any{MetaCopy}, &n)
	})
	if err == nil && n > 0 {
		err = errors.New("a copy into this store is not finished: run it again, or begin with an empty store")
	}
	return err
}

// checkSeal refuses a master key other than the one that sealed what is there: the database keeps
// a print of it (48 bits of a hash, which says nothing about 256 random ones).
func (s *Store) checkSeal(ctx context.Context, key []byte) error {
	sum := sha256.Sum256(append([]byte("print of a master key\x00"), key...))
	print := int64(binary.BigEndian.Uint64(sum[:8]) >> 16)
	var have int64
	err := s.read(ctx, func(q sql.Tx) error {
		return sql.One(ctx, q, `SELECT value FROM meta WHERE name = 'master_key_print'`, nil, &have)
	})
	switch {
	case errors.Is(err, sql.ErrNoRow):
		return s.write(ctx, func(q sql.Tx) error {
			_, err := q.Exec(ctx, `INSERT INTO meta (name, value) VALUES ('master_key_print', $1)`, print)
			return err
		})
	case err != nil:
		return err
	case have != print:
		return errors.New("the master key is not the one that this store's secrets are sealed with")
	}
	return nil
}
