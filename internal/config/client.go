package config

import (
	"errors"
	"os"

	"github.com/spf13/pflag"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
)

// Client is what a command that calls the API needs to know.
type Client struct {
	URL     string `yaml:"url" default:"http://localhost:8080" doc:"Address of the server, as scheme://host[:port]."`
	APIKey  Secret `yaml:"api_key" doc:"Operator key (awo_…), company key (awc_…) or publish key (awp_…)."`
	Company string `yaml:"company" doc:"Company to act for. Needed with an operator key only."`
	Profile string `yaml:"profile" default:"default" doc:"Login to take address, key and company from. See atlas-webhooks login. It is taken where neither url nor api_key is given; --profile wins over the environment."`
}

// LoadClient reads a command's client settings (see [ClientFlags]) from its flags, from the
// environment (ATLAS_WEBHOOKS_URL, ATLAS_WEBHOOKS_API_KEY, ATLAS_WEBHOOKS_COMPANY,
// ATLAS_WEBHOOKS_PROFILE) and from the user's profiles.
func LoadClient(flags *pflag.FlagSet) (Client, error) {
	profiles, err := ReadProfiles()
	if err != nil {
		return Client{}, err
	}
	return loadClient(flags, os.Environ(), profiles)
}

// LoadLogin reads the settings that a profile is to be made of: from flags and environment alone.
func LoadLogin(flags *pflag.FlagSet) (Client, error) {
	return loadClient(flags, os.Environ(), nil)
}

func loadClient(flags *pflag.FlagSet, environ []string, profiles *Profiles) (Client, error) {
	var c Client
	layers, err := read(flags, environ, fields(c))
	if profiles != nil {
		err = errors.Join(err, layers.profile(profiles))
	}
	if err := errors.Join(err, layers.parse(&c)); err != nil {
		return c, err
	}
	var all problems
	all.add("url", origin(c.URL))
	if c.Company != "" && !hook.ValidCompanyID(c.Company) {
		all.add("company", errors.New("must be 1 to 64 of A-Z a-z 0-9 _ : -"))
	}
	return c, layers.explain(errors.Join(all...))
}

// PlainOutput reports whether the environment asks for output without colour: NO_COLOR is set to
// anything (no-color.org), or the terminal is a dumb one.
func PlainOutput() bool {
	return os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
}

// Environment is this process's, for one that is to use the same settings.
func (c Client) Environment() []string {
	return append(os.Environ(), "ATLAS_WEBHOOKS_URL="+c.URL, "ATLAS_WEBHOOKS_API_KEY="+c.APIKey.Reveal(), "ATLAS_WEBHOOKS_COMPANY="+c.Company)
}
