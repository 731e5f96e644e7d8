package httpapi

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"reflect"
	"slices"
	"strings"

	_ "embed"

	"github.com/danielgtaylor/huma/v2"

	"github.com/atlas-webhooks/atlas-webhooks/client"
)

// document is what the API says about itself, made once from its declarations.
type document struct {
	json, yaml, page []byte
	styleHash        string // of the pages' one style element, for their policy
}

// outline is the document before any route is in it.
func (a *API) outline() *huma.OpenAPI {
	schemas := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	schemas.RegisterTypeAlias(reflect.TypeFor[client.Object](), reflect.TypeFor[anyObject]())
	schemas.RegisterTypeAlias(reflect.TypeFor[problem](), reflect.TypeFor[client.Problem]())
	var servers []*huma.Server // the root of where the document lies, unless something else is said
	if a.opt.Config.PublicPath() != "" {
		servers = []*huma.Server{{URL: a.opt.Config.PublicURL}}
	}
	return &huma.OpenAPI{
		OpenAPI: "3.1.0", Servers: servers,
		Info: &huma.Info{
			Title: "Atlas Webhooks", Version: apiVersion,
			Description: "Publish events, subscribe to them, and see what became of each. Errors are application/problem+json with a stable code.",
			License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Components: &huma.Components{
			Schemas: schemas,
			SecuritySchemes: map[string]*huma.SecurityScheme{
				"key": {Type: "http", Scheme: "bearer", Description: "An operator key (awo_…) or a company key (awc_…)."},
			},
		},
	}
}

// apiVersion is the contract's, not the program's.
const apiVersion = "1.0.0"

func response(description string, s *huma.Schema) *huma.Response {
	return &huma.Response{Description: description, Content: map[string]*huma.MediaType{"application/json": {Schema: s}}}
}

func (a *API) schemaOf(v any) *huma.Schema {
	return a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, "")
}

// render makes all forms of the document. It panics where a declaration cannot be rendered, which
// a test finds.
func (a *API) render() *document {
	api := a.huma.OpenAPI()
	d := &document{}
	var err error
	if d.json, err = indented(api); err != nil {
		panic(err)
	}
	if d.yaml, err = api.YAML(); err != nil {
		panic(err)
	}
	sum := sha256.Sum256([]byte(docsStyle))
	d.styleHash = base64.StdEncoding.EncodeToString(sum[:])
	url := cmp.Or(a.opt.Config.PublicURL, "http://localhost:8080")
	d.page = fill(docsPage, a.docs(url))
	return d
}

func indented(api *huma.OpenAPI) ([]byte, error) {
	text, err := json.Marshal(api)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func fill(t *template.Template, data any) []byte {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		panic(err)
	}
	return b.Bytes()
}

//go:embed docs.html
var docsText string

//go:embed docs.css
var docsStyle string

var docsPage = template.Must(template.New("docs").Parse(docsText))

// docs is what the documentation page shows.
type docs struct {
	Title, Description string
	Style              template.CSS
	Tags               []docsTag
	Schemas            []docsSchema
}

type docsTag struct {
	Name       string
	Operations []docsOperation
}

type docsOperation struct {
	ID, Method, Path, Summary, Description string
	Parameters                             []docsField
	Body, Answer                           string // names of schemas
	Errors                                 []string
	Samples                                []sample
}

type docsSchema struct {
	Name   string
	Fields []docsField
}

type docsField struct {
	Name, In, Type, Doc string
	Required            bool
}

// docs collects the page from the document.
func (a *API) docs(url string) docs {
	api := a.huma.OpenAPI()
	d := docs{Title: api.Info.Title, Description: api.Info.Description, Style: template.CSS(docsStyle)}
	byTag := map[string]*docsTag{}
	var order []string
	for _, path := range sortedKeys(api.Paths) {
		for _, op := range operationsOf(api.Paths[path]) {
			tag := op.Tags[0]
			if byTag[tag] == nil {
				byTag[tag] = &docsTag{Name: tag}
				order = append(order, tag)
			}
			byTag[tag].Operations = append(byTag[tag].Operations, describe(op, url))
		}
	}
	slices.SortStableFunc(order, func(x, y string) int { return cmp.Compare(tagRank(x), tagRank(y)) })
	for _, tag := range order {
		d.Tags = append(d.Tags, *byTag[tag])
	}
	schemas := api.Components.Schemas.Map()
	for _, name := range sortedKeys(schemas) {
		d.Schemas = append(d.Schemas, docsSchema{name, fieldsOf(schemas[name])})
	}
	return d
}

// tagRank is the order in which a newcomer needs the chapters.
func tagRank(tag string) int {
	rank := slices.Index([]string{"Publishing", "Topics", "Webhooks", "Secrets", "Deliveries", "Replays", "Events", "Filters", "Figures", "History", "Companies", "Sources", "Keys"}, tag)
	if rank < 0 {
		return 100
	}
	return rank
}

func operationsOf(p *huma.PathItem) []*huma.Operation {
	return slices.DeleteFunc([]*huma.Operation{p.Get, p.Post, p.Patch, p.Put, p.Delete}, func(op *huma.Operation) bool { return op == nil })
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func describe(op *huma.Operation, url string) docsOperation {
	o := docsOperation{ID: op.OperationID, Method: op.Method, Path: op.Path, Summary: op.Summary, Description: op.Description, Samples: samples(op, url)}
	for _, p := range op.Parameters {
		o.Parameters = append(o.Parameters, docsField{Name: p.Name, In: p.In, Type: typeOf(p.Schema), Doc: cmp.Or(p.Description, p.Schema.Description), Required: p.Required})
	}
	if op.RequestBody != nil {
		o.Body = schemaName(op.RequestBody.Content)
	}
	for _, status := range sortedKeys(op.Responses) {
		if status < "300" {
			o.Answer = strings.TrimSpace(status + " " + schemaName(op.Responses[status].Content))
		} else {
			o.Errors = append(o.Errors, status)
		}
	}
	return o
}

func schemaName(content map[string]*huma.MediaType) string {
	if m := content["application/json"]; m != nil && m.Schema != nil {
		return typeOf(m.Schema)
	}
	return ""
}

func typeOf(s *huma.Schema) string {
	switch {
	case s.Ref != "":
		return s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
	case s.Type == huma.TypeArray && s.Items != nil:
		return "list of " + typeOf(s.Items)
	case len(s.Enum) > 0:
		values := make([]string, len(s.Enum))
		for i, v := range s.Enum {
			values[i], _ = v.(string)
		}
		return strings.Join(values, " | ")
	case s.Format == "date-time":
		return "time"
	}
	return cmp.Or(s.Type, "any")
}

func fieldsOf(s *huma.Schema) (list []docsField) {
	for _, name := range sortedKeys(s.Properties) {
		p := s.Properties[name]
		list = append(list, docsField{Name: name, Type: typeOf(p), Doc: p.Description, Required: slices.Contains(s.Required, name)})
	}
	return list
}
