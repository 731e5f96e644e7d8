// Package filter decides by an expression whether a webhook wants an event.
//
// An expression is over event (the topic's name) and data (the published document), as in
//
//	data.status == "CLOSED" and any(data.tags, # in ["refund", "vip"])
//
// in the language of expr-lang, cut down to what is a pure function of the event at a bounded cost:
// no clock, nothing whose result depends on the order of a map, nothing that builds values larger
// than the document, no loop inside a loop. The work of one evaluation grows with the size of the
// document and not faster, so that one company's filter cannot hold up another's deliveries.
//
// Whether an event matches is decided again whenever somebody asks, also after a restart. So the
// meaning of a saved expression must never change: the language here only grows.
package filter

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/vm"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of an expression.
const (
	MaxBytes = 2 << 10
	maxNodes = 256
)

// env is what an expression can name.
type env struct {
	Event string `expr:"event"`
	Data  any    `expr:"data"`
}

// Program is a compiled expression. It is safe for concurrent use.
type Program struct {
	program *vm.Program
	source  string
}

// machines keep their stacks between evaluations.
var machines = sync.Pool{New: func() any { return new(vm.VM) }}

// Compile checks an expression against the limits and compiles it. Its error is a sentence for the
// expression's author.
func Compile(source string) (*Program, error) {
	if strings.TrimSpace(source) == "" {
		return nil, errors.New("the expression is empty")
	}
	if len(source) > MaxBytes {
		return nil, fmt.Errorf("the expression has %d bytes, at most %d are allowed", len(source), MaxBytes)
	}
	tree, err := parser.Parse(source)
	if err != nil {
		return nil, readable(err)
	}
	if err := judge(tree.Node); err != nil {
		return nil, err
	}
	program, err := expr.Compile(source, expr.Env(env{}), expr.AsBool(), expr.MaxNodes(maxNodes))
	if err != nil {
		return nil, readable(err)
	}
	return &Program{program: program, source: source}, nil
}

// readable is the compiler's complaint on one line, without the drawing of the place.
func readable(err error) error {
	if at, ok := errors.AsType[*file.Error](err); ok {
		return fmt.Errorf("%s (at character %d)", at.Message, at.Column+1)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

// Document is a published document, decoded once for all the filters that look at it.
type Document struct{ value any }

// Decode reads a document. Of names that stand twice the last counts, as for the parsers of Python
// and JavaScript. It fails where a number has no double.
func Decode(data []byte) (Document, error) {
	var d Document
	err := json.Unmarshal(data, &d.value, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return Document{}, errors.New("the data cannot be read by filters: a number is too large")
	}
	return d, nil
}

// Match reports whether the event matches. An error while evaluating counts as a match, so that no
// event is lost to a slip in an expression; it comes with the error, a sentence for the
// expression's author.
func (p *Program) Match(topic string, data []byte) (bool, error) {
	document, err := Decode(data)
	if err != nil {
		return true, err
	}
	return p.MatchDocument(topic, document)
}

// MatchDocument is [Program.Match] on a document that is decoded already.
func (p *Program) MatchDocument(topic string, d Document) (bool, error) {
	machine := machines.Get().(*vm.VM)
	defer machines.Put(machine)
	out, err := machine.Run(p.program, env{topic, d.value})
	if err != nil {
		return true, readable(err)
	}
	matched, ok := out.(bool)
	if !ok {
		return true, errors.New("the result is neither true nor false")
	}
	return matched, nil
}

// Failed is the part of the expression that says no to the event: of clauses joined by and, the
// first one that is false. It is "" for an event that matches.
func (p *Program) Failed(topic string, data []byte) string {
	document, err := Decode(data)
	if err != nil {
		return ""
	}
	tree, err := parser.Parse(p.source)
	if err != nil {
		return ""
	}
	for _, clause := range clauses(tree.Node, nil) {
		text := clause.String()
		part, err := Compile(text)
		if err != nil {
			continue
		}
		if matched, err := part.MatchDocument(topic, document); err == nil && !matched {
			return text
		}
	}
	return ""
}

// clauses takes a conjunction apart.
func clauses(n ast.Node, list []ast.Node) []ast.Node {
	if and, ok := n.(*ast.BinaryNode); ok && (and.Operator == "and" || and.Operator == "&&") {
		return clauses(and.Right, clauses(and.Left, list))
	}
	return append(list, n)
}
