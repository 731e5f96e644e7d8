package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/spf13/pflag"
)

// Load reads the server's settings from a command's flags (see [Flags]), from the environment and
// from the file named by --config or ATLAS_WEBHOOKS_CONFIG. The Config is complete and valid. The
// list says, in the order of the struct, what is in force and from where. The error joins all that
// is wrong; each part names the setting and where it was set.
func Load(flags *pflag.FlagSet) (Config, []Setting, error) {
	return load(flags, os.Environ())
}

func load(flags *pflag.FlagSet, environ []string) (Config, []Setting, error) {
	var c Config
	layers, err := read(flags, environ, fields(c))
	if err := errors.Join(err, layers.parse(&c)); err != nil {
		return c, nil, err
	}
	if err := layers.explain(c.Validate()); err != nil {
		return c, nil, err
	}
	if given := c; c.Dev {
		c = c.WithDefaults()
		if !given.AllowHTTP {
			layers.origins["allow_http"] = "--dev"
		}
		if len(given.AllowNetworks) != len(c.AllowNetworks) {
			layers.origins["allow_networks"] += " and --dev"
		}
	}
	return c, values(c, layers.origins), nil
}

// layers holds, for each setting, the text that won and where it came from.
type layers struct {
	fields  []field
	texts   map[string]string
	origins map[string]string
}

// read lays defaults, file, environment and flags over each other, in this order.
func read(flags *pflag.FlagSet, environ []string, list []field) (*layers, error) {
	l := &layers{fields: list, texts: defaults(list), origins: map[string]string{}}
	for _, f := range list {
		l.origins[f.name] = "default"
	}
	vars, unknown := variables(environ)
	problems := []error{unknown}

	path := vars[envPrefix+"CONFIG"]
	if f := flags.Lookup("config"); f != nil && f.Changed {
		path = f.Value.String()
	}
	if path != "" && flags.Lookup("config") != nil {
		problems = append(problems, l.file(path))
	}
	for _, f := range list {
		// An empty variable is one that was not set: compose files and CI systems pass it so.
		if v := vars[f.env()]; v != "" {
			l.set(f, v, f.env())
		}
	}
	for _, f := range list {
		if flag := flags.Lookup(f.flag()); flag != nil && flag.Changed {
			l.set(f, flag.Value.(*text).value, "--"+f.flag())
		}
	}
	for _, f := range list {
		if v, set := l.texts[f.name]; set && v == "" && (f.kind == reflect.Bool || f.kind == reflect.Int) {
			problems = append(problems, l.blame(f.name, errors.New("is empty")))
		}
	}
	return l, errors.Join(problems...)
}

func (l *layers) set(f field, value, origin string) {
	l.texts[f.name] = value
	l.origins[f.name] = origin
}

// kubernetes matches what a cluster puts into the environment of every pod beside a Service called
// atlas-webhooks. It is not ours, and no setting may have such a name.
var kubernetes = regexp.MustCompile(`^ATLAS_WEBHOOKS_(SERVICE_(HOST|PORT)(_.*)?|PORT(_[0-9]+_.*)?)$`)

// variables picks our variables out of an environment. One that begins with our prefix and names
// no setting is refused: it is a typing mistake that would otherwise go unseen.
func variables(environ []string) (map[string]string, error) {
	known := []string{envPrefix + "CONFIG"}
	for _, f := range slices.Concat(fields(Config{}), fields(Client{})) {
		known = append(known, f.env())
	}
	vars := map[string]string{}
	var problems []error
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case slices.Contains(known, name):
			vars[name] = value
		case strings.HasPrefix(name, envPrefix) && !kubernetes.MatchString(name):
			problems = append(problems, fmt.Errorf("%s: there is no such setting", name))
		}
	}
	return vars, errors.Join(problems...)
}

// parse sets the fields of the struct behind target.
func (l *layers) parse(target any) error {
	err := parse(target, l.texts)
	all, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return err
	}
	t := reflect.TypeOf(target).Elem()
	var problems []error
	for _, err := range all.Errors {
		p, ok := errors.AsType[env.ParseError](err)
		if !ok {
			problems = append(problems, err)
			continue
		}
		f, _ := t.FieldByName(p.Name)
		problems = append(problems, l.blame(f.Tag.Get("yaml"), mend(p)))
	}
	return errors.Join(problems...)
}

// mend puts what strconv says about numbers and booleans into an operator's words.
func mend(p env.ParseError) error {
	switch p.Type.Kind() {
	case reflect.Bool:
		return errors.New("must be true or false")
	case reflect.Int:
		return errors.New("must be a whole number")
	default:
		return p.Err
	}
}

// explain says of each problem that Validate found where the setting came from.
func (l *layers) explain(err error) error {
	if err == nil {
		return nil
	}
	var problems []error
	for _, p := range err.(interface{ Unwrap() []error }).Unwrap() {
		if s, ok := errors.AsType[*Problem](p); ok {
			p = l.blame(s.Setting, s.Err)
		}
		problems = append(problems, p)
	}
	return errors.Join(problems...)
}

// blame names a setting, and where it came from, before what is wrong with it.
func (l *layers) blame(name string, err error) error {
	if origin := l.origins[name]; origin != "default" {
		return fmt.Errorf("%s (from %s): %w", name, origin, err)
	}
	return fmt.Errorf("%s: %w", name, err)
}
