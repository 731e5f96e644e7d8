package app

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/atlas-webhooks/atlas-webhooks/internal/config"
)

type keys struct{ master []byte }

// firstKeys completes the configuration with the keys that the embedded store's first start
// creates: operator.key and master.key in the data directory, readable by their owner only. Nodes
// that share a database share its keys, so that none may make its own.
func firstKeys(cfg *config.Config, log *slog.Logger, terminal io.Writer) (k keys, err error) {
	if cfg.DatabaseURL.Reveal() != "" {
		for _, key := range []struct {
			name string
			text config.Secret
		}{{"operator_key", cfg.OperatorKey}, {"master_key", cfg.MasterKey}} {
			if key.text.Reveal() == "" {
				return k, fmt.Errorf("%s: must be set with database_url, the same on every node", key.name)
			}
		}
		k.master, err = masterKey(cfg.MasterKey.Reveal())
		return k, err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return k, fmt.Errorf("data_dir: %w", err)
	}
	if cfg.OperatorKey.Reveal() == "" {
		path := filepath.Join(cfg.DataDir, "operator.key")
		text, created, err := keyFile(path, func() string { return "awo_" + rand.Text() + rand.Text() })
		if err != nil {
			return k, fmt.Errorf("operator_key: %w", err)
		}
		cfg.OperatorKey = config.Secret(text)
		if created {
			log.Info("created an operator key", "file", path)
			if terminal != nil {
				fmt.Fprintf(terminal, "Operator key (shown once, kept in %s): %s\n", path, text)
			}
		}
	}
	text := cfg.MasterKey.Reveal()
	if text == "" {
		path := filepath.Join(cfg.DataDir, "master.key")
		var created bool
		text, created, err = keyFile(path, func() string {
			var b [32]byte
			rand.Read(b[:])
			return base64.StdEncoding.EncodeToString(b[:])
		})
		if err != nil {
			return k, fmt.Errorf("master_key: %w", err)
		}
		if created {
			if _, err := os.Stat(filepath.Join(cfg.DataDir, "atlas-webhooks.db")); err == nil {
				os.Remove(path)
				return k, fmt.Errorf("master_key: %s is missing, and the store beside it has secrets sealed with it", path)
			}
			log.Info("created a master key; keep a copy, without it no signing secret can be read", "file", path)
		}
	}
	k.master, err = masterKey(text)
	return k, err
}

func masterKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != 32 {
		return nil, errors.New("master_key: is not the base64 of 32 bytes")
	}
	return key, nil
}

// keyFile reads a key, or writes a new one: whole or not at all.
func keyFile(path string, fresh func() string) (text string, created bool, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		if err := os.Chmod(path, 0o600); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, unix.EROFS) {
			return "", false, err // where it is not ours to change, its owner has seen to it
		}
		return strings.TrimSpace(string(b)), false, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", false, err
	}
	text = fresh()
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // 0600
	if err != nil {
		return "", false, err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Close()); err == nil {
		err = SettleFile(f.Name(), path) // secrets will be sealed with that key
	}
	return text, err == nil, err
}
