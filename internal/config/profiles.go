package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// DefaultProfile is the profile that commands take where none is named.
const DefaultProfile = "default"

// Profiles are the servers that a person has logged in to, by name: a file in the user's
// configuration directory that nobody else may read.
type Profiles struct {
	Path string // of the file; it may not be there yet
	list map[string]profile
}

// profile is a profile in the file. Its key is a plain text, since a [Secret] is written as a mask.
type profile struct {
	URL     string `yaml:"url"`
	APIKey  string `yaml:"api_key"`
	Company string `yaml:"company,omitempty"`
}

// ReadProfiles reads the user's profiles.
func ReadProfiles() (*Profiles, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return &Profiles{}, nil //nolint:nilerr // no home, no profiles
	}
	return readProfiles(filepath.Join(dir, "atlas-webhooks", "profiles.yaml"))
}

func readProfiles(path string) (*Profiles, error) {
	p := &Profiles{Path: path, list: map[string]profile{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("profiles: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return p, fmt.Errorf("profiles: others may read the keys in %s (mode %04o); chmod 600 it", path, info.Mode().Perm())
	}
	if err := yaml.Unmarshal(text, &p.list); err != nil {
		return p, fmt.Errorf("profiles: %s: %w", path, err)
	}
	return p, nil
}

// Names are the names of all profiles, sorted.
func (p *Profiles) Names() []string { return slices.Sorted(maps.Keys(p.list)) }

// Named is what a profile holds.
func (p *Profiles) Named(name string) (c Client, ok bool) {
	one, ok := p.list[name]
	return Client{URL: one.URL, APIKey: Secret(one.APIKey), Company: one.Company, Profile: name}, ok
}

var profileName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Save keeps settings as the profile that they name.
func (p *Profiles) Save(c Client) error {
	if !profileName.MatchString(c.Profile) {
		return errors.New("profile: must be 1 to 64 of A-Z a-z 0-9 _ . -")
	}
	if p.Path == "" {
		return errors.New("profiles: this user has no configuration directory (HOME is not set)")
	}
	if p.list == nil {
		p.list = map[string]profile{}
	}
	p.list[c.Profile] = profile{c.URL, c.APIKey.Reveal(), c.Company}
	return p.write()
}

// Remove forgets a profile, and reports whether there was one.
func (p *Profiles) Remove(name string) (bool, error) {
	if _, ok := p.list[name]; !ok {
		return false, nil
	}
	delete(p.list, name)
	return true, p.write()
}

// write replaces the file as a whole, so that two logins at once leave one of both.
func (p *Profiles) write() error {
	text, err := yaml.Marshal(p.list)
	if err != nil {
		return err
	}
	dir := filepath.Dir(p.Path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".profiles-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(text); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), p.Path)
}

// profile lays a profile below what flags and environment say. Its key goes to its address only: the
// two are taken together or not at all.
func (l *layers) profile(profiles *Profiles) error {
	name, origin := l.texts["profile"], l.origins["profile"]
	named := origin == "--profile"
	for _, setting := range []string{"url", "api_key"} {
		switch given := l.origins[setting]; {
		case named && strings.HasPrefix(given, "--"):
			return fmt.Errorf("profile (from --profile): has an address and a key of its own; leave out %s", given)
		case !named && given != "default":
			return nil
		}
	}
	c, ok := profiles.Named(name)
	switch {
	case !ok && origin == "default":
		return nil
	case !ok:
		known := "there are none"
		if names := profiles.Names(); len(names) > 0 {
			known = "there are " + strings.Join(names, ", ")
		}
		return l.blame("profile", fmt.Errorf("there is no profile %q (%s); 'atlas-webhooks login --profile %s' makes it", name, known, name))
	}
	for _, f := range l.fields {
		given := l.origins[f.name]
		overrides := strings.HasPrefix(given, "--") || !named && given != "default"
		switch f.name {
		case "url":
			l.set(f, c.URL, "profile "+name)
		case "api_key":
			l.set(f, c.APIKey.Reveal(), "profile "+name)
		case "company":
			if c.Company != "" && !overrides {
				l.set(f, c.Company, "profile "+name)
			}
		}
	}
	return nil
}
