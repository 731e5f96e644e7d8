package filter

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// loops are the functions that look at every element of a list.
var loops = []string{"all", "any", "none", "one", "filter", "find", "count"}

// functions are those that build nothing larger than what they are given and whose result does not
// depend on the order of a map.
var functions = []string{
	"len", "type", "abs", "ceil", "floor", "round", "int", "float", "trim", "trimPrefix", "trimSuffix",
	"upper", "lower", "split", "indexOf", "lastIndexOf", "hasPrefix", "hasSuffix", "max", "min", "sum",
	"first", "last", "get",
}

// operators leaves out the power, the range and the pipe of functions, which are not needed to say
// which events one wants.
var operators = []string{
	"==", "!=", "<", "<=", ">", ">=", "and", "&&", "or", "||", "in", "matches", "contains", "startsWith",
	"endsWith", "+", "-", "*", "/", "%", "??",
}

// maxSums bounds how often + may stand in an expression: it also joins strings.
const maxSums = 8

// judge refuses what an expression must not do.
func judge(n ast.Node) error {
	j := judgment{}
	j.node(n, false)
	return j.refused
}

// judgment walks an expression; the first refusal stands.
type judgment struct {
	refused error
	sums    int
	states  int // of all patterns
}

func (j *judgment) refuse(format string, args ...any) {
	if j.refused == nil {
		j.refused = fmt.Errorf(format, args...)
	}
}

// node judges one node; element says that it stands inside a loop.
func (j *judgment) node(n ast.Node, element bool) {
	switch n := n.(type) {
	case nil, *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode:
	case *ast.IdentifierNode:
		j.identifier(n.Value, element)
	case *ast.PointerNode:
		if n.Name != "" {
			j.refuse("#%s is not supported; # is the element", n.Name)
		}
	case *ast.UnaryNode:
		j.node(n.Node, element)
	case *ast.BinaryNode:
		j.binary(n, element)
	case *ast.ChainNode:
		j.node(n.Node, element)
	case *ast.MemberNode:
		j.node(n.Node, element)
		j.node(n.Property, element)
	case *ast.SliceNode:
		j.each(element, n.Node, n.From, n.To)
	case *ast.ConditionalNode:
		j.each(element, n.Cond, n.Exp1, n.Exp2)
	case *ast.ArrayNode:
		j.each(element, n.Nodes...)
	case *ast.BuiltinNode:
		j.call(n, element)
	case *ast.CallNode:
		j.refuse("%s is not a function that filters have", n.Callee)
	default:
		j.refuse("%s is not supported in filters", n)
	}
}

func (j *judgment) each(element bool, nodes ...ast.Node) {
	for _, n := range nodes {
		j.node(n, element)
	}
}

func (j *judgment) identifier(name string, element bool) {
	switch {
	case name != "data" && name != "event":
		j.refuse("%s is unknown; an expression is over event and data", name)
	case element && name == "data":
		j.refuse("inside any, all and their like only the element can be named (# or .field), not data")
	}
}

func (j *judgment) binary(n *ast.BinaryNode, element bool) {
	if !slices.Contains(operators, n.Operator) {
		j.refuse("the operator %s is not supported in filters", n.Operator)
	}
	if n.Operator == "+" {
		if j.sums++; j.sums > maxSums || element {
			j.refuse("+ may stand at most %d times in a filter, and not inside any, all and their like", maxSums)
		}
	}
	if n.Operator == "matches" {
		j.pattern(n.Right)
	}
	j.each(element, n.Left, n.Right)
}

// pattern bounds what the patterns of the expression compile to, together.
func (j *judgment) pattern(n ast.Node) {
	s, ok := n.(*ast.StringNode)
	if !ok {
		j.refuse("the pattern of matches must be a text in quotes")
		return
	}
	more, err := states(s.Value)
	if err != nil {
		j.refuse("the pattern %.80q is wrong: %w", s.Value, err)
	}
	if j.states += more; j.states > maxStates {
		j.refuse("the pattern %.80q is too large: the patterns of a filter may compile to %d states, as much as %d characters; what repeats counts as often as it may", s.Value, maxStates, maxStates)
	}
}

func (j *judgment) call(n *ast.BuiltinNode, element bool) {
	loop := slices.Contains(loops, n.Name)
	switch {
	case loop && element:
		j.refuse("%s cannot stand inside any, all and their like", n.Name)
	case !loop && !slices.Contains(functions, n.Name):
		j.refuse("%s is not a function that filters have", n.Name)
	}
	for _, a := range n.Arguments {
		if p, ok := a.(*ast.PredicateNode); ok {
			j.node(p.Node, true)
			continue
		}
		j.node(a, element)
	}
}
