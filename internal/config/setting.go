package config

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/pflag"
)

const envPrefix = "ATLAS_WEBHOOKS_"

// Setting is one setting as the operator sees it.
type Setting struct {
	Name    string `json:"name"`    // as in the YAML file and in every message
	Value   string `json:"value"`   // in force; secrets are masked
	Origin  string `json:"origin"`  // "default", "--data-dir", "ATLAS_WEBHOOKS_DATA_DIR", "atlas.yaml:3", "--dev"
	Default string `json:"default"` // as text, "" for none
}

// field is what a struct field's tags say about its setting.
type field struct {
	name, def, group, doc string
	index                 int
	kind                  reflect.Kind
}

// flag and env are the setting's other two spellings.
func (f field) flag() string { return strings.ReplaceAll(f.name, "_", "-") }

func (f field) env() string { return envPrefix + strings.ToUpper(f.name) }

// fields lists the settings of a Config or a Client, in the order of the struct.
func fields(of any) []field {
	t := reflect.TypeOf(of)
	list := make([]field, t.NumField())
	for i := range list {
		f := t.Field(i)
		list[i] = field{
			name: f.Tag.Get("yaml"), def: f.Tag.Get("default"), group: f.Tag.Get("group"), doc: f.Tag.Get("doc"),
			index: i, kind: f.Type.Kind(),
		}
	}
	return list
}

// defaults are the default texts by name, of the settings that have one.
func defaults(list []field) map[string]string {
	texts := make(map[string]string, len(list))
	for _, f := range list {
		if f.def != "" {
			texts[f.name] = f.def
		}
	}
	return texts
}

// Flags adds the server's settings, and --config, to a command's flags.
func Flags(fs *pflag.FlagSet) {
	fs.String("config", "", "`file` with settings, in YAML")
	addFlags(fs, fields(Config{}))
}

// ClientFlags adds the settings of a command that calls the API.
func ClientFlags(fs *pflag.FlagSet) { addFlags(fs, fields(Client{})) }

func addFlags(fs *pflag.FlagSet, list []field) {
	for _, f := range list {
		usage, _, _ := strings.Cut(f.doc, ". ")
		fs.Var(&text{kind: f.kind, value: f.def}, f.flag(), strings.TrimSuffix(usage, "."))
		if f.kind == reflect.Bool {
			fs.Lookup(f.flag()).NoOptDefVal = "true"
		}
	}
}

// text is a flag's value before it is understood: all layers are parsed together, in one place, so
// that they accept the same texts and refuse them with the same words.
type text struct {
	kind  reflect.Kind
	value string
}

func (t *text) Set(s string) error { t.value = s; return nil }

func (t *text) String() string {
	if t.kind == reflect.Bool && t.value == "false" {
		return "" // pflag would print "(default false)"
	}
	return t.value
}

// Type is the word that --help shows for the value.
func (t *text) Type() string {
	switch t.kind {
	case reflect.Bool:
		return "bool"
	case reflect.Int:
		return "int"
	case reflect.Slice:
		return "list"
	default:
		return "string"
	}
}

// Settings are the settings in force, secrets masked, without where they come from.
func (c Config) Settings() []Setting { return values(c, nil) }

// values renders the fields of a Config for people: secrets masked, lists separated by commas.
func values(c Config, origins map[string]string) []Setting {
	v := reflect.ValueOf(c)
	var list []Setting
	for _, f := range fields(c) {
		list = append(list, Setting{
			Name: f.name, Value: fmt.Sprint(v.Field(f.index).Interface()), Origin: origins[f.name], Default: f.def,
		})
	}
	return list
}
