package filter

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// kind is what a value is.
type kind uint8

const (
	null kind = iota
	boolean
	integer  // an int64
	unsigned // an integer above those of int64, within those of uint64
	float
	text
	array  // of the document
	object // of the document
	list   // made by the expression
)

// String is the name that type() and messages use.
func (k kind) String() string {
	return [...]string{"nil", "bool", "int", "int", "float", "string", "array", "map", "array"}[k]
}

// value is what expressions work on. Values of the document are not copied out of it.
type value struct {
	kind kind
	n    uint64 // a number's bits, 1 for true, a container's node
	s    string
	list *[]value
}

func ofBool(b bool) value {
	v := value{kind: boolean}
	if b {
		v.n = 1
	}
	return v
}

func ofInt(i int64) value     { return value{kind: integer, n: uint64(i)} }
func ofFloat(f float64) value { return value{kind: float, n: math.Float64bits(f)} }
func ofText(s string) value   { return value{kind: text, s: s} }

func ofList(l []value) value { return value{kind: list, list: &l} }

func (v value) number() bool { return v.kind == integer || v.kind == unsigned || v.kind == float }

// float is a number as a double, which may be a little off.
func (v value) float() float64 {
	switch v.kind {
	case integer:
		return float64(int64(v.n))
	case unsigned:
		return float64(v.n)
	default:
		return math.Float64frombits(v.n)
	}
}

// at is the value of a node. What it costs to read a string grows with its length.
func (r *run) at(i uint32) (value, error) {
	n := r.doc.nodes[i]
	switch r.doc.text[n.at] {
	case '{':
		return value{kind: object, n: uint64(i)}, nil
	case '[':
		return value{kind: array, n: uint64(i)}, nil
	case '"':
		per := perCompared // it is looked through for escapes, and copied where there are any
		if strings.IndexByte(r.doc.text[n.at:n.at+n.size], '\\') >= 0 {
			per = perCopied
		}
		if err := r.spend(int(n.size) / per); err != nil {
			return value{}, err
		}
		return ofText(r.doc.string(i)), nil
	}
	raw := r.doc.text[n.at : n.at+n.size]
	switch {
	case raw[0] < 'a': // a number
	case raw == "null":
		return value{}, nil
	case raw == "true":
		return ofBool(true), nil
	case raw == "false":
		return ofBool(false), nil
	}
	if err := r.spend(len(raw) / perCopied); err != nil {
		return value{}, err
	}
	return parseNumber(raw)
}

// parseNumber reads a number of the document: integers of 64 bits exactly, everything else as the
// nearest double.
func parseNumber(raw string) (value, error) {
	if i, ok := digits(raw); ok {
		return ofInt(i), nil
	}
	if !strings.ContainsAny(raw, ".eE") {
		if i, err := strconv.ParseInt(raw, 10, 64); err == nil {
			return ofInt(i), nil
		}
		if u, err := strconv.ParseUint(raw, 10, 64); err == nil {
			return value{kind: unsigned, n: u}, nil
		}
	}
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil {
		return value{}, fmt.Errorf("%.40s cannot be read as a number: it is too large", raw)
	}
	return ofFloat(f), nil
}

// digits reads what most numbers are.
func digits(raw string) (i int64, ok bool) {
	if len(raw) > 18 {
		return 0, false
	}
	for _, c := range []byte(raw) {
		if c -= '0'; c > 9 {
			return 0, false
		}
		i = i*10 + int64(c)
	}
	return i, true
}

// order compares two numbers, exactly whatever their kinds; false when one is not a number at all.
func order(a, b value) (int, bool) {
	switch {
	case a.kind == float && b.kind == float:
		x, y := a.float(), b.float()
		return cmp.Compare(x, y), x == x && y == y
	case a.kind == float:
		f := a.float()
		return orderWith(f, b), f == f
	case b.kind == float:
		f := b.float()
		return -orderWith(f, a), f == f
	case a.kind == b.kind && a.kind == integer:
		return cmp.Compare(int64(a.n), int64(b.n)), true
	case a.kind == b.kind:
		return cmp.Compare(a.n, b.n), true
	case a.kind == unsigned:
		return 1, true // it is above all of int64
	}
	return -1, true
}

// orderWith compares a double with an integer: its whole part, which a 64-bit integer holds exactly where
// it holds it at all, and then what is left.
func orderWith(f float64, i value) (c int) {
	whole := math.Trunc(f)
	switch {
	case i.kind == integer && whole < math.MinInt64, i.kind == unsigned && whole < 0:
		return -1
	case i.kind == integer && whole >= math.MaxInt64, i.kind == unsigned && whole >= math.MaxUint64: // as doubles, 2⁶³ and 2⁶⁴
		return 1
	case i.kind == integer:
		c = cmp.Compare(int64(whole), int64(i.n))
	default:
		c = cmp.Compare(uint64(whole), i.n)
	}
	if c == 0 {
		c = cmp.Compare(f, whole)
	}
	return c
}

// whole is an integer of any of its kinds.
func whole(v value) *big.Int {
	if v.kind == unsigned {
		return new(big.Int).SetUint64(v.n)
	}
	return big.NewInt(int64(v.n))
}

// arithmetic computes on two numbers. Integers stay integers, and what leaves 64 bits is an error.
func (r *run) arithmetic(operator byte, a, b value) (value, error) {
	if !a.number() || !b.number() {
		return value{}, fmt.Errorf("cannot compute %s %c %s", a.kind, operator, b.kind)
	}
	if operator == '/' {
		return ofFloat(a.float() / b.float()), nil
	}
	if a.kind != float && b.kind != float {
		return r.integers(operator, a, b)
	}
	switch operator {
	case '+':
		return ofFloat(a.float() + b.float()), nil
	case '-':
		return ofFloat(a.float() - b.float()), nil
	case '*':
		return ofFloat(a.float() * b.float()), nil
	}
	return value{}, fmt.Errorf("%% is for integers, not for %s %% %s", a.kind, b.kind)
}

func (r *run) integers(operator byte, a, b value) (value, error) {
	if a.kind == integer && b.kind == integer {
		if v, ok := within(operator, int64(a.n), int64(b.n)); ok {
			return v, nil
		}
	}
	if operator == '%' && a.kind == unsigned && int64(b.n) > 0 {
		return ofInt(int64(a.n % b.n)), nil
	}
	if err := r.spend(perBig); err != nil {
		return value{}, err
	}
	x, y, z := whole(a), whole(b), new(big.Int)
	switch operator {
	case '+':
		z.Add(x, y)
	case '-':
		z.Sub(x, y)
	case '*':
		z.Mul(x, y)
	default:
		if y.Sign() == 0 {
			return value{}, fmt.Errorf("division by zero")
		}
		z.Rem(x, y)
	}
	switch {
	case z.IsInt64():
		return ofInt(z.Int64()), nil
	case z.IsUint64():
		return value{kind: unsigned, n: z.Uint64()}, nil
	}
	return value{}, fmt.Errorf("the result of %s %c %s leaves 64 bits", x, operator, y)
}

// within computes what stays within int64.
func within(operator byte, i, j int64) (v value, ok bool) {
	switch operator {
	case '+':
		v, ok = ofInt(i+j), (i+j > i) == (j > 0)
	case '-':
		v, ok = ofInt(i-j), (i-j < i) == (j > 0)
	case '*':
		v, ok = ofInt(i*j), i == int64(int32(i)) && j == int64(int32(j)) || i > 0 && j > 0 && i*j > 0 && i*j/i == j
	case '%':
		if ok = j > 0; ok {
			v = ofInt(i % j)
		}
	}
	return v, ok
}

// equal compares any two values, at a cost by what it looks at.
func (r *run) equal(a, b value) (bool, error) {
	switch {
	case a.number() && b.number():
		c, ok := order(a, b)
		return ok && c == 0, nil
	case a.sequence() && b.sequence():
		return r.equalElements(a, b)
	case a.kind != b.kind:
		return false, nil
	case a.kind == text:
		if len(a.s) != len(b.s) {
			return false, nil
		}
		return a.s == b.s, r.spend(len(a.s) / perCompared)
	case a.kind == object:
		return r.equalMembers(uint32(a.n), uint32(b.n))
	}
	return a.n == b.n, nil
}

func (v value) sequence() bool { return v.kind == array || v.kind == list }

func (r *run) equalElements(a, b value) (bool, error) {
	if r.length(a) != r.length(b) {
		return false, nil
	}
	next, same := r.iterate(b), true
	err := r.each(a, func(x value) (bool, error) {
		y, err := next()
		if err == nil {
			err = r.spend(2)
		}
		if err == nil {
			same, err = r.equal(x, y)
		}
		return same, err
	})
	return same && err == nil, err
}

// iterate steps through a list beside another one.
func (r *run) iterate(v value) func() (value, error) {
	i, at := 0, uint32(v.n)+1
	return func() (value, error) {
		if v.kind == list {
			i++
			return (*v.list)[i-1], nil
		}
		x, err := r.at(at)
		at = r.doc.nodes[at].next
		return x, err
	}
}

// equalMembers goes by the order of the document: the cost must not depend on that of a map.
func (r *run) equalMembers(a, b uint32) (bool, error) {
	if err := r.spend(2 * int(r.doc.nodes[a].size+r.doc.nodes[b].size)); err != nil {
		return false, err
	}
	x, y := r.doc.index(a), r.doc.index(b)
	if len(x) != len(y) {
		return false, nil
	}
	for at := a + 1; at < r.doc.nodes[a].next; at = r.doc.nodes[at+1].next {
		name := r.doc.string(at)
		if x[name] != at+1 {
			continue // the name comes again
		}
		j, ok := y[name]
		if !ok {
			return false, nil
		}
		p, err := r.at(at + 1)
		if err != nil {
			return false, err
		}
		q, err := r.at(j)
		if err != nil {
			return false, err
		}
		if same, err := r.equal(p, q); err != nil || !same {
			return false, err
		}
	}
	return true, nil
}

// length is the number of elements of a list.
func (r *run) length(v value) int {
	if v.kind == list {
		return len(*v.list)
	}
	return int(r.doc.nodes[v.n].size)
}

// each calls fn with the elements of a list until it says no.
func (r *run) each(v value, fn func(value) (bool, error)) error {
	if v.kind == list {
		for _, x := range *v.list {
			if err := r.spend(1); err != nil {
				return err
			}
			if more, err := fn(x); err != nil || !more {
				return err
			}
		}
		return nil
	}
	for at := uint32(v.n) + 1; at < r.doc.nodes[v.n].next; at = r.doc.nodes[at].next {
		if err := r.spend(1); err != nil {
			return err
		}
		x, err := r.at(at)
		if err != nil {
			return err
		}
		if more, err := fn(x); err != nil || !more {
			return err
		}
	}
	return nil
}
