package app_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/atlas-webhooks/atlas-webhooks"

// layer says which packages of ours a package may import, and why not more. Imports point down;
// siblings do not know each other, except through interfaces that the user of one declares.
// Tests may import what they like.
type layer struct {
	imports string // names below internal/ separated by blanks; a public package by its path
	why     string
}

// layers knows every package. A new one needs a line here, and a place in the architecture.
var layers = map[string]layer{
	"hook":      {"", "the domain does no I/O and knows nobody, so that everybody can speak its words"},
	"wire":      {"hook", "what receivers depend on must not move when something else does"},
	"filter":    {"hook", "whether an event matches is a pure function of event and rule"},
	"change":    {"hook", "topics are derived from two snapshots and nothing else"},
	"retry":     {"hook", "what happens after an attempt is a pure function, tested without I/O"},
	"advice":    {"hook", "what people read of a failure is made once, of what an attempt left"},
	"config":    {"hook", "settings are read before anything else exists"},
	"failpoint": {"", "a point is no more than a name, so that everybody can mark one"},

	"egress":             {"hook egress/http1", "the only door to the network is too small to know what goes through it"},
	"egress/http1":       {"failpoint", "bytes of a request and of an answer, on a connection that is handed to it"},
	"ingress":            {"", "what connections may hold is the same whoever answers them"},
	"send":               {"hook wire egress", "one attempt: it neither decides what follows nor records it"},
	"store":              {"hook failpoint store/sql store/log store/era store/schema store/sqlite store/postgres", "the log and the cursors know neither who writes nor who reads"},
	"store/sql":          {"hook", "how a table is described and a statement rendered has nothing to do with what it means"},
	"store/log":          {"hook failpoint store/sql", "what is appended and recorded is the same whichever engine commits it"},
	"store/group":        {"hook store/sql store/log", "who shares a commit does not depend on who commits"},
	"store/schema":       {"failpoint", "a step of a schema is taken alike on both engines"},
	"store/sqlite":       {"hook failpoint store/sql store/log store/group store/schema", "an engine commits what it is given, and knows no more of its meaning than the log"},
	"store/era":          {"hook store/sql store/log", "that a store went back is told by what it holds, whoever finds it out"},
	"store/postgres":     {"hook failpoint store/sql store/log store/era store/group store/schema", "an engine commits what it is given, and knows no more of its meaning than the log and its eras"},
	"store/transfer":     {"hook store store/sql store/log store/era store/sqlite", "what moves rows between stores knows both, and neither knows that it is moved"},
	"store/postgrestest": {"", "whoever needs a Postgres to throw away decides what is kept in it"},
	"telemetry":          {"hook", "packages that work declare what they measure; they do not import this one"},
	"receiver":           {"hook wire", "the other side: it must not share the sender's mistakes"},
	"process":            {"", "a server is what its binary does: whoever starts one sees its log, its address and its end"},

	"source/outbox":      {"outbox intake source", "what a producer wrote is read in the order that keeps its objects' changes, whoever accepts it"},
	"source/mariadbtest": {"", "whoever needs a MariaDB to throw away decides what is kept in it"},

	"topic":             {"hook wire topic/schema", "what a topic may be is judged alike whether the API or a file brings it"},
	"topic/schema":      {"hook", "what a document may be is a pure function of schema and document"},
	"source":            {"hook failpoint intake store", "what brings events from elsewhere hands them over, and knows nothing of the log"},
	"source/kafka":      {"hook intake source", "one package speaks to Kafka"},
	"source/nats":       {"hook intake source", "one package speaks to NATS"},
	"source/rabbitmq":   {"hook intake source", "one package speaks to RabbitMQ"},
	"source/brokertest": {"", "whoever needs a broker to throw away decides what is put into it"},
	"intake":            {"hook wire change store topic/schema", "accepting an event must work while nothing is delivered"},
	"deliver":           {"hook failpoint wire retry advice send store deliver/match deliver/lane", "the engine must work while no API is served"},
	"deliver/lane":      {"hook wire retry", "what may be attempted next is decided without I/O: no store, no channel, no clock"},
	"deliver/match":     {"hook", "whoever asks filters, and how long that takes, is no affair of the engine's loop"},
	"upkeep":            {"hook store", "it speaks to the store, as everybody does"},

	"topic/receiving": {"hook", "what receivers read with is written from schemas, wherever they come from"},

	"httpapi": {"hook client wire webhook filter advice config egress ingress store topic intake", "what the engine knows reaches the API through an interface of its own"},
	"console": {"hook client wire httpapi", "people see what the API answers, and may do what it allows"},

	"mcp": {"hook client ingress", "an agent can do what a client with its key can, and nothing beside the API"},

	"load":  {"hook wire process", "it measures what any client could, from outside"},
	"proof": {"", "the judge shares no code with the judged; only its tests start a server"},

	"app": {
		"hook client failpoint wire filter retry config egress ingress send store store/transfer telemetry topic intake source source/kafka source/nats source/outbox source/rabbitmq deliver upkeep httpapi console mcp",
		"the only place that knows everybody",
	},
	"cli": {
		"hook wire config telemetry receiver process load store/postgrestest app mcp webhook client outbox source/outbox topic topic/receiving",
		"commands talk to a server through the API, like anybody; serve and demo run one through app, bench starts what it measures; outbox check asks the producer's database too",
	},

	"webhook":             {"hook wire", "receivers import it"},
	"webhook/webhooktest": {"hook wire webhook", "receivers' tests import it"},
	"inbox":               {"client webhook", "receivers import it, and it speaks to whichever driver they have"},
	"outbox":              {"", "producers import it, and it speaks to whichever driver they have"},
	"client":              {"hook", "other programs import it, and the API's answers are its types"},
	"cmd/atlas-webhooks":  {"cli app", "main only starts the command line"},
}

// confined says who may import a package from elsewhere: what is behind a seam stays behind it.
var confined = []struct{ prefix, to, why string }{
	{"modernc.org/", "store/sqlite", "one package speaks to SQLite"},
	{"github.com/jackc/", "store/postgres store/postgrestest source/outbox", "one package speaks to Postgres, one to a Postgres of its own, and one to that of producers"},
	{"github.com/go-sql-driver/", "source/outbox source/mariadbtest", "one package speaks to the MariaDB of producers, and one to a MariaDB of its own"},
	{"github.com/pressly/goose", "store/sqlite store/postgres store/schema", "the engines take the steps of their schema"},
	{"database/sql", "inbox store/sqlite store/postgres store/log source/outbox source/mariadbtest outbox", "the engines and the reader of outboxes speak SQL, one scan borrows bytes, and producers have transactions"},
	{"code.dny.dev/ssrf", "egress", "one package decides where requests may go"},
	{"github.com/spf13/", "cli config", "flags are read at the edge"},
	{"github.com/caarlos0/env", "config", "one package reads the environment"},
	{"go.yaml.in/", "config topic source", "what operators write is read in three places: settings, topics, and sources"},
	{"github.com/prometheus/", "telemetry", "metrics are declared in one place"},
	{"go.opentelemetry.io/otel/sdk", "telemetry", "spans leave the process in one place, redacted"},
	{"go.opentelemetry.io/otel/exporters", "telemetry", "spans leave the process in one place, redacted"},
	{"github.com/danielgtaylor/huma", "httpapi", "the API's framework is the API's affair"},
	{"github.com/modelcontextprotocol/", "mcp cli", "one package speaks to agents, and the command gives it a pipe"},
	{"github.com/twmb/franz-go", "source/kafka", "one package speaks to Kafka, by the client that shows offsets and rebalances as they are"},
	{"github.com/nats-io/", "source/nats", "one package speaks to NATS, by its own client"},
	{"github.com/rabbitmq/", "source/rabbitmq", "one package speaks to RabbitMQ, by its own client, which leaves acknowledging to us"},
	{"github.com/expr-lang/", "filter", "one package runs what strangers wrote"},
	{"github.com/santhosh-tekuri/jsonschema", "topic/schema", "one package checks documents, by steps that it counts"},
}

// standardOnly are linked into other people's receivers: nothing from outside the standard library.
var standardOnly = []string{"hook", "wire", "webhook", "webhook/webhooktest", "client", "inbox", "outbox"}

// violations compares what packages import (all import paths, by name of the package as in layers)
// with the tables above.
func violations(imports map[string][]string) (found []string) {
	report := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, name := range slices.Sorted(maps.Keys(imports)) {
		l, known := layers[owner(name)]
		if !known {
			report("%s is no package of the layout (DESIGN.md, Layout): give it a line in this table", name)
			continue
		}
		for _, imported := range imports[name] {
			target, ours := strings.CutPrefix(imported, module+"/")
			target = owner(strings.TrimPrefix(target, "internal/"))
			switch {
			case ours && target != owner(name) && !slices.Contains(strings.Fields(l.imports), target):
				report("%s must not import %s: %s", name, target, l.why)
			case !ours && slices.Contains(standardOnly, name) && strings.Contains(strings.Split(imported, "/")[0], "."):
				report("%s must not import %s: it is linked into other people's programs, with the standard library only", name, imported)
			}
		}
		for _, c := range confined {
			i := slices.IndexFunc(imports[name], func(imported string) bool { return strings.HasPrefix(imported, c.prefix) })
			if i >= 0 && !slices.Contains(strings.Fields(c.to), owner(name)) {
				report("%s must not import %s, which is for %s: %s", name, imports[name][i], c.to, c.why)
			}
		}
	}
	return found
}

// owner is the package of the layout that a package below it belongs to: store for store/storetest.
func owner(name string) string {
	for n := name; n != "."; n = path.Dir(n) {
		if _, known := layers[n]; known {
			return n
		}
	}
	return name
}

func TestImports(t *testing.T) {
	imports := readImports(t, "../..")
	for _, must := range []string{"hook", "wire", "config", "webhook", "cmd/atlas-webhooks"} {
		if len(imports[must]) == 0 {
			t.Errorf("%s was not found, or imports nothing: this test looks at the wrong place", must)
		}
	}
	for _, v := range violations(imports) {
		t.Error(v)
	}
}

// TestImportsControl: a test that cannot fail proves nothing.
func TestImportsControl(t *testing.T) {
	for name, imported := range map[string]string{
		"hook":            module + "/internal/wire",
		"util":            "fmt",
		"util/strings":    "fmt",
		"intake":          module + "/internal/deliver",
		"deliver":         "github.com/prometheus/client_golang/prometheus",
		"store/storetest": module + "/internal/deliver",
		"webhook":         "github.com/google/go-cmp/cmp",
		"httpapi":         "modernc.org/sqlite",
		"client":          module + "/internal/app",
	} {
		if len(violations(map[string][]string{name: {imported}})) != 1 {
			t.Errorf("%s imports %s, and nobody minds", name, imported)
		}
	}
	fine := map[string][]string{
		"store/storetest": {module + "/internal/store", module + "/internal/hook"}, "store/sqlite": {"database/sql"}, "cli": {module + "/webhook"},
	}
	if v := violations(fine); v != nil {
		t.Error(v)
	}
}

// TestImportsPointDown: the table itself has no cycle and names only packages that it knows.
func TestImportsPointDown(t *testing.T) {
	var visit func(name string, above []string)
	visit = func(name string, above []string) {
		if slices.Contains(above, name) {
			t.Fatalf("the table has a cycle: %s", strings.Join(append(above, name), " → "))
		}
		l, known := layers[name]
		if !known {
			t.Fatalf("%s may import %s, which is no package of the layout", above[len(above)-1], name)
		}
		for below := range strings.FieldsSeq(l.imports) {
			visit(below, append(above, name))
		}
	}
	for name := range layers {
		visit(name, nil)
	}
}

// readImports parses the import clauses of all packages of the module, tests left out. Packages
// below internal/ are named without it.
func readImports(t *testing.T, root string) map[string][]string {
	t.Helper()
	imports := map[string][]string{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if d.IsDir() {
			return skipped(file, relative, d.Name())
		}
		if !strings.HasSuffix(relative, ".go") || strings.HasSuffix(relative, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(path.Dir(relative), "internal/")
		imports[name] = append(imports[name], "") // so that a package without imports is seen
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			imports[name] = append(imports[name], imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return imports
}

// skipped is fs.SkipDir for folders that hold no package of this module.
func skipped(file, relative, name string) error {
	switch {
	case relative == ".":
		return nil
	case strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules":
		return fs.SkipDir
	case relative == "internal/zz": // never committed: holds dependencies that nothing uses yet
		return fs.SkipDir
	}
	if _, err := os.Stat(filepath.Join(file, "go.mod")); err == nil {
		return fs.SkipDir // a module of its own, as tools
	}
	return nil
}
