package filter

import (
	"errors"
	"fmt"
	"strings"

	"github.com/expr-lang/expr/ast"
)

func (c *compiler) binary(n *ast.BinaryNode) (eval, error) {
	if n.Operator == "matches" {
		return c.matches(n)
	}
	parts, err := c.nodes(n.Left, n.Right)
	if err != nil {
		return nil, err
	}
	a, b := parts[0], parts[1]
	switch n.Operator {
	case "and", "&&", "or", "||":
		stop := n.Operator == "or" || n.Operator == "||" // what decides without the other side
		return func(r *run) (value, error) {
			x, err := r.bool(a)
			if err == nil && x != stop {
				x, err = r.bool(b)
			}
			return ofBool(x), err
		}, nil
	case "??":
		return func(r *run) (value, error) {
			v, err := a(r)
			if err != nil || v.kind != null {
				return v, err
			}
			return b(r)
		}, nil
	}
	both := operation(n.Operator)
	if both == nil {
		return nil, fmt.Errorf("the operator %s is not supported in filters", n.Operator)
	}
	if y, ok := literal(n.Right); ok {
		return func(r *run) (value, error) {
			x, err := a(r)
			if err != nil {
				return value{}, err
			}
			return both(r, x, y)
		}, nil
	}
	return func(r *run) (value, error) {
		x, err := a(r)
		if err != nil {
			return value{}, err
		}
		y, err := b(r)
		if err != nil {
			return value{}, err
		}
		return both(r, x, y)
	}, nil
}

// operation is an operator that computes both of its sides.
func operation(operator string) func(r *run, a, b value) (value, error) {
	switch operator {
	case "==", "!=":
		want := operator == "=="
		return func(r *run, a, b value) (value, error) {
			same, err := r.equal(a, b)
			return ofBool(same == want), err
		}
	case "<", "<=", ">", ">=":
		return func(r *run, a, b value) (value, error) { return r.compare(operator, a, b) }
	case "in":
		return func(r *run, a, b value) (value, error) { return r.in(a, b) }
	case "contains":
		return onTexts(operator, strings.Contains, perSearched)
	case "startsWith":
		return onTexts(operator, strings.HasPrefix, perCompared)
	case "endsWith":
		return onTexts(operator, strings.HasSuffix, perCompared)
	case "+":
		return func(r *run, a, b value) (value, error) {
			if a.kind == text && b.kind == text {
				err := r.spend((len(a.s) + len(b.s)) / perCopied)
				if err != nil {
					return value{}, err
				}
				return ofText(a.s + b.s), nil
			}
			return r.arithmetic('+', a, b)
		}
	case "-", "*", "/", "%":
		return func(r *run, a, b value) (value, error) { return r.arithmetic(operator[0], a, b) }
	}
	return nil
}

// onTexts is an operator on two texts; with nil on either side it is false.
func onTexts(operator string, fn func(a, b string) bool, per int) func(r *run, a, b value) (value, error) {
	return func(r *run, a, b value) (value, error) {
		if a.kind == null || b.kind == null {
			return ofBool(false), nil
		}
		if a.kind != text || b.kind != text {
			return value{}, fmt.Errorf("%s is for texts, not for %s and %s", operator, a.kind, b.kind)
		}
		n := len(b.s)
		if per == perSearched {
			n += len(a.s)
		}
		if err := r.spend(n / per); err != nil {
			return value{}, err
		}
		return ofBool(fn(a.s, b.s)), nil
	}
}

func (r *run) compare(operator string, a, b value) (value, error) {
	var c int
	ok := true
	switch {
	case a.number() && b.number():
		c, ok = order(a, b)
	case a.kind == text && b.kind == text:
		if err := r.spend(min(len(a.s), len(b.s)) / perCompared); err != nil {
			return value{}, err
		}
		c = strings.Compare(a.s, b.s)
	default:
		return value{}, fmt.Errorf("cannot compare %s %s %s", a.kind, operator, b.kind)
	}
	switch operator {
	case "<":
		ok = ok && c < 0
	case "<=":
		ok = ok && c <= 0
	case ">":
		ok = ok && c > 0
	default:
		ok = ok && c >= 0
	}
	return ofBool(ok), nil
}

// in looks for an element of a list, or for a member's name in an object.
func (r *run) in(a, b value) (value, error) {
	switch {
	case b.kind == null, b.kind == object && a.kind == null:
		return ofBool(false), nil
	case b.kind == object && a.kind == text:
		_, found, err := r.fetch(b, a)
		return ofBool(found), err
	case b.sequence():
		found := false
		err := r.each(b, func(x value) (more bool, err error) {
			found, err = r.equal(x, a)
			return !found, err
		})
		return ofBool(found && err == nil), err
	}
	return value{}, fmt.Errorf("cannot look for %s in %s", a.kind, b.kind)
}

func (c *compiler) matches(n *ast.BinaryNode) (eval, error) {
	source, ok := n.Right.(*ast.StringNode)
	if !ok {
		return nil, errors.New("the pattern of matches must be a text in quotes")
	}
	a, err := c.node(n.Left)
	if err != nil {
		return nil, err
	}
	p, err := newPattern(source.Value)
	if err != nil {
		return nil, err
	}
	c.weight += p.states * 120
	return func(r *run) (value, error) {
		v, err := a(r)
		if err != nil {
			return value{}, err
		}
		switch v.kind {
		case null:
			return ofBool(false), nil
		case text:
			if err := r.spend(p.cost(len(v.s))); err != nil {
				return value{}, err
			}
			return ofBool(p.re.MatchString(v.s)), nil
		default:
			return value{}, fmt.Errorf("matches is for texts, not for %s", v.kind)
		}
	}, nil
}
