package filter

import (
	"errors"
	"fmt"

	"github.com/expr-lang/expr/ast"
)

// eval computes a part of an expression.
type eval func(r *run) (value, error)

// errNothing ends an optional chain (a?.b.c) that found nil.
var errNothing = errors.New("nothing there")

// compiler makes evals of what judge has let pass.
type compiler struct {
	weight int // bytes that the result holds, about
}

func (c *compiler) node(n ast.Node) (eval, error) {
	e, err := c.make(n)
	if err != nil {
		return nil, err
	}
	c.weight += 200
	if leaf(n) {
		return e, nil
	}
	return func(r *run) (value, error) {
		if err := r.spend(1); err != nil {
			return value{}, err
		}
		return e(r)
	}, nil
}

// leaf says that a node costs no step of its own.
func leaf(n ast.Node) bool {
	switch n.(type) {
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.StringNode, *ast.IdentifierNode, *ast.PointerNode:
		return true
	}
	return false
}

func (c *compiler) make(n ast.Node) (eval, error) {
	if v, ok := literal(n); ok {
		return constant(v), nil
	}
	switch n := n.(type) {
	case *ast.IdentifierNode:
		if n.Value == "event" {
			return func(r *run) (value, error) { return ofText(r.event), nil }, nil
		}
		return func(r *run) (value, error) { return r.at(0) }, nil
	case *ast.PointerNode:
		return func(r *run) (value, error) { return r.element, nil }, nil
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ChainNode:
		return c.chain(n)
	case *ast.MemberNode:
		return c.member(n)
	case *ast.SliceNode:
		return c.slice(n)
	case *ast.ConditionalNode:
		return c.conditional(n)
	case *ast.ArrayNode:
		return c.array(n)
	case *ast.BuiltinNode:
		return c.call(n)
	}
	return nil, fmt.Errorf("%s is not supported in filters", n)
}

// literal is the value of a node that is one.
func literal(n ast.Node) (value, bool) {
	switch n := n.(type) {
	case *ast.NilNode:
		return value{}, true
	case *ast.IntegerNode:
		return ofInt(int64(n.Value)), true
	case *ast.FloatNode:
		return ofFloat(n.Value), true
	case *ast.BoolNode:
		return ofBool(n.Value), true
	case *ast.StringNode:
		return ofText(n.Value), true
	}
	return value{}, false
}

func constant(v value) eval { return func(*run) (value, error) { return v, nil } }

// nodes compiles several parts; a nil one stays nil.
func (c *compiler) nodes(list ...ast.Node) ([]eval, error) {
	evals := make([]eval, len(list))
	for i, n := range list {
		if n == nil {
			continue
		}
		var err error
		if evals[i], err = c.node(n); err != nil {
			return nil, err
		}
	}
	return evals, nil
}

func (c *compiler) unary(n *ast.UnaryNode) (eval, error) {
	e, err := c.node(n.Node)
	if err != nil {
		return nil, err
	}
	if n.Operator == "not" || n.Operator == "!" {
		return func(r *run) (value, error) {
			b, err := r.bool(e)
			return ofBool(!b), err
		}, nil
	}
	zero, sign := ofInt(0), n.Operator[0]
	return func(r *run) (value, error) {
		v, err := e(r)
		if err != nil {
			return value{}, err
		}
		if v.kind == float && sign == '-' {
			return ofFloat(-v.float()), nil
		}
		return r.arithmetic(sign, zero, v)
	}, nil
}

// bool computes what must be true or false.
func (r *run) bool(e eval) (bool, error) {
	v, err := e(r)
	if err != nil {
		return false, err
	}
	if v.kind != boolean {
		return false, fmt.Errorf("%s stands where true or false is needed", v.kind)
	}
	return v.n == 1, nil
}

func (c *compiler) chain(n *ast.ChainNode) (eval, error) {
	e, err := c.node(n.Node)
	return func(r *run) (value, error) {
		v, err := e(r)
		if errors.Is(err, errNothing) {
			return value{}, nil
		}
		return v, err
	}, err
}

func (c *compiler) member(n *ast.MemberNode) (eval, error) {
	parts, err := c.nodes(n.Node, n.Property)
	if err != nil {
		return nil, err
	}
	of, key, optional := parts[0], parts[1], n.Optional
	fixed, known := literal(n.Property)
	return func(r *run) (value, error) {
		v, err := of(r)
		if err != nil {
			return value{}, err
		}
		if optional && v.kind == null {
			return value{}, errNothing
		}
		k := fixed
		if !known {
			if k, err = key(r); err != nil {
				return value{}, err
			}
		}
		x, ok, err := r.fetch(v, k)
		if err == nil && !ok && v.kind != object {
			err = errors.New("the index is out of range")
		}
		return x, err
	}, nil
}

// fetch reads a member or an element; false where there is none.
func (r *run) fetch(v, key value) (value, bool, error) {
	switch {
	case v.kind == object && key.kind == text:
		n := int(r.doc.nodes[v.n].size)
		if err := r.spend(min(n, indexed) + len(key.s)/perCompared); err != nil {
			return value{}, false, err
		}
		i, ok := r.doc.member(uint32(v.n), key.s)
		if !ok {
			return value{}, false, nil
		}
		x, err := r.at(i)
		return x, true, err
	case (v.sequence() || v.kind == text) && key.number():
		return r.nth(v, index(key))
	}
	return value{}, false, fmt.Errorf("cannot look up %s in %s", key.kind, v.kind)
}

// index is a number as one; one that is far out of any range stays so.
func index(v value) int {
	switch f := v.float(); {
	case f != f:
		return 1 << 40
	case f > 1<<40:
		return 1 << 40
	case f < -(1 << 40):
		return -1 << 40
	default:
		return int(f)
	}
}

// nth reads an element; from the end when the index is negative. Of a text it is the byte.
func (r *run) nth(v value, i int) (value, bool, error) {
	n := len(v.s)
	if v.kind != text {
		n = r.length(v)
	}
	if i < 0 {
		i += n
	}
	if i < 0 || i >= n {
		return value{}, false, nil
	}
	switch v.kind {
	case text:
		return ofInt(int64(v.s[i])), true, nil
	case list:
		return (*v.list)[i], true, nil
	default: // an array of the document
	}
	if err := r.spend(i / 4); err != nil {
		return value{}, false, err
	}
	at := uint32(v.n) + 1
	for range i {
		at = r.doc.nodes[at].next
	}
	x, err := r.at(at)
	return x, true, err
}

func (c *compiler) slice(n *ast.SliceNode) (eval, error) {
	parts, err := c.nodes(n.Node, n.From, n.To)
	if err != nil {
		return nil, err
	}
	return func(r *run) (value, error) {
		v, err := parts[0](r)
		if err != nil {
			return value{}, err
		}
		if v.kind != text && !v.sequence() {
			return value{}, fmt.Errorf("cannot slice %s", v.kind)
		}
		n := len(v.s)
		if v.kind != text {
			n = r.length(v)
		}
		from, err := r.bound(parts[1], 0, n)
		if err != nil {
			return value{}, err
		}
		to, err := r.bound(parts[2], n, n)
		if err != nil {
			return value{}, err
		}
		from = min(from, to)
		if v.kind == text {
			return ofText(v.s[from:to]), nil
		}
		return r.part(v, from, to)
	}, nil
}

// bound computes one end of a slice, within 0 and n.
func (r *run) bound(e eval, otherwise, n int) (int, error) {
	if e == nil {
		return otherwise, nil
	}
	v, err := e(r)
	if err != nil {
		return 0, err
	}
	if !v.number() {
		return 0, fmt.Errorf("cannot slice by %s", v.kind)
	}
	i := index(v)
	if i < 0 {
		i += n
	}
	return min(max(i, 0), n), nil
}

// part copies some elements of a list.
func (r *run) part(v value, from, to int) (value, error) {
	if v.kind == list {
		return ofList((*v.list)[from:to]), nil
	}
	out := ofList(nil)
	i := 0
	err := r.each(v, func(x value) (bool, error) {
		if i >= from && i < to {
			if err := r.keep(&out, x); err != nil {
				return false, err
			}
		}
		i++
		return i < to, nil
	})
	return out, err
}

// keep appends to a list of the expression's own; it takes memory, hence steps.
func (r *run) keep(out *value, x value) error {
	*out.list = append(*out.list, x)
	return r.spend(4)
}

func (c *compiler) conditional(n *ast.ConditionalNode) (eval, error) {
	parts, err := c.nodes(n.Cond, n.Exp1, n.Exp2)
	if err != nil {
		return nil, err
	}
	return func(r *run) (value, error) {
		yes, err := r.bool(parts[0])
		switch {
		case err != nil:
			return value{}, err
		case yes:
			return parts[1](r)
		}
		return parts[2](r)
	}, nil
}

func (c *compiler) array(n *ast.ArrayNode) (eval, error) {
	parts, err := c.nodes(n.Nodes...)
	if err != nil {
		return nil, err
	}
	all, fixed := ofList(nil), true
	for _, n := range n.Nodes {
		if v, ok := literal(n); ok {
			*all.list = append(*all.list, v)
		} else {
			fixed = false
		}
	}
	if fixed {
		return constant(all), nil
	}
	return func(r *run) (value, error) {
		out := ofList(nil)
		for _, e := range parts {
			v, err := e(r)
			if err == nil {
				err = r.keep(&out, v)
			}
			if err != nil {
				return value{}, err
			}
		}
		return out, nil
	}, nil
}
