// Package filter decides by an expression whether a webhook wants an event.
//
// An expression is over event (the topic's name) and data (the published document), as in
//
//	data.status == "CLOSED" and any(data.tags, # in ["refund", "vip"])
//
// in the language of expr-lang, cut down to what is a pure function of the event: no clock, nothing
// whose result depends on the order of a map, nothing that builds values larger than the document, no
// loop inside a loop. Parser and type checker are those of expr-lang; what they leave is computed here
// ([compiler]), on the document where it lies ([Document]), and every step is counted ([MaxSteps]):
// a virtual machine that counts nothing cannot be bounded from outside.
//
// Whether an event matches is decided again whenever somebody asks, also after a restart. So neither
// the meaning of a saved expression nor the count of its steps may ever change: the language here only
// grows.
package filter

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"

	"github.com/atlas-webhooks/atlas-webhooks/internal/hook"
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
	clauses []clause // joined by and
	weight  int      // bytes that it holds, about
}

type clause struct {
	text string
	eval eval
}

// Compile checks an expression against the limits and compiles it. Its error is a sentence for the
// expression's author.
func Compile(source string) (*Program, error) {
	if strings.TrimSpace(source) == "" {
		return nil, errors.New("the expression is empty")
	}
	if len(source) > MaxBytes {
		return nil, fmt.Errorf("the expression has %d bytes, at most %d are allowed", len(source), MaxBytes)
	}
	config := conf.New(env{})
	config.MaxNodes, config.Expect, config.ExpectAny = maxNodes, reflect.Bool, true
	tree, err := parser.ParseWithConfig(source, config)
	if err != nil {
		return nil, readable(err)
	}
	if err := judge(tree.Node); err != nil { // before anything compiles a pattern
		return nil, err
	}
	if _, err := checker.Check(tree, config); err != nil {
		return nil, readable(err)
	}
	c := compiler{weight: 500 + 2*len(source)}
	p := &Program{}
	for _, n := range clauses(tree.Node, nil) {
		e, err := c.node(n)
		if err != nil {
			return nil, err
		}
		p.clauses = append(p.clauses, clause{n.String(), e})
	}
	p.weight = c.weight
	return p, nil
}

// readable is the compiler's complaint on one line, without the drawing of the place.
func readable(err error) error {
	if at, ok := errors.AsType[*file.Error](err); ok {
		if strings.Contains(at.Message, `Operator("=")`) {
			return fmt.Errorf("write == to compare: a single = means nothing here (at character %d)", at.Column+1)
		}
		return fmt.Errorf("%s (at character %d)", at.Message, at.Column+1)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return errors.New(line)
}

// clauses takes a conjunction apart.
func clauses(n ast.Node, list []ast.Node) []ast.Node {
	if and, ok := n.(*ast.BinaryNode); ok && (and.Operator == "and" || and.Operator == "&&") {
		return clauses(and.Right, clauses(and.Left, list))
	}
	return append(list, n)
}

// Match judges an event.
func (p *Program) Match(topic string, data []byte) hook.Judged {
	d, err := Decode(data)
	if err != nil {
		return hook.Judged{Matched: true, Problem: err.Error()}
	}
	j, _, _ := p.match(topic, d, &pace{ctx: context.Background(), left: breather})
	return j
}

// match judges an event that is taken apart, and says how many steps it took. It fails only when the
// context of the pace ends.
func (p *Program) match(topic string, d *Document, pace *pace) (j hook.Judged, steps int, err error) {
	r := newRun(d, topic, MaxSteps, pace)
	defer r.settle()
	j = hook.Judged{Matched: true}
	for _, c := range p.clauses {
		yes, err := r.bool(c.eval)
		if end, ok := errors.AsType[stopped](err); ok {
			return hook.Judged{}, MaxSteps - r.left, end.error
		}
		if err != nil {
			j.Problem = err.Error()
			break
		}
		if !yes {
			j = hook.Judged{Clause: c.text}
			break
		}
	}
	return j, MaxSteps - r.left, nil
}
