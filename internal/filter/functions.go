package filter

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

func (c *compiler) call(n *ast.BuiltinNode) (eval, error) {
	if slices.Contains(loops, n.Name) || n.Name == "sum" {
		return c.loop(n)
	}
	args, err := c.nodes(n.Arguments...)
	if err != nil {
		return nil, err
	}
	fn, ok := calls[n.Name]
	if !ok {
		return nil, fmt.Errorf("%s is not a function that filters have", n.Name)
	}
	if len(args) < fn.least || len(args) > fn.most {
		return nil, fmt.Errorf("%s takes %d to %d arguments, not %d", n.Name, fn.least, fn.most, len(args))
	}
	name := n.Name
	return func(r *run) (value, error) {
		var given [4]value
		values := given[:0]
		for _, a := range args {
			v, err := a(r)
			if err != nil {
				return value{}, err
			}
			values = append(values, v)
		}
		v, err := fn.do(r, values)
		if errors.Is(err, errArgument) {
			kinds := make([]string, len(values))
			for i, v := range values {
				kinds[i] = v.kind.String()
			}
			err = fmt.Errorf("%s cannot take %s", name, strings.Join(kinds, ", "))
		}
		return v, err
	}, nil
}

// errArgument stands for arguments of the wrong kind.
var errArgument = errors.New("wrong argument")

// function is one that expressions can call.
type function struct {
	least, most int // arguments
	do          func(r *run, a []value) (value, error)
}

// calls are those that build nothing larger than what they are given and whose result does not depend
// on the order of a map.
var calls = map[string]function{
	"len":  {1, 1, func(r *run, a []value) (value, error) { return r.len(a[0]) }},
	"type": {1, 1, func(_ *run, a []value) (value, error) { return ofText(a[0].kind.String()), nil }},
	"abs": {1, 1, func(r *run, a []value) (value, error) {
		switch {
		case !a[0].number():
			return value{}, errArgument
		case a[0].kind == float:
			return ofFloat(math.Abs(a[0].float())), nil
		case a[0].kind == integer && int64(a[0].n) < 0:
			return r.arithmetic('-', ofInt(0), a[0])
		}
		return a[0], nil
	}},
	"ceil": rounding(math.Ceil), "floor": rounding(math.Floor), "round": rounding(math.Round),
	"int": {1, 1, toInt}, "float": {1, 1, toFloat},
	"trim":        {1, 2, trim},
	"trimPrefix":  textual(1, perCompared, func(a []string) value { return ofText(strings.TrimPrefix(a[0], a[1])) }),
	"trimSuffix":  textual(1, perCompared, func(a []string) value { return ofText(strings.TrimSuffix(a[0], a[1])) }),
	"upper":       {1, 1, copying(strings.ToUpper)},
	"lower":       {1, 1, copying(strings.ToLower)},
	"split":       {2, 3, split},
	"indexOf":     textual(2, perSearched, func(a []string) value { return ofInt(int64(strings.Index(a[0], a[1]))) }),
	"lastIndexOf": textual(2, perCopied, func(a []string) value { return ofInt(int64(strings.LastIndex(a[0], a[1]))) }),
	"hasPrefix":   textual(2, perCompared, func(a []string) value { return ofBool(strings.HasPrefix(a[0], a[1])) }),
	"hasSuffix":   textual(2, perCompared, func(a []string) value { return ofBool(strings.HasSuffix(a[0], a[1])) }),
	"max":         {1, 256, extreme(1)},
	"min":         {1, 256, extreme(-1)},
	"first":       {1, 1, func(r *run, a []value) (value, error) { return r.end(a[0], 0) }},
	"last":        {1, 1, func(r *run, a []value) (value, error) { return r.end(a[0], -1) }},
	"get": {2, 2, func(r *run, a []value) (value, error) {
		if a[0].kind == null || !a[0].sequence() && a[0].kind != text && a[0].kind != object || a[0].kind == object && a[1].kind == null {
			return value{}, nil
		}
		v, _, err := r.fetch(a[0], a[1])
		return v, err
	}},
}

func (r *run) len(v value) (value, error) {
	switch {
	case v.kind == text:
		err := r.spend(len(v.s) / perSearched)
		return ofInt(int64(utf8.RuneCountInString(v.s))), err
	case v.kind == object:
		if err := r.spend(2 * int(r.doc.nodes[v.n].size)); err != nil {
			return value{}, err
		}
		return ofInt(int64(len(r.doc.index(uint32(v.n))))), nil
	case v.sequence():
		return ofInt(int64(r.length(v))), nil
	}
	return value{}, errArgument
}

// end is the first or last element; nil where there is none.
func (r *run) end(v value, i int) (value, error) {
	if !v.sequence() && v.kind != text {
		return value{}, nil
	}
	x, _, err := r.nth(v, i)
	return x, err
}

func rounding(fn func(float64) float64) function {
	return function{1, 1, func(_ *run, a []value) (value, error) {
		if !a[0].number() {
			return value{}, errArgument
		}
		return ofFloat(fn(a[0].float())), nil
	}}
}

func toInt(r *run, a []value) (value, error) {
	switch v := a[0]; v.kind {
	case integer, unsigned:
		return v, nil
	case float:
		if f := math.Trunc(v.float()); f >= -(1<<63) && f < 1<<63 {
			return ofInt(int64(f)), nil
		}
		return value{}, errors.New("int cannot take a number beyond 64 bits")
	case text:
		if err := r.spend(len(v.s) / perCopied); err != nil {
			return value{}, err
		}
		i, err := strconv.ParseInt(v.s, 10, 64)
		if err != nil {
			return value{}, fmt.Errorf("int cannot read %.40q", v.s)
		}
		return ofInt(i), nil
	default:
		return value{}, errArgument
	}
}

func toFloat(r *run, a []value) (value, error) {
	switch v := a[0]; {
	case v.number():
		return ofFloat(v.float()), nil
	case v.kind == text:
		if err := r.spend(len(v.s) / perCopied); err != nil {
			return value{}, err
		}
		f, err := strconv.ParseFloat(v.s, 64)
		if err != nil {
			return value{}, fmt.Errorf("float cannot read %.40q", v.s)
		}
		return ofFloat(f), nil
	}
	return value{}, errArgument
}

// textual is a function of two texts, the second a blank when it may be left out and is.
func textual(least, per int, fn func(a []string) value) function {
	return function{least, 2, func(r *run, a []value) (value, error) {
		texts := [2]string{1: " "}
		n := 0
		for i, v := range a {
			if v.kind != text {
				return value{}, errArgument
			}
			texts[i] = v.s
			n += len(v.s)
		}
		if err := r.spend(n / per); err != nil {
			return value{}, err
		}
		return fn(texts[:]), nil
	}}
}

// copying is a function that makes another text of one.
func copying(fn func(string) string) func(r *run, a []value) (value, error) {
	return func(r *run, a []value) (value, error) {
		if a[0].kind != text {
			return value{}, errArgument
		}
		if err := r.spend(len(a[0].s) / perCopied); err != nil {
			return value{}, err
		}
		return ofText(fn(a[0].s)), nil
	}
}

// trim takes away white space, or each of some characters, of which every one may have to be looked
// at for every one of the text.
func trim(r *run, a []value) (value, error) {
	if a[0].kind != text || len(a) == 2 && a[1].kind != text {
		return value{}, errArgument
	}
	if len(a) == 1 {
		return ofText(strings.TrimSpace(a[0].s)), r.spend(len(a[0].s) / perCopied)
	}
	if err := r.spend(len(a[0].s) / perCopied * (1 + len(a[1].s))); err != nil {
		return value{}, err
	}
	return ofText(strings.Trim(a[0].s, a[1].s)), nil
}

// split pays for its pieces before it makes them.
func split(r *run, a []value) (value, error) {
	if a[0].kind != text || a[1].kind != text || len(a) == 3 && !a[2].number() {
		return value{}, errArgument
	}
	s, by, most := a[0].s, a[1].s, -1
	if len(a) == 3 {
		most = index(a[2])
	}
	if err := r.spend(len(s) / perSearched); err != nil {
		return value{}, err
	}
	pieces := strings.Count(s, by) + 1
	if most >= 0 {
		pieces = min(pieces, most)
	}
	if err := r.spend(5 * pieces); err != nil {
		return value{}, err
	}
	out := ofList(make([]value, 0, pieces))
	for _, piece := range strings.SplitN(s, by, most) {
		*out.list = append(*out.list, ofText(piece))
	}
	return out, nil
}

// extreme is the largest or smallest of numbers and of lists of them; what is not a number comes back
// when it is alone.
func extreme(sign int) func(r *run, a []value) (value, error) {
	return func(r *run, a []value) (value, error) {
		if len(a) == 1 && !a[0].sequence() {
			return a[0], nil
		}
		best := value{}
		for _, v := range a {
			if err := r.extreme(sign, v, &best); err != nil {
				return value{}, err
			}
		}
		return best, nil
	}
}

func (r *run) extreme(sign int, v value, best *value) error {
	switch {
	case v.sequence():
		return r.each(v, func(x value) (bool, error) { return true, r.extreme(sign, x, best) })
	case !v.number():
		return errArgument
	}
	if c, ok := order(v, *best); best.kind == null || ok && c*sign > 0 {
		*best = v
	}
	return nil
}

// loop is a function that looks at every element.
func (c *compiler) loop(n *ast.BuiltinNode) (eval, error) {
	if len(n.Arguments) == 0 || len(n.Arguments) > 2 {
		return nil, fmt.Errorf("%s takes a list, and what to ask of its elements", n.Name)
	}
	over, err := c.node(n.Arguments[0])
	if err != nil {
		return nil, err
	}
	ask := func(r *run) (value, error) { return r.element, nil }
	if len(n.Arguments) == 2 {
		p, ok := n.Arguments[1].(*ast.PredicateNode)
		if !ok {
			return nil, fmt.Errorf("%s takes a list, and what to ask of its elements", n.Name)
		}
		if ask, err = c.node(p.Node); err != nil {
			return nil, err
		}
	}
	name, fold := n.Name, folds[n.Name]
	return func(r *run) (value, error) {
		v, err := over(r)
		if err != nil {
			return value{}, err
		}
		if !v.sequence() {
			return value{}, fmt.Errorf("%s is for lists, not for %s", name, v.kind)
		}
		before := r.element
		defer func() { r.element = before }()
		return fold(r, v, ask)
	}, nil
}

// folds are the loops by name.
var folds = map[string]func(r *run, v value, ask eval) (value, error){
	"all":  until(false, false),
	"any":  until(true, true),
	"none": until(true, false),
	"one": func(r *run, v value, ask eval) (value, error) {
		n, err := r.count(v, ask)
		return ofBool(n == 1), err
	},
	"count": func(r *run, v value, ask eval) (value, error) {
		n, err := r.count(v, ask)
		return ofInt(n), err
	},
	"filter": func(r *run, v value, ask eval) (value, error) {
		out := ofList(nil)
		err := r.test(v, ask, func(x value, yes bool) (bool, error) {
			if yes {
				return true, r.keep(&out, x)
			}
			return true, nil
		})
		return out, err
	},
	"find": func(r *run, v value, ask eval) (found value, err error) {
		err = r.test(v, ask, func(x value, yes bool) (bool, error) {
			if yes {
				found = x
			}
			return !yes, nil
		})
		return found, err
	},
	"sum": func(r *run, v value, ask eval) (value, error) {
		sum := ofInt(0)
		err := r.each(v, func(x value) (bool, error) {
			r.element = x
			y, err := ask(r)
			if err == nil {
				sum, err = r.arithmetic('+', y, sum)
			}
			return true, err
		})
		return sum, err
	},
}

// test asks each element something that is true or false.
func (r *run) test(v value, ask eval, fn func(x value, yes bool) (more bool, err error)) error {
	return r.each(v, func(x value) (bool, error) {
		r.element = x
		yes, err := r.bool(ask)
		if err != nil {
			return false, err
		}
		return fn(x, yes)
	})
}

// until is a loop that ends at the first element of which something is so.
func until(what, result bool) func(r *run, v value, ask eval) (value, error) {
	return func(r *run, v value, ask eval) (value, error) {
		ended := false
		err := r.test(v, ask, func(_ value, yes bool) (bool, error) {
			ended = yes == what
			return !ended, nil
		})
		return ofBool(ended == result), err
	}
}

func (r *run) count(v value, ask eval) (n int64, err error) {
	err = r.test(v, ask, func(_ value, yes bool) (bool, error) {
		if yes {
			n++
		}
		return true, nil
	})
	return n, err
}
