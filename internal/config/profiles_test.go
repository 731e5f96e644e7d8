package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// TestProfilesAreKept: what was saved is read again, and nobody else may read it.
func TestProfilesAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "of", "user", "profiles.yaml")
	p, err := readProfiles(path)
	if err != nil {
		t.Fatal(err)
	}
	want := Client{URL: "https://hooks.example.com", APIKey: "awc_secret", Company: "c1", Profile: "work"}
	if err := p.Save(want); err != nil {
		t.Fatal(err)
	}
	if err := p.Save(Client{URL: "http://localhost:8080", APIKey: "awo_x", Profile: "default"}); err != nil {
		t.Fatal(err)
	}
	if p, err = readProfiles(path); err != nil {
		t.Fatal(err)
	}
	if got, ok := p.Named("work"); !ok || got != want {
		t.Errorf("%#v %v", got, ok)
	}
	if diff := cmp.Diff([]string{"default", "work"}, p.Names()); diff != "" {
		t.Error(diff)
	}
	if there, err := p.Remove("work"); !there || err != nil {
		t.Error(there, err)
	}
	if there, err := p.Remove("work"); there || err != nil {
		t.Error(there, err)
	}
	if err := p.Save(Client{Profile: "../x"}); err == nil {
		t.Error("a name that is a path was taken")
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readProfiles(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Error(err)
	}
}

// TestProfileIsLaidBelow: a profile's key goes to its own address only, whatever else is said.
func TestProfileIsLaidBelow(t *testing.T) {
	profiles := &Profiles{list: map[string]profile{
		"default": {URL: "https://default.example", APIKey: "awo_default", Company: "d"},
		"work":    {URL: "https://work.example", APIKey: "awc_work", Company: "w"},
		"bare":    {URL: "https://bare.example", APIKey: "awo_bare"},
	}}
	const key, url, company, env = "ATLAS_WEBHOOKS_API_KEY=awo_env", "ATLAS_WEBHOOKS_URL=https://env.example", "ATLAS_WEBHOOKS_COMPANY=e", "ATLAS_WEBHOOKS_PROFILE=work"
	for _, c := range []struct {
		flags   string
		environ []string
		want    string // url, key, company; or a part of the error
	}{
		{"", nil, "https://default.example awo_default d"},
		{"--company=f", []string{company}, "https://default.example awo_default f"},
		{"", []string{company}, "https://default.example awo_default e"},
		{"", []string{env}, "https://work.example awc_work w"},
		{"", []string{url}, "https://env.example  "},
		{"", []string{key}, "http://localhost:8080 awo_env "},
		{"", []string{key, url, company, env}, "https://env.example awo_env e"},
		{"--url=https://flag.example", nil, "https://flag.example  "},
		{"--profile=work", []string{key, url, company}, "https://work.example awc_work w"},
		{"--profile=work --company=f", []string{company}, "https://work.example awc_work f"},
		{"--profile=bare", []string{company}, "https://bare.example awo_bare e"},
		{"--profile=work --url=https://flag.example", nil, "leave out --url"},
		{"--profile=work --api-key=awo_x", nil, "leave out --api-key"},
		{"--profile=none", nil, "there are bare, default, work"},
		{"", []string{"ATLAS_WEBHOOKS_PROFILE=none"}, "login --profile none"},
	} {
		fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
		ClientFlags(fs)
		if err := fs.Parse(strings.Fields(c.flags)); err != nil {
			t.Fatal(err)
		}
		got, err := loadClient(fs, c.environ, profiles)
		text := strings.Join([]string{got.URL, got.APIKey.Reveal(), got.Company}, " ")
		if err != nil {
			text = err.Error()
		}
		if text != c.want && (err == nil || !strings.Contains(text, c.want)) {
			t.Errorf("%q %q: %q, want %q", c.flags, c.environ, text, c.want)
		}
	}
}
